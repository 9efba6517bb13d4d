//! Table `omnizap_image_credits`: what judgements of a picture were credited to which label,
//! under a theme. The sums of a theme (`omnizap_theme_labels`) are its sums over pictures.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QuerySelect};

use super::theme_label::Credits;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_image_credits")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) theme: String,
    /// The name under which the picture was judged.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) image_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) label_key: String,
    /// Weights of the acceptances, summed.
    #[sea_orm(column_type = "Double")]
    pub(crate) accepted: f64,
    /// Weights of the rejections, summed.
    #[sea_orm(column_type = "Double")]
    pub(crate) rejected: f64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Adds credits of one picture.
pub(super) async fn add<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    image_hash: &str,
    credits: &Credits,
) -> Result<(), DbErr> {
    for (key, (_, tally)) in credits {
        let row = ActiveModel {
            theme: ActiveValue::Set(theme.to_owned()),
            image_hash: ActiveValue::Set(image_hash.to_owned()),
            label_key: ActiveValue::Set(key.clone()),
            accepted: ActiveValue::Set(tally.accepted),
            rejected: ActiveValue::Set(tally.rejected),
        };
        let plus = |column: Column, more: f64| Expr::col((Entity, column)).add(more);
        let mut conflict =
            OnConflict::columns([Column::Theme, Column::ImageHash, Column::LabelKey]);
        conflict
            .value(Column::Accepted, plus(Column::Accepted, tally.accepted))
            .value(Column::Rejected, plus(Column::Rejected, tally.rejected));
        Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

/// What was credited for pictures of those names under a theme.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    names: &[&str],
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::Theme.eq(theme))
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .all(db)
        .await
}

/// What was credited for pictures of those names under any theme, and no longer is.
pub(super) async fn take<C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<Vec<Model>, DbErr> {
    // Locked, rows are read as they are now. Without, MariaDB reads them as they were when
    // the transaction began, and what was added since would stay in the sums.
    let rows = Entity::find()
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .lock_exclusive()
        .all(db)
        .await?;
    for row in &rows {
        let key = (
            row.theme.clone(),
            row.image_hash.clone(),
            row.label_key.clone(),
        );
        Entity::delete_by_id(key).exec(db).await?;
    }
    Ok(rows)
}
