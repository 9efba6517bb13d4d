//! What answers read of feedback: sums, and the rows of the few images that are asked about.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr};

use super::theme_label::Tally;
use super::{image_credit, image_name, judgement, look, theme_feedback, theme_label};

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
    /// Of them those that named a label, by its key.
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
    for row in judgement::naming(db, theme, &list).await? {
        let tally = Tally::weighed(row.accepted, row.total, 1.0);
        for &place in &names[&row.image_hash] {
            images[place].named.push((row.label_key.clone(), tally));
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

/// What is kept of images, by their names or the hashes of their bytes.
pub(super) async fn kept<C: ConnectionTrait>(db: &C, hashes: &[&str]) -> Result<Kept, DbErr> {
    if hashes.is_empty() {
        return Ok(Kept::default());
    }
    let names = own_names(db, hashes).await?;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Ok(Kept {
        looks: look::count(db, hashes).await?,
        judgements: theme_feedback::judgements(db, &names).await?,
    })
}

/// The names of images that no other picture goes by, and those hashes.
async fn own_names<C: ConnectionTrait>(db: &C, hashes: &[&str]) -> Result<Vec<String>, DbErr> {
    let linked = image_name::of_contents(db, hashes).await?;
    let mut names: Vec<_> = linked.iter().map(|row| row.image_hash.as_str()).collect();
    let shared = image_name::shared(db, &names, hashes).await?;
    names.retain(|name| !shared.iter().any(|other| other == name));
    names.extend(hashes);
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Forgets what was said of images, what it taught, and what they were seen as. A name that
/// other pictures go by too is kept for them, with what was said under it.
pub(super) async fn forget<C: ConnectionTrait>(db: &C, hashes: &[&str]) -> Result<Kept, DbErr> {
    if hashes.is_empty() {
        return Ok(Kept::default());
    }
    let names = own_names(db, hashes).await?;
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
    image_name::forget(db, hashes).await?;
    let looks = look::forget(db, hashes).await?;
    Ok(Kept { looks, judgements })
}
