//! Table `omnizap_theme_labels`: what feedback on a theme adds up to for each label.
//! It is what answers read, so that their cost does not grow with the feedback.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

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
    /// Weights of the acceptances that were about the label, summed.
    #[sea_orm(column_type = "Double")]
    pub(crate) accepted: f64,
    /// Weights of the rejections, summed.
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

impl Tally {
    /// What speaks for it less what speaks against it.
    #[must_use]
    pub fn net(self) -> f64 {
        self.accepted - self.rejected
    }

    /// As many of accepted judgements among all, each of a weight.
    pub(super) fn weighed(accepted: i64, total: i64, weight: f64) -> Self {
        // `ExprTrait` has a `max` too.
        let total = Ord::max(total, 0);
        let accepted = accepted.clamp(0, total);
        Self {
            accepted: accepted as f64 * weight,
            rejected: (total - accepted) as f64 * weight,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }
}

/// By key: a label, and what judgements add to it. In one order for all: two transactions
/// that waited for each other's rows would have to be broken up by the database.
pub(super) type Credits = BTreeMap<String, (Arc<str>, Tally)>;

/// Adds credits to the sums of a theme.
pub(super) async fn add<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    credits: &Credits,
) -> Result<(), DbErr> {
    for (key, (label, tally)) in credits {
        let row = ActiveModel {
            theme: ActiveValue::Set(theme.to_owned()),
            label_key: ActiveValue::Set(key.clone()),
            label: ActiveValue::Set(readable(label)),
            accepted: ActiveValue::Set(tally.accepted),
            rejected: ActiveValue::Set(tally.rejected),
        };
        let plus = |column: Column, more: f64| Expr::col((Entity, column)).add(more);
        let mut conflict = OnConflict::columns([Column::Theme, Column::LabelKey]);
        conflict
            .value(Column::Accepted, plus(Column::Accepted, tally.accepted))
            .value(Column::Rejected, plus(Column::Rejected, tally.rejected))
            .value("updated_at", Expr::current_timestamp());
        Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

/// Takes credits from the sum of a label under a theme.
pub(super) async fn take<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    label_key: &str,
    tally: Tally,
) -> Result<(), DbErr> {
    let minus = |column: Column, less: f64| Expr::col((Entity, column)).sub(less);
    Entity::update_many()
        .col_expr(Column::Accepted, minus(Column::Accepted, tally.accepted))
        .col_expr(Column::Rejected, minus(Column::Rejected, tally.rejected))
        .filter(Column::Theme.eq(theme))
        .filter(Column::LabelKey.eq(label_key))
        .exec(db)
        .await
        .map(drop)
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
