//! Table `omnizap_judgements`: judgements that say what they are about, by the labels that
//! were asked for, by the label that is meant, or both. Those that say neither are in
//! `clip_image_theme_feedback`, which counts all.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbBackend, DbErr, QueryFilter, QuerySelect,
};

use super::keys::{label_key, readable};
use super::theme_label::Tally;
use super::{Feedback, limits};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_judgements")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) image_hash: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) theme: String,
    /// [`label_set`](super::keys::label_set) of the labels asked for, empty where not said.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) label_set: String,
    /// Key of the label that is meant, empty where not said.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) label_key: String,
    /// That label, for people.
    #[sea_orm(column_type = "Text")]
    pub(crate) label: String,
    pub(crate) accepted: i64,
    pub(crate) total: i64,
    /// Of `accepted`, what is in the sums of the labels.
    pub(crate) credited_accepted: i64,
    /// Of `total`, what is in the sums of the labels.
    pub(crate) credited_total: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Counts one judgement that says what it is about.
pub(super) async fn count<C: ConnectionTrait>(db: &C, feedback: &Feedback) -> Result<(), DbErr> {
    let accepted = i64::from(feedback.accepted);
    let label = feedback.label.as_deref().unwrap_or_default();
    let key = match label {
        "" => String::new(),
        label => label_key(label),
    };
    let row = ActiveModel {
        image_hash: ActiveValue::Set(feedback.image_hash.clone()),
        theme: ActiveValue::Set(feedback.theme.clone()),
        label_set: ActiveValue::Set(feedback.label_set.clone().unwrap_or_default()),
        label_key: ActiveValue::Set(key),
        label: ActiveValue::Set(readable(label)),
        accepted: ActiveValue::Set(accepted),
        total: ActiveValue::Set(1),
        credited_accepted: ActiveValue::Set(0),
        credited_total: ActiveValue::Set(0),
    };
    let mut conflict = OnConflict::columns([
        Column::ImageHash,
        Column::Theme,
        Column::LabelSet,
        Column::LabelKey,
    ]);
    conflict
        .value(
            Column::Accepted,
            Expr::col((Entity, Column::Accepted)).add(accepted),
        )
        .value(Column::Total, Expr::col((Entity, Column::Total)).add(1))
        .value("updated_at", Expr::current_timestamp());
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

fn is_waiting() -> sea_orm::sea_query::Expr {
    Expr::col((Entity, Column::Total)).gt(Expr::col((Entity, Column::CreditedTotal)))
}

/// Those of a picture under a theme that wait to be credited and can be: that say no set of
/// labels, or one of these. At most [`limits::JUDGEMENTS_AT_ONCE`]; the rest wait for the next
/// time.
pub(super) async fn waiting<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    theme: &str,
    label_sets: &[&str],
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::ImageHash.eq(image_hash))
        .filter(Column::Theme.eq(theme))
        .filter(Column::LabelSet.is_in(std::iter::once("").chain(label_sets.iter().copied())))
        .filter(is_waiting())
        .limit(limits::JUDGEMENTS_AT_ONCE)
        .all(db)
        .await
}

/// Notes that all of a row is credited.
pub(super) async fn credited<C: ConnectionTrait>(db: &C, row: &Model) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::CreditedAccepted, Expr::value(row.accepted))
        .col_expr(Column::CreditedTotal, Expr::value(row.total))
        .filter(Column::ImageHash.eq(row.image_hash.as_str()))
        .filter(Column::Theme.eq(row.theme.as_str()))
        .filter(Column::LabelSet.eq(row.label_set.as_str()))
        .filter(Column::LabelKey.eq(row.label_key.as_str()))
        .exec(db)
        .await
        .map(drop)
}

/// Pictures with judgements that wait to be credited, as (image, theme), of those that say no
/// set of labels, or one of these.
pub(super) async fn uncredited<C: ConnectionTrait>(
    db: &C,
    image_hashes: &[&str],
    label_sets: &[&str],
) -> Result<Vec<(String, String)>, DbErr> {
    Entity::find()
        .select_only()
        .columns([Column::ImageHash, Column::Theme])
        .distinct()
        .filter(Column::ImageHash.is_in(image_hashes.iter().copied()))
        .filter(Column::LabelSet.is_in(std::iter::once("").chain(label_sets.iter().copied())))
        .filter(is_waiting())
        .into_tuple()
        .all(db)
        .await
}

/// What judgements of a picture that name a label say together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Naming {
    pub(super) image_hash: String,
    /// Key of the label; empty for all labels that were not asked about.
    pub(super) label_key: String,
    pub(super) tally: Tally,
}

/// Judgements of pictures of those names under a theme that name a label, summed up once a
/// label that is asked about, and once for all others: a client may name as many as it likes.
pub(super) async fn naming<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    names: &[&str],
    label_keys: &[String],
) -> Result<Vec<Naming>, DbErr> {
    let sum = |column: &str| {
        let double = match db.get_database_backend() {
            DbBackend::Sqlite => "REAL",
            DbBackend::Postgres => "DOUBLE PRECISION",
            _ => "DOUBLE",
        };
        Expr::cust(format!("CAST(SUM({column}) AS {double})"))
    };
    let about_labels = || {
        Entity::find()
            .select_only()
            .column(Column::ImageHash)
            .filter(Column::ImageHash.is_in(names.iter().copied()))
            .filter(Column::Theme.eq(theme))
            .group_by(Column::ImageHash)
    };
    let naming = |(image_hash, label_key, accepted, total): (String, String, f64, f64)| Naming {
        image_hash,
        label_key,
        // Counts, which doubles hold as they are.
        tally: Tally::weighed(accepted as i64, total as i64, 1.0),
    };
    let asked: Vec<(String, String, f64, f64)> = about_labels()
        .column(Column::LabelKey)
        .column_as(sum("accepted"), "accepted")
        .column_as(sum("total"), "total")
        .filter(Column::LabelKey.is_in(label_keys.iter().map(String::as_str)))
        .group_by(Column::LabelKey)
        .into_tuple()
        .all(db)
        .await?;
    let others: Vec<(String, f64, f64)> = about_labels()
        .column_as(sum("accepted"), "accepted")
        .column_as(sum("total"), "total")
        .filter(Column::LabelKey.ne(""))
        .filter(Column::LabelKey.is_not_in(label_keys.iter().map(String::as_str)))
        .into_tuple()
        .all(db)
        .await?;
    let others = others
        .into_iter()
        .map(|(image_hash, accepted, total)| (image_hash, String::new(), accepted, total));
    Ok(asked.into_iter().chain(others).map(naming).collect())
}

/// Forgets the judgements of pictures of those names.
pub(super) async fn forget<C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .exec(db)
        .await
        .map(drop)
}
