//! Table `omnizap_looks`: what a picture was seen as, by its bytes, once for each theme, set
//! of labels and model that it was looked at with. A judgement names a picture; this says
//! which label it is about.
//!
//! What is kept is what the *model* said, never scores that feedback moved: what was learned
//! does not teach.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnizap_contract::common::round::round;
use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::keys::{key_of, label_key};
use super::limits;

/// Decimals of a kept probability, as answers show them: equal answers give equal rows.
const DECIMALS: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_looks")]
pub(crate) struct Model {
    /// SHA-256 of the bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) content_hash: String,
    /// Hash of theme, set of labels and model.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) look_key: String,
    /// The theme of the request, empty without one.
    pub(crate) theme: String,
    /// [`label_set`](super::keys::label_set) of the labels that were scored; empty where it
    /// is not known.
    pub(crate) label_set: String,
    /// The model with its weights.
    pub(crate) model_name: String,
    /// True where the request brought no labels of its own.
    pub(crate) default_labels: bool,
    /// `[how many labels there were, [["label", probability], ..]]`, best first.
    #[sea_orm(column_type = "Text")]
    pub(crate) labels_json: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a model said of a picture, and of what it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The theme of the request, empty without one.
    pub theme: Arc<str>,
    /// [`label_set`](super::label_set) of the labels.
    pub label_set: Arc<str>,
    /// True where the request brought no labels of its own.
    pub default_labels: bool,
    /// What the model said.
    pub labels: LookLabels,
}

/// The best labels of a picture with their probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookLabels {
    /// How many labels there were to choose from.
    pub count: usize,
    /// The best of them with their probabilities, best first, at most
    /// [`limits::LABELS_PER_LOOK`].
    pub best: Vec<(Arc<str>, f64)>,
}

impl LookLabels {
    /// The best labels of what a model said. What is not a probability is left out.
    #[must_use]
    pub fn of<'a>(scores: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let mut scores: Vec<_> = scores
            .into_iter()
            .filter(|(_, probability)| (0.0..=1.0).contains(probability))
            .collect();
        let count = scores.len();
        let order =
            |a: &(&str, f64), b: &(&str, f64)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if count > limits::LABELS_PER_LOOK {
            scores.select_nth_unstable_by(limits::LABELS_PER_LOOK, order);
            scores.truncate(limits::LABELS_PER_LOOK);
        }
        scores.sort_by(order);
        let best = scores
            .into_iter()
            .map(|(label, probability)| (label.into(), round(probability, DECIMALS)))
            .collect();
        Self { count, best }
    }

    /// The first label and its [`standing`]; none where it stands no higher than others.
    fn first(&self) -> Option<(Arc<str>, f64)> {
        let (label, probability) = self.best.first()?;
        Some((label.clone(), standing(*probability, self.count)))
    }

    /// The [`standing`] of a label; 0 where it is not among the best.
    fn standing_of(&self, key: &str) -> f64 {
        let found = self.best.iter().find(|(label, _)| label_key(label) == key);
        found.map_or(0.0, |(_, probability)| standing(*probability, self.count))
    }

    fn encode(&self) -> String {
        let best: Vec<_> = self.best.iter().map(|(label, p)| (&**label, p)).collect();
        serde_json::json!([self.count, best]).to_string()
    }

    /// A row that does not parse is one without labels.
    fn decode(json: &str) -> Self {
        let (count, best): (usize, Vec<(String, f64)>) =
            serde_json::from_str(json).unwrap_or_default();
        let best = best
            .into_iter()
            .take(limits::LABELS_PER_LOOK)
            .filter(|(_, probability)| (0.0..=1.0).contains(probability))
            .map(|(label, probability)| (label.into(), probability))
            .collect();
        Self { count, best }
    }
}

/// How far a label stands above chance, `(n p - 1) / (n - 1)` among `n` labels: 1 where it is
/// certain, 0 where it is no likelier than the others. A picture that is like all labels
/// alike teaches nothing of any.
#[must_use]
pub fn standing(probability: f64, count: usize) -> f64 {
    if count < 2 {
        return 0.0;
    }
    let count = count as f64;
    ((count * probability - 1.0) / (count - 1.0)).clamp(0.0, 1.0)
}

