//! Table `clip_label_embedding_cache`: the embedding of a text by the model that made
//! it and the hash of the text.

use std::collections::{BTreeMap, HashMap};

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

use super::keys::{key_of, readable};
use super::vector;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clip_label_embedding_cache")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) model_name: String,
    /// SHA-256 of the text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) label_key: String,
    /// The text, for people.
    #[sea_orm(column_type = "Text")]
    pub(crate) label: String,
    pub(crate) embedding_dim: i32,
    /// Little-endian f32, `[embedding_dim]`.
    #[sea_orm(column_type = "Blob")]
    pub(crate) embedding: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Rows read or written by one statement: databases bound its parameters.
const ROWS: usize = 500;

/// The vectors of those texts that are known, by the place of the text.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    model: &str,
    texts: &[&str],
) -> Result<HashMap<usize, Vec<f32>>, DbErr> {
    let keys: Vec<_> = texts.iter().map(|text| key_of(text)).collect();
    let mut by_key = HashMap::new();
    for keys in keys.chunks(ROWS) {
        let rows = Entity::find()
            .filter(Column::ModelName.eq(model))
            .filter(Column::LabelKey.is_in(keys.iter().map(String::as_str)))
            .all(db)
            .await?;
        let known = rows
            .into_iter()
            .filter_map(|row| Some((row.label_key, vector::from_bytes(&row.embedding)?)));
        by_key.extend(known);
    }
    let places = keys.iter().enumerate();
    Ok(places
        .filter_map(|(place, key)| Some((place, by_key.get(key)?.clone())))
        .collect())
}

/// Keeps vectors of texts, in place of earlier ones.
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    model: &str,
    vectors: &[(&str, &[f32])],
) -> Result<(), DbErr> {
    // By key, each once: PostgreSQL takes no row twice in one statement, and two
    // copies that write the same texts lock them in the same order.
    let rows: BTreeMap<_, _> = vectors
        .iter()
        .map(|&(text, vector)| (key_of(text), (text, vector)))
        .collect();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(label_key, (text, vector))| ActiveModel {
            model_name: ActiveValue::Set(model.to_owned()),
            label_key: ActiveValue::Set(label_key),
            label: ActiveValue::Set(readable(text)),
            embedding_dim: ActiveValue::Set(i32::try_from(vector.len()).unwrap_or(i32::MAX)),
            embedding: ActiveValue::Set(vector::to_bytes(vector)),
        })
        .collect();
    for rows in rows.chunks(ROWS) {
        let mut conflict = OnConflict::columns([Column::ModelName, Column::LabelKey]);
        conflict.update_columns([Column::EmbeddingDim, Column::Embedding]);
        Entity::insert_many(rows.iter().cloned())
            .on_conflict(conflict)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}
