//! Table `omnizap_theme_labels`: what feedback on a theme adds up to for each label.
//! It is what answers read, so that their cost does not grow with the feedback.

use std::collections::HashMap;

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

use super::image_labels::CarriedLabel;
use super::keys::{label_key, readable};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_theme_labels")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) theme: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) label_key: String,
    /// The label as it was first spelled, for people.
    #[sea_orm(column_type = "Text")]
    pub(crate) label: String,
    /// Weights of the accepted images that carried the label, summed.
    #[sea_orm(column_type = "Double")]
    pub(crate) accepted: f64,
    /// Weights of the rejected ones, summed.
    #[sea_orm(column_type = "Double")]
    pub(crate) rejected: f64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// For and against: how much feedback speaks for a label, and how much against it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Weighed count of acceptances, 0 or more.
    pub accepted: f64,
    /// Weighed count of rejections, 0 or more.
    pub rejected: f64,
}

/// Adds `feedback` to every label, in proportion to its weight.
pub(super) async fn add<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    labels: &[CarriedLabel],
    feedback: Tally,
) -> Result<(), DbErr> {
    let mut rows: Vec<_> = labels
        .iter()
        .map(|carried| (label_key(&carried.label), carried))
        .collect();
    // Always in the same order: two transactions that wait for each other's rows
    // would have to be broken up by the database.
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.dedup_by(|a, b| a.0 == b.0);
    for (key, carried) in rows {
        let accepted = feedback.accepted * carried.weight;
        let rejected = feedback.rejected * carried.weight;
        let row = ActiveModel {
            theme: ActiveValue::Set(theme.to_owned()),
            label_key: ActiveValue::Set(key),
            label: ActiveValue::Set(readable(&carried.label)),
            accepted: ActiveValue::Set(accepted),
            rejected: ActiveValue::Set(rejected),
        };
        let mut conflict = OnConflict::columns([Column::Theme, Column::LabelKey]);
        conflict
            .value(
                Column::Accepted,
                Expr::col((Entity, Column::Accepted)).add(accepted),
            )
            .value(
                Column::Rejected,
                Expr::col((Entity, Column::Rejected)).add(rejected),
            )
            .value("updated_at", Expr::current_timestamp());
        Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

/// What feedback on a theme says of each label, in their order. Looks up as many rows
/// as there are labels, by key.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    labels: &[&str],
) -> Result<Vec<Tally>, DbErr> {
    let keys: Vec<_> = labels.iter().map(|label| label_key(label)).collect();
    let rows = Entity::find()
        .filter(Column::Theme.eq(theme))
        .filter(Column::LabelKey.is_in(keys.iter().map(String::as_str)))
        .all(db)
        .await?;
    let by_key: HashMap<_, _> = rows
        .into_iter()
        .map(|row| {
            let tally = Tally {
                accepted: row.accepted.max(0.0),
                rejected: row.rejected.max(0.0),
            };
            (row.label_key, tally)
        })
        .collect();
    Ok(keys
        .iter()
        .map(|key| by_key.get(key).copied().unwrap_or_default())
        .collect())
}
