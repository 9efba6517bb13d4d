//! Table `omnizap_image_labels`: what an image was last labelled as, by the name that
//! clients give it. Feedback names an image; this says which labels it carried.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, DbErr, PaginatorTrait, QueryFilter};

use super::limits;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_image_labels")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) image_hash: String,
    /// True where the name is the hash of the bytes: a client that gives the name to
    /// other bytes does not change such a row.
    pub(crate) verified: bool,
    /// `[["label", weight], ..]`, heaviest first.
    #[sea_orm(column_type = "Text")]
    pub(crate) labels_json: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A label that an image carries, and how much of the image it speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedLabel {
    /// The label, as the request spelled it.
    pub label: Arc<str>,
    /// Its probability over that of the image's first label: 0 to 1.
    pub weight: f64,
}

/// The labels of scores: the best first, weighed against the best, at most
/// [`limits::LABELS_PER_IMAGE`]. What is not a probability is left out.
#[must_use]
pub fn carried<'a>(scores: impl IntoIterator<Item = (&'a str, f64)>) -> Vec<CarriedLabel> {
    let mut scores: Vec<_> = scores
        .into_iter()
        .filter(|(_, score)| score.is_finite() && *score > 0.0)
        .collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores.truncate(limits::LABELS_PER_IMAGE);
    let best = scores.first().map_or(1.0, |first| first.1);
    scores
        .into_iter()
        .map(|(label, score)| CarriedLabel {
            label: label.into(),
            // Four decimals: equal answers give equal rows, and are not written again.
            weight: (score / best * 1e4).round() / 1e4,
        })
        .filter(|carried| carried.weight > 0.0)
        .collect()
}

/// Writes what an image was labelled as.
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    verified: bool,
    labels: &[CarriedLabel],
) -> Result<(), DbErr> {
    let labels_json = encode(labels);
    let known = Entity::find_by_id(image_hash).one(db).await?;
    if let Some(known) = known
        && (known.verified && !verified
            || known.verified == verified && known.labels_json == labels_json)
    {
        return Ok(());
    }
    let row = ActiveModel {
        image_hash: ActiveValue::Set(image_hash.to_owned()),
        verified: ActiveValue::Set(verified),
        labels_json: ActiveValue::Set(labels_json),
    };
    let mut conflict = OnConflict::column(Column::ImageHash);
    conflict
        .update_columns([Column::Verified, Column::LabelsJson])
        .value("updated_at", Expr::current_timestamp());
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// What those images were labelled as; images that are not known are left out.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    image_hashes: &[&str],
) -> Result<HashMap<String, Vec<CarriedLabel>>, DbErr> {
    let rows = Entity::find()
        .filter(Column::ImageHash.is_in(image_hashes.iter().copied()))
        .all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.image_hash, decode(&row.labels_json)))
        .collect())
}

/// Deletes what those images were labelled as, or counts it; how many rows.
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

fn encode(labels: &[CarriedLabel]) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|carried| (&*carried.label, carried.weight))
        .collect();
    serde_json::json!(pairs).to_string()
}

/// A row that does not parse is one without labels: it is written anew when the image
/// is seen again.
fn decode(json: &str) -> Vec<CarriedLabel> {
    let pairs: Vec<(String, f64)> = serde_json::from_str(json).unwrap_or_default();
    pairs
        .into_iter()
        .take(limits::LABELS_PER_IMAGE)
        .filter(|(_, weight)| (0.0..=1.0).contains(weight))
        .map(|(label, weight)| CarriedLabel {
            label: label.into(),
            weight,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_weighed_against_the_best() {
        let labels = carried([("dog", 0.2), ("cat", 0.8), ("nan", f64::NAN), ("none", 0.0)]);
        let pairs: Vec<_> = labels.iter().map(|l| (&*l.label, l.weight)).collect();
        assert_eq!(pairs, [("cat", 1.0), ("dog", 0.25)]);
        assert_eq!(decode(&encode(&labels)), labels);
    }

    #[test]
    fn no_more_labels_than_the_limit_are_kept() {
        let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let labels = carried(names.iter().map(|name| (name.as_str(), 0.01)));
        assert_eq!(labels.len(), limits::LABELS_PER_IMAGE);
    }

    #[test]
    fn a_broken_row_has_no_labels() {
        assert!(decode("{]").is_empty());
        assert!(decode(r#"[["cat", 7.0]]"#).is_empty());
    }
}
