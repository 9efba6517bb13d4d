//! What answers read of feedback: sums, and the rows of the few images that are asked about.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};

use super::keys::label_key;
use super::theme_label::Tally;
use super::{
    image_asset, image_credit, image_embedding, image_name, judgement, look, theme_feedback,
    theme_label,
};

/// An image that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// A name of it.
    pub image_hash: &'a str,
    /// The hash of its bytes, where they are known: what was said under any of its names
    /// counts then.
    pub content_hash: Option<&'a str>,
}

/// What was said of one image under a theme.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageFeedback {
    /// For and against, in judgements.
    pub tally: Tally,
    /// Of them those that named a label, by its key; by an empty one those of labels that
    /// were not asked about.
    pub named: Vec<(String, Tally)>,
    /// What they were credited to, by the key of the label.
    pub credited: Vec<(String, Tally)>,
}

/// What the store knows of labels under a theme.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThemeEvidence {
    /// For and against each label of the question, in their order.
    pub labels: Vec<Tally>,
    /// Feedback on each image of the question, in their order.
    pub images: Vec<ImageFeedback>,
}

/// Looks up by key as many rows as there are labels and names of images.
pub(super) async fn read<C: ConnectionTrait>(
    db: &C,
    theme: &str,
    labels: &[&str],
    asked: &[Asked<'_>],
) -> Result<ThemeEvidence, DbErr> {
    let keys: Vec<_> = labels.iter().map(|label| label_key(label)).collect();
    let labels = theme_label::find(db, theme, labels).await?;
    let mut images = vec![ImageFeedback::default(); asked.len()];
    let names = names(db, asked).await?;
    let list: Vec<_> = names.keys().map(String::as_str).collect();
    let judged = match list.is_empty() {
        true => Vec::new(),
        false => theme_feedback::find(db, theme, &list).await?,
    };
    if judged.is_empty() {
        return Ok(ThemeEvidence { labels, images });
    }
    for row in &judged {
        let tally = Tally::weighed(row.acceptance_count, row.total_assignments, 1.0);
        for &place in &names[&row.image_hash] {
            images[place].tally.add(tally);
        }
    }
    let list: Vec<_> = judged.iter().map(|row| row.image_hash.as_str()).collect();
    for row in judgement::naming(db, theme, &list, &keys).await? {
        for &place in &names[&row.image_hash] {
            images[place].named.push((row.label_key.clone(), row.tally));
        }
    }
    for row in image_credit::find(db, theme, &list).await? {
        let tally = Tally {
            accepted: row.accepted.max(0.0),
            rejected: row.rejected.max(0.0),
        };
        for &place in &names[&row.image_hash] {
            images[place].credited.push((row.label_key.clone(), tally));
        }
    }
    Ok(ThemeEvidence { labels, images })
}

/// Every name of the images asked about, and which of them go by it.
async fn names<C: ConnectionTrait>(
    db: &C,
    asked: &[Asked<'_>],
) -> Result<HashMap<String, Vec<usize>>, DbErr> {
    let mut names: HashMap<String, Vec<usize>> = HashMap::new();
    let mut note = |name: &str, place: usize| {
        let places = names.entry(name.to_owned()).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    };
    let mut contents = Vec::new();
    for (place, image) in asked.iter().enumerate() {
        note(image.image_hash, place);
        if let Some(content) = image.content_hash {
            note(content, place);
            contents.push(content);
        }
    }
    if !contents.is_empty() {
        for row in image_name::of_contents(db, &contents).await? {
            for (place, image) in asked.iter().enumerate() {
                if image.content_hash == Some(&row.content_hash) {
                    note(&row.image_hash, place);
                }
            }
        }
    }
    Ok(names)
}

/// What is kept of images beside their embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// What images were seen as: a row for each label set, theme and model.
    pub(super) looks: u64,
    /// Judgements.
    pub(super) judgements: u64,
}

/// Hashes that have been come by, told by hashes of them: there may be millions.
#[derive(Debug, Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// True where it is new.
    pub(super) fn add(&mut self, hash: &str) -> bool {
        self.0.insert(short(hash))
    }

    pub(super) fn has(&self, hash: &str) -> bool {
        self.0.contains(&short(hash))
    }
}

fn short(hash: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash.hash(&mut hasher);
    hasher.finish()
}

/// Pictures that are to be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pictures<'a> {
    /// Hashes of their bytes.
    pub(super) contents: &'a [&'a str],
    /// Names that clients gave them. Other pictures may go by them too.
    pub(super) names: &'a [&'a str],
    /// The hashes of their bytes, and of those that were forgotten before them: what is left
    /// of these in the database, as when forgetting is only counted, claims no name.
    pub(super) gone: &'a Seen,
}