/// Keeps what a picture was seen as.
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
    look: &Look,
) -> Result<(), DbErr> {
    let asked = format!("{}\0{}\0{model}", look.theme, look.label_set);
    let look_key = key_of(&asked);
    let labels_json = look.labels.encode();
    let key = (content_hash.to_owned(), look_key.clone());
    let known = Entity::find_by_id(key).one(db).await?;
    // One client asks for the default labels by saying nothing, another by sending them.
    let default_labels = look.default_labels || known.as_ref().is_some_and(|it| it.default_labels);
    if known
        .as_ref()
        .is_some_and(|it| it.labels_json == labels_json && it.default_labels == default_labels)
    {
        return Ok(());
    }
    let row = ActiveModel {
        content_hash: ActiveValue::Set(content_hash.to_owned()),
        look_key: ActiveValue::Set(look_key),
        theme: ActiveValue::Set(look.theme.to_string()),
        label_set: ActiveValue::Set(look.label_set.to_string()),
        model_name: ActiveValue::Set(model.to_owned()),
        default_labels: ActiveValue::Set(default_labels),
        labels_json: ActiveValue::Set(labels_json),
    };
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::LookKey]);
    conflict.update_columns([Column::LabelsJson, Column::DefaultLabels]);
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await?;
    if known.is_none() {
        drop_oldest(db, content_hash).await?;
    }
    Ok(())
}

/// Keeps a picture from having more than [`limits::LOOKS_PER_IMAGE`]. Those with the default
/// labels go last: judgements that say nothing are about them.
async fn drop_oldest<C: ConnectionTrait>(db: &C, content_hash: &str) -> Result<(), DbErr> {
    let newest_first = Entity::find()
        .select_only()
        .column(Column::LookKey)
        .filter(Column::ContentHash.eq(content_hash))
        .order_by_desc(Column::DefaultLabels)
        .order_by_desc(sea_orm::sea_query::Expr::col("created_at"))
        .order_by_desc(Column::LookKey);
    let keys: Vec<String> = newest_first.into_tuple().all(db).await?;
    let Some(old) = keys
        .get(limits::LOOKS_PER_IMAGE..)
        .filter(|old| !old.is_empty())
    else {
        return Ok(());
    };
    Entity::delete_many()
        .filter(Column::ContentHash.eq(content_hash))
        .filter(Column::LookKey.is_in(old.iter().map(String::as_str)))
        .exec(db)
        .await
        .map(drop)
}

/// Everything that those pictures were seen as.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .all(db)
        .await
}

/// As how many those pictures were seen.
pub(super) async fn count<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<u64, DbErr> {
    Entity::find()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .count(db)
        .await
}

/// Forgets what those pictures were seen as; how many rows.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<u64, DbErr> {
    let deleted = Entity::delete_many()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}

/// A label and how much a judgement says of it, 0 to 1.
pub(super) type Credit = (Arc<str>, f64);

/// The looks that a judgement under a theme is about. With a set of labels, those with that
/// set, and none but those. Otherwise those under the theme, else those under any; among
/// them those with the default labels, where there are some: a client that brings labels of
/// its own can bring them with its judgement too, and takes nothing from those who do not.
pub(super) fn judged<'a>(looks: &'a [Model], theme: &str, label_set: &str) -> Vec<&'a Model> {
    let pick = |wanted: &dyn Fn(&Model) -> bool| -> Option<Vec<&'a Model>> {
        let picked: Vec<_> = looks.iter().filter(|look| wanted(look)).collect();
        (!picked.is_empty()).then_some(picked)
    };
    if !label_set.is_empty() {
        return pick(&|look| look.label_set == label_set && look.theme == theme)
            .or_else(|| pick(&|look| look.label_set == label_set))
            .unwrap_or_default();
    }
    pick(&|look| look.theme == theme && look.default_labels)
        .or_else(|| pick(&|look| look.theme == theme))
        .or_else(|| pick(&|look| look.default_labels))
        .or_else(|| pick(&|_| true))
        .unwrap_or_default()
}

/// What a judgement of pictures that were seen so says of labels: of the first of each look,
/// once a label, whatever the number of looks.
pub(super) fn credits(looks: &[&Model]) -> Vec<Credit> {
    let mut credits: BTreeMap<String, Credit> = BTreeMap::new();
    for look in looks {
        let Some((label, weight)) = LookLabels::decode(&look.labels_json).first() else {
            continue;
        };
        let credit = credits
            .entry(label_key(&label))
            .or_insert_with(|| (label, 0.0));
        credit.1 = credit.1.max(weight);
    }
    credits.into_values().collect()
}

