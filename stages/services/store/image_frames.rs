//! Table `omnizap_frames`: which frame of a picture that moves decided, by the hash of its bytes and
//! the model that embedded it. What has no row was told by its first frame alone, as all pictures
//! that do not move.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

use super::image_record::Frames;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_frames")]
pub(crate) struct Model {
    /// SHA-256 of the bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) content_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) model_name: String,
    /// From 0.
    pub(crate) frame: i32,
    /// How many frames were looked at.
    pub(crate) frames_seen: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Keeps the frames of an image; of one whose first frame is all there is nothing to keep.
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
    frames: Frames,
) -> Result<(), DbErr> {
    if frames == Frames::default() {
        return Ok(());
    }
    let number = |number: i64| ActiveValue::Set(i32::try_from(number).unwrap_or(i32::MAX));
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::ModelName]);
    conflict.update_columns([Column::Frame, Column::FramesSeen]);
    let row = ActiveModel {
        content_hash: ActiveValue::Set(content_hash.to_owned()),
        model_name: ActiveValue::Set(model.to_owned()),
        frame: number(frames.frame),
        frames_seen: number(frames.seen),
    };
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Forgets the frames of images.
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