/// What is kept of the pictures of those bytes, and was said under those names.
pub(super) async fn kept<C: ConnectionTrait>(
    db: &C,
    contents: &[&str],
    names: &[String],
) -> Result<Kept, DbErr> {
    if contents.is_empty() && names.is_empty() {
        return Ok(Kept::default());
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Ok(Kept {
        looks: look::count(db, contents).await?,
        judgements: theme_feedback::judgements(db, &names).await?,
    })
}

/// The names of pictures that are theirs alone, and the hashes of their bytes. A name that
/// another picture goes by, or that is the hash of another's bytes, is not.
pub(super) async fn own_names<C: ConnectionTrait>(
    db: &C,
    pictures: Pictures<'_>,
) -> Result<Vec<String>, DbErr> {
    let Pictures {
        contents,
        names,
        gone,
    } = pictures;
    let linked = match contents.is_empty() {
        true => Vec::new(),
        false => image_name::of_contents(db, contents).await?,
    };
    let linked = linked.iter().map(|row| row.image_hash.as_str());
    let mut own: Vec<&str> = linked.chain(names.iter().copied()).collect();
    own.retain(|name| !gone.has(name));
    if !own.is_empty() {
        let mut taken: HashSet<String> = known(db, &own).await?.into_iter().collect();
        for (name, content) in goers(db, &own).await? {
            if !gone.has(&content) {
                taken.insert(name);
            }
        }
        own.retain(|name| !taken.contains(*name));
    }
    own.extend(contents.iter().copied());
    own.sort_unstable();
    own.dedup();
    Ok(own.into_iter().map(str::to_owned).collect())
}

/// Of those hashes, the ones that are of the bytes of a picture of which something is kept.
pub(super) async fn known<C: ConnectionTrait>(
    db: &C,
    hashes: &[&str],
) -> Result<Vec<String>, DbErr> {
    let mut known = image_name::known(db, hashes).await?;
    let seen: Vec<String> = look::Entity::find()
        .select_only()
        .column(look::Column::ContentHash)
        .distinct()
        .filter(look::Column::ContentHash.is_in(hashes.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    let embedded: Vec<String> = image_embedding::Entity::find()
        .select_only()
        .column(image_embedding::Column::ContentHash)
        .distinct()
        .filter(image_embedding::Column::ContentHash.is_in(hashes.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    known.extend(seen);
    known.extend(embedded);
    known.sort_unstable();
    known.dedup();
    Ok(known)
}

/// The pictures that go by those names, as (name, hash of the bytes).
async fn goers<C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<Vec<(String, String)>, DbErr> {
    let mut goers = image_name::goers(db, names).await?;
    // A picture with very many names has some that are in no other table.
    goers.extend(image_asset::goers(db, names).await?);
    let rows: Vec<(String, Option<String>)> = image_embedding::Entity::find()
        .select_only()
        .columns([
            image_embedding::Column::ImageHash,
            image_embedding::Column::ContentHash,
        ])
        .filter(image_embedding::Column::ImageHash.is_in(names.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    goers.extend(rows.into_iter().map(|(name, content)| {
        let content = content.unwrap_or_else(|| name.clone());
        (name, content)
    }));
    Ok(goers)
}

/// The pictures that names tell: those of names that mean one picture and no other.
pub(super) async fn told_by<C: ConnectionTrait>(
    db: &C,
    names: &[&str],
) -> Result<Vec<String>, DbErr> {
    let mut meant: HashMap<String, HashSet<String>> = HashMap::new();
    let known = known(db, names).await?;
    let themselves = known.into_iter().map(|hash| (hash.clone(), hash));
    for (name, content) in goers(db, names).await?.into_iter().chain(themselves) {
        meant.entry(name).or_default().insert(content);
    }
    meant.retain(|_, contents| contents.len() == 1);
    let mut told: Vec<_> = meant.into_values().flatten().collect();
    told.sort_unstable();
    told.dedup();
    Ok(told)
}

/// Forgets what was said of pictures, what it taught, and what they were seen as. A name that
/// other pictures go by too is kept for them, with what was said under it.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    pictures: Pictures<'_>,
) -> Result<Kept, DbErr> {
    let names = own_names(db, pictures).await?;
    if names.is_empty() {
        return Ok(Kept::default());
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    // Rows are locked in the order in which feedback locks them: its own, then sums.
    let judgements = theme_feedback::judgements(db, &names).await?;
    theme_feedback::forget(db, &names).await?;
    judgement::forget(db, &names).await?;
    let mut credits = image_credit::take(db, &names).await?;
    credits.sort_by(|a, b| (&a.theme, &a.label_key).cmp(&(&b.theme, &b.label_key)));
    for row in credits {
        let tally = Tally {
            accepted: row.accepted,
            rejected: row.rejected,
        };
        theme_label::take(db, &row.theme, &row.label_key, tally).await?;
    }
    if pictures.contents.is_empty() {
        return Ok(Kept {
            looks: 0,
            judgements,
        });
    }
    image_name::forget(db, pictures.contents).await?;
    let looks = look::forget(db, pictures.contents).await?;
    Ok(Kept { looks, judgements })
}
