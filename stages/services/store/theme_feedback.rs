//! Table `clip_image_theme_feedback`: how often an image was accepted under a theme,
//! of how often it was judged.
//!
//! Each row also says how much of it is done with: *credited* to the label that the image
//! was seen as (`credit`), or kept in `omnizap_judgements`, since it says itself what it is
//! about.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QuerySelect};

use super::Feedback;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clip_image_theme_feedback")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) image_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) theme: String,
    pub(crate) asset_id: Option<String>,
    pub(crate) acceptance_count: i64,
    pub(crate) total_assignments: i64,
    /// Of `acceptance_count`, what is in the sums of the labels.
    pub(crate) credited_accepted: i64,
    /// Of `total_assignments`, what is in the sums of the labels.
    pub(crate) credited_total: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Counts one judgement. The database adds, so that no two writers overwrite each other.
pub(super) async fn count<C: ConnectionTrait>(db: &C, feedback: &Feedback) -> Result<(), DbErr> {
    let accepted = i64::from(feedback.accepted);
    let (done_accepted, done) = match feedback.is_specific() {
        true => (accepted, 1),
        false => (0, 0),
    };
    let row = ActiveModel {
        image_hash: ActiveValue::Set(feedback.image_hash.clone()),
        theme: ActiveValue::Set(feedback.theme.clone()),
        asset_id: ActiveValue::Set(feedback.asset_id.clone()),
        acceptance_count: ActiveValue::Set(accepted),
        total_assignments: ActiveValue::Set(1),
        credited_accepted: ActiveValue::Set(done_accepted),
        credited_total: ActiveValue::Set(done),
    };
    let mut conflict = OnConflict::columns([Column::ImageHash, Column::Theme]);
    for (column, more) in [
        (Column::AcceptanceCount, accepted),
        (Column::TotalAssignments, 1),
        (Column::CreditedAccepted, done_accepted),
        (Column::CreditedTotal, done),
    ] {
        conflict.value(column, Expr::col((Entity, column)).add(more));
    }
    conflict.value("updated_at", Expr::current_timestamp());
    if feedback.asset_id.is_some() {
        conflict.update_column(Column::AssetId);
    }
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// The row of an image under a theme, locked against other writers.
pub(super) async fn locked<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    theme: &str,
) -> Result<Option<Model>, DbErr> {
    let key = (image_hash.to_owned(), theme.to_owned());
    Entity::find_by_id(key).lock_exclusive().one(db).await
}

/// Notes that all of a row is credited.
pub(super) async fn credited<C: ConnectionTrait>(db: &C, row: &Model) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::CreditedAccepted, Expr::value(row.acceptance_count))
        .col_expr(Column::CreditedTotal, Expr::value(row.total_assignments))
        .filter(Column::ImageHash.eq(row.image_hash.as_str()))
        .filter(Column::Theme.eq(row.theme.as_str()))
        .exec(db)
        .await
        .map(drop)
}

/// Feedback on those images that waits for their labels, as (image, theme).
pub(super) async fn uncredited<C: ConnectionTrait>(
    db: &C,
    image_hashes: &[&str],
) -> Result<Vec<(String, String)>, DbErr> {
    Entity::find()
        .select_only()
        .columns([Column::ImageHash, Column::Theme])
        .filter(Column::ImageHash.is_in(image_hashes.iter().copied()))
        .filter(
            Expr::col((Entity, Column::TotalAssignments))
                .gt(Expr::col((Entity, Column::CreditedTotal))),
        )
        .into_tuple()
        .all(db)
        .await
}

/// What was said of those images under a theme.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    image_hashes: &[&str],
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::ImageHash.is_in(image_hashes.iter().copied()))
        .filter(Column::Theme.eq(theme))
        .all(db)
        .await
}

/// The number of judgements of images of those names.
pub(super) async fn judgements<C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<u64, DbErr> {
    let counts: Vec<i64> = Entity::find()
        .select_only()
        .column(Column::TotalAssignments)
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    let counts = counts
        .into_iter()
        .map(|count| u64::try_from(count).unwrap_or(0));
    Ok(counts.sum())
}

/// Forgets what was said of images of those names.
pub(super) async fn forget<C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .exec(db)
        .await
        .map(drop)
}

/// The names of images that a client calls so, of those that have feedback.
pub(super) async fn names<C: ConnectionTrait>(
    db: &C,
    asset_id: &str,
) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::ImageHash)
        .distinct()
        .filter(Column::AssetId.eq(asset_id))
        .into_tuple()
        .all(db)
        .await
}
