//! Table `clip_image_theme_feedback`: how often an image was accepted under a theme,
//! of how often it was judged.
//!
//! Each row also says how much of it was *credited* to the labels of the image
//! (`omnizap_theme_labels`). Feedback on an image that was not seen yet, or whose
//! labels the write queue still holds, is credited when they arrive: once, whatever
//! comes first.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, PaginatorTrait, QueryFilter, QuerySelect,
};

use super::theme_label::{self, Tally};
use super::{Feedback, image_labels};

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
    let row = ActiveModel {
        image_hash: ActiveValue::Set(feedback.image_hash.clone()),
        theme: ActiveValue::Set(feedback.theme.clone()),
        asset_id: ActiveValue::Set(feedback.asset_id.clone()),
        acceptance_count: ActiveValue::Set(accepted),
        total_assignments: ActiveValue::Set(1),
        credited_accepted: ActiveValue::Set(0),
        credited_total: ActiveValue::Set(0),
    };
    let mut conflict = OnConflict::columns([Column::ImageHash, Column::Theme]);
    conflict
        .value(
            Column::AcceptanceCount,
            Expr::col((Entity, Column::AcceptanceCount)).add(accepted),
        )
        .value(
            Column::TotalAssignments,
            Expr::col((Entity, Column::TotalAssignments)).add(1),
        )
        .value("updated_at", Expr::current_timestamp());
    if feedback.asset_id.is_some() {
        conflict.update_column(Column::AssetId);
    }
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Adds what was not credited yet to the labels that the image carries, if they are
/// known. To be called within a transaction; locks the row.
pub(super) async fn credit<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    theme: &str,
) -> Result<(), DbErr> {
    let key = (image_hash.to_owned(), theme.to_owned());
    let row = Entity::find_by_id(key).lock_exclusive().one(db).await?;
    let Some(row) = row.filter(|row| row.total_assignments > row.credited_total) else {
        return Ok(());
    };
    let mut labels = image_labels::find(db, &[image_hash]).await?;
    let Some(labels) = labels
        .remove(image_hash)
        .filter(|labels| !labels.is_empty())
    else {
        return Ok(());
    };
    let total = row.total_assignments - row.credited_total;
    let accepted = (row.acceptance_count - row.credited_accepted).clamp(0, total);
    let tally = Tally {
        accepted: accepted as f64,
        rejected: (total - accepted) as f64,
    };
    theme_label::add(db, theme, &labels, tally).await?;
    Entity::update_many()
        .col_expr(Column::CreditedAccepted, Expr::value(row.acceptance_count))
        .col_expr(Column::CreditedTotal, Expr::value(row.total_assignments))
        .filter(Column::ImageHash.eq(image_hash))
        .filter(Column::Theme.eq(theme))
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

/// Deletes the feedback on those images, or counts it; how many rows. What it added to the
/// sums of labels stays: they name no image.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    image_hashes: &[String],
    is_dry: bool,
) -> Result<u64, DbErr> {
    if image_hashes.is_empty() {
        return Ok(0);
    }
    let is_theirs = Column::ImageHash.is_in(image_hashes.iter().cloned());
    if is_dry {
        return Entity::find().filter(is_theirs).count(db).await;
    }
    let deleted = Entity::delete_many().filter(is_theirs).exec(db).await?;
    Ok(deleted.rows_affected)
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
