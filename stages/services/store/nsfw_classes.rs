//! Table `omnizap_nsfw_classes`: what the classifier of unsafe pictures said of an image,
//! by the hash of its bytes and the model that looked at it.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QuerySelect};

use super::vector;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_nsfw_classes")]
pub(crate) struct Model {
    /// SHA-256 of the bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) content_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) model_name: String,
    /// Little-endian f32, one for each class of the model.
    #[sea_orm(column_type = "Blob")]
    pub(crate) probabilities: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a model said of an image, if it has been asked.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
) -> Result<Option<Vec<f32>>, DbErr> {
    let bytes: Option<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Probabilities)
        .filter(Column::ContentHash.eq(content_hash))
        .filter(Column::ModelName.eq(model))
        .into_tuple()
        .one(db)
        .await?;
    Ok(bytes.and_then(|bytes| vector::from_bytes(&bytes)))
}

/// Keeps what a model said of an image, in place of what is there.
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
    probabilities: &[f32],
) -> Result<(), DbErr> {
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::ModelName]);
    conflict.update_column(Column::Probabilities);
    let row = ActiveModel {
        content_hash: ActiveValue::Set(content_hash.to_owned()),
        model_name: ActiveValue::Set(model.to_owned()),
        probabilities: ActiveValue::Set(vector::to_bytes(probabilities)),
    };
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Forgets what every model said of images.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .exec(db)
        .await
        .map(drop)
}
