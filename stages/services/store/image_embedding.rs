//! Table `clip_image_embedding_cache`: the embedding of an image by the hash of its
//! bytes and the model that made it.
//!
//! A row is written once. It keeps the names that the image came with first, for whoever reads
//! this table alone; what it is called since is in `image_asset`.

use std::collections::{HashMap, HashSet};

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::image_asset::Called;
use super::{image_asset, image_change, vector};
use crate::vectors::Stored;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clip_image_embedding_cache")]
pub(crate) struct Model {
    /// Grows with every row written, and other copies are followed by it.
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    /// The name by which clients called the image first; what [`page`] and [`by_ids`] give has
    /// the last.
    pub(crate) image_hash: String,
    /// SHA-256 of the bytes; none in rows of the Python service, which trusted names.
    pub(crate) content_hash: Option<String>,
    /// The client's own id of it, first or last as the name.
    pub(crate) asset_id: Option<String>,
    pub(crate) model_name: String,
    pub(crate) embedding_dim: i32,
    /// Little-endian f32, `[embedding_dim]`.
    #[sea_orm(column_type = "Blob")]
    pub(crate) embedding: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// One image as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    pub(super) image_hash: &'a str,
    pub(super) content_hash: &'a str,
    pub(super) asset_id: Option<&'a str>,
    pub(super) model: &'a str,
    pub(super) vector: &'a [f32],
}

/// Everything of a row but the vector.
#[derive(Debug, FromQueryResult)]
struct Known {
    id: i64,
    image_hash: String,
    asset_id: Option<String>,
}

/// Writes an image, or what it is called by now: most images that come again change nothing,
/// and their vector is never written twice. Before those that are new [`forget_names`] was called.
pub(super) async fn save<C: ConnectionTrait>(db: &C, image: Image<'_>) -> Result<(), DbErr> {
    let Some(row) = known(db, image).await? else {
        return insert(db, image).await;
    };
    let mut newest = image_asset::newest(db, &[row.id]).await?;
    let newest = newest.remove(&row.id);
    let (image_hash, asset_id) = match newest.filter(|it| it.content_hash == image.content_hash) {
        Some(newest) => (newest.image_hash, newest.asset_id),
        None => (row.image_hash, row.asset_id),
    };
    // Whoever sends none says nothing of it.
    let called = image.asset_id.or(asset_id.as_deref());
    if image_hash == image.image_hash && asset_id.as_deref() == called {
        return Ok(());
    }
    let called = Called {
        image_id: row.id,
        content_hash: image.content_hash,
        image_hash: image.image_hash,
        asset_id: called,
    };
    image_asset::add(db, called).await?;
    image_change::add(db, row.id).await
}

async fn known<C: ConnectionTrait>(db: &C, image: Image<'_>) -> Result<Option<Known>, DbErr> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::ImageHash, Column::AssetId])
        .filter(Column::ContentHash.eq(image.content_hash))
        .filter(Column::ModelName.eq(image.model))
        .into_model::<Known>()
        .one(db)
        .await
}

/// Forgets what pictures are called whose rows are gone: somebody may have taken those away
/// where no trigger saw it, and servers that forget their counters give an id again.
pub(super) async fn forget_names<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<(), DbErr> {
    let named = image_asset::of_contents(db, content_hashes).await?;
    if named.is_empty() {
        return Ok(());
    }
    let there = numbers(db, content_hashes).await?;
    let there: HashSet<_> = there.into_iter().map(|(id, ..)| id).collect();
    let gone = named
        .into_iter()
        .filter(|(_, image)| !there.contains(image));
    image_asset::delete(db, gone.map(|(id, _)| id).collect()).await
}