/// What a judgement of a named label says of it.
pub(super) fn credit_of(looks: &[&Model], label: &str) -> Credit {
    let key = label_key(label);
    let standing = looks
        .iter()
        .map(|look| LookLabels::decode(&look.labels_json).standing_of(&key))
        .fold(0.0, f64::max);
    (label.into(), standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(theme: &str, set: &str, default_labels: bool, best: &[(&str, f64)]) -> Model {
        Model {
            content_hash: "c".into(),
            look_key: format!("{theme} {set}"),
            theme: theme.into(),
            label_set: set.into(),
            model_name: "m@1".into(),
            default_labels,
            labels_json: LookLabels::of(best.iter().copied()).encode(),
        }
    }

    #[test]
    fn a_label_stands_above_chance() {
        assert_eq!(standing(1.0, 5), 1.0);
        assert_eq!(standing(0.2, 5), 0.0);
        assert_eq!(standing(0.1, 5), 0.0);
        assert_eq!(standing(0.75, 2), 0.5);
        assert_eq!(standing(1.0, 1), 0.0, "one label is no choice");
    }

    #[test]
    fn the_best_labels_are_kept_best_first() {
        let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let mut scores: Vec<_> = names.iter().map(|name| (name.as_str(), 0.005)).collect();
        scores[7].1 = 0.5;
        scores.push(("nan", f64::NAN));
        let labels = LookLabels::of(scores);
        assert_eq!((labels.count, &*labels.best[0].0), (100, "7"));
        assert_eq!(labels.best.len(), limits::LABELS_PER_LOOK);
        assert_eq!(LookLabels::decode(&labels.encode()), labels);
    }

    #[test]
    fn a_broken_row_has_no_labels() {
        for json in ["{]", "[2]", r#"[["cat", 0.5]]"#] {
            assert_eq!(LookLabels::decode(json), LookLabels::default());
        }
        assert!(LookLabels::decode(r#"[2, [["cat", 7.0]]]"#).best.is_empty());
    }

    #[test]
    fn equal_labels_are_told_apart_by_their_names_whatever_their_order() {
        let labels = LookLabels::of([("dog", 0.4), ("cat", 0.4), ("emu", 0.2)]);
        assert_eq!(
            labels,
            LookLabels::of([("emu", 0.2), ("cat", 0.4), ("dog", 0.4)])
        );
        assert_eq!(&*labels.best[0].0, "cat");
    }

    #[test]
    fn another_request_takes_no_credit() {
        let umbrella = [("umbrella", 0.9), ("cat", 0.1)];
        let spam = [("spam", 1.0), ("zebra crossing", 0.0)];
        let looks = [
            look("t", "theirs", false, &spam),
            look("t", "default", true, &umbrella),
            look("other", "theirs", false, &spam),
        ];
        let labels = |theme, set| {
            let credits = credits(&judged(&looks, theme, set));
            credits
                .iter()
                .map(|(label, _)| label.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(labels("t", ""), ["umbrella"]);
        assert_eq!(labels("t", "theirs"), ["spam"], "where they say so");
        assert_eq!(labels("other", ""), ["spam"], "their theme, their labels");
        assert_eq!(labels("new", ""), ["umbrella"]);
        assert_eq!(labels("t", "never seen"), [""; 0]);
    }

    #[test]
    fn a_judgement_credits_a_label_once_however_often_it_was_looked_at() {
        let looks = [
            look("t", "a", false, &[("Cat", 0.6), ("dog", 0.4)]),
            look("t", "b", false, &[("cat", 0.8), ("emu", 0.2)]),
        ];
        let credits = credits(&judged(&looks, "t", ""));
        assert_eq!(credits.len(), 1);
        assert!((credits[0].1 - 0.6).abs() < 1e-12, "{credits:?}");
    }

    #[test]
    fn a_label_that_is_named_has_the_weight_that_the_model_gave_it() {
        let looks = [look(
            "t",
            "a",
            false,
            &[("cat", 0.6), ("dog", 0.3), ("emu", 0.1)],
        )];
        let (label, weight) = credit_of(&judged(&looks, "t", ""), "DOG");
        assert_eq!(
            (&*label, weight),
            ("DOG", 0.0),
            "0.3 is below chance of three"
        );
        assert!(credit_of(&judged(&looks, "t", ""), "cat").1 > 0.3);
        assert_eq!(credit_of(&[], "cat").1, 0.0);
    }
}