async fn insert<C: ConnectionTrait>(db: &C, image: Image<'_>) -> Result<(), DbErr> {
    // Another copy may have been faster: then its row stays, with our names.
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::ModelName]);
    conflict.update_column(Column::ImageHash);
    if image.asset_id.is_some() {
        conflict.update_column(Column::AssetId);
    }
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        image_hash: ActiveValue::Set(image.image_hash.to_owned()),
        content_hash: ActiveValue::Set(Some(image.content_hash.to_owned())),
        asset_id: ActiveValue::Set(image.asset_id.map(str::to_owned)),
        model_name: ActiveValue::Set(image.model.to_owned()),
        embedding_dim: ActiveValue::Set(i32::try_from(image.vector.len()).unwrap_or(i32::MAX)),
        embedding: ActiveValue::Set(vector::to_bytes(image.vector)),
    };
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// The vector of an image by its bytes' own hash, so that no client can plant one.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
) -> Result<Option<Vec<f32>>, DbErr> {
    let bytes: Option<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Embedding)
        .filter(Column::ContentHash.eq(content_hash))
        .filter(Column::ModelName.eq(model))
        .into_tuple()
        .one(db)
        .await?;
    Ok(bytes.and_then(|bytes| vector::from_bytes(&bytes)))
}

/// Rows with an id above `after`, oldest first, at most `limit`, by their last names.
pub(super) async fn page<C: ConnectionTrait>(
    db: &C,
    after: i64,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let rows = Entity::find()
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await?;
    as_called(db, rows).await
}

/// The vectors of the rows with those ids, with what tells that they are still the same; what is
/// no vector is left out. One statement.
pub(super) async fn vectors<C: ConnectionTrait>(
    db: &C,
    ids: &[i64],
) -> Result<HashMap<i64, Stored>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    // Connections keep the statements that they have prepared: so there are few of them.
    let last = ids.last().copied();
    let spare = ids.len().next_power_of_two() - ids.len();
    let asked = ids
        .iter()
        .copied()
        .chain(last.into_iter().cycle().take(spare));
    let columns = [
        Column::Id,
        Column::ImageHash,
        Column::ContentHash,
        Column::Embedding,
    ];
    let rows: Vec<(i64, String, Option<String>, Vec<u8>)> = Entity::find()
        .select_only()
        .columns(columns)
        .filter(Column::Id.is_in(asked))
        .into_tuple()
        .all(db)
        .await?;
    let stored = rows
        .into_iter()
        .filter_map(|(id, image_hash, content_hash, bytes)| {
            let stored = Stored {
                image_hash,
                content_hash,
                vector: vector::from_bytes(&bytes)?,
            };
            Some((id, stored))
        });
    Ok(stored.collect())
}

/// Ids above `after`, without the rows, at most `limit`, oldest first.
pub(super) async fn ids<C: ConnectionTrait>(
    db: &C,
    after: i64,
    limit: u64,
) -> Result<Vec<i64>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}

/// The newest id up to that one.
pub(super) async fn newest<C: ConnectionTrait>(db: &C, up_to: i64) -> Result<Option<i64>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.lte(up_to))
        .order_by_desc(Column::Id)
        .into_tuple()
        .one(db)
        .await
}

/// Ids of the rows of those contents, as (id, content, model).
pub(super) async fn numbers<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<Vec<(i64, String, String)>, DbErr> {
    let rows: Vec<(i64, Option<String>, String)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::ContentHash, Column::ModelName])
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    let named = rows.into_iter();
    Ok(named
        .filter_map(|(id, content, model)| Some((id, content?, model)))
        .collect())
}

/// The rows with those ids, by their last names.
pub(super) async fn by_ids<C: ConnectionTrait>(db: &C, ids: Vec<i64>) -> Result<Vec<Model>, DbErr> {
    let rows = Entity::find()
        .filter(Column::Id.is_in(ids))
        .order_by_asc(Column::Id)
        .all(db)
        .await?;
    as_called(db, rows).await
}

/// Gives rows the names that their images have by now.
async fn as_called<C: ConnectionTrait>(db: &C, mut rows: Vec<Model>) -> Result<Vec<Model>, DbErr> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut newest = image_asset::newest(db, &ids).await?;
    for row in &mut rows {
        if let Some(newest) = newest.remove(&row.id)
            && row.content_hash.as_deref() == Some(&*newest.content_hash)
        {
            row.image_hash = newest.image_hash;
            row.asset_id = newest.asset_id;
        }
    }
    Ok(rows)
}
