//! Which labels a judgement counts for.
//!
//! A judgement is about *one* label: the one that it names, else the one that the model
//! itself put first when the picture was looked at (`look`), and it counts for that label as
//! much as the model stood by it ([`standing`](super::look::standing)). It is credited once,
//! whatever comes first: feedback on a picture that was not seen yet, or whose look the write
//! queue still holds, waits for it.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr};

use super::keys::label_key;
use super::theme_label::{Credits, Tally};
use super::{image_credit, image_name, judgement, look, theme_feedback, theme_label};

/// Credits what was not credited yet of an image under a theme, where what it is about is
/// known. To be called within a transaction; locks the image's row. True where something
/// waits for the image to be seen.
pub(super) async fn credit<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    theme: &str,
) -> Result<bool, DbErr> {
    let Some(counted) = theme_feedback::locked(db, image_hash, theme).await? else {
        return Ok(false);
    };
    let looks = looks_of(db, image_hash).await?;
    let mut sets: Vec<_> = looks.iter().map(|look| look.label_set.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    let specific = judgement::waiting(db, image_hash, theme, &sets).await?;
    let total = counted.total_assignments - counted.credited_total;
    if looks.is_empty() || total <= 0 && specific.is_empty() {
        return Ok(looks.is_empty());
    }
    let mut credits = Credits::new();
    let judged = look::judged(&looks, theme, "");
    if total > 0 && !judged.is_empty() {
        let accepted = counted.acceptance_count - counted.credited_accepted;
        for (label, weight) in look::credits(&judged) {
            add(&mut credits, label, Tally::weighed(accepted, total, weight));
        }
        theme_feedback::credited(db, &counted).await?;
    }
    for row in &specific {
        let judged = look::judged(&looks, theme, &row.label_set);
        if judged.is_empty() {
            continue;
        }
        let labels = match row.label.as_str() {
            "" => look::credits(&judged),
            label => vec![look::credit_of(&judged, label)],
        };
        let total = row.total - row.credited_total;
        let accepted = row.accepted - row.credited_accepted;
        for (label, weight) in labels {
            add(&mut credits, label, Tally::weighed(accepted, total, weight));
        }
        judgement::credited(db, row).await?;
    }
    theme_label::add(db, theme, &credits).await?;
    image_credit::add(db, theme, image_hash, &credits).await?;
    Ok(false)
}

fn add(credits: &mut Credits, label: Arc<str>, tally: Tally) {
    if tally == Tally::default() {
        return;
    }
    let (_, sum) = credits
        .entry(label_key(&label))
        .or_insert_with(|| (label, Tally::default()));
    sum.add(tally);
}

/// What the picture of that name was seen as. A name that is a hash of bytes means those
/// bytes, whoever gave it to others.
async fn looks_of<C: ConnectionTrait>(db: &C, image_hash: &str) -> Result<Vec<look::Model>, DbErr> {
    let looks = look::find(db, &[image_hash]).await?;
    if !looks.is_empty() {
        return Ok(looks);
    }
    let contents = image_name::contents_of(db, image_hash).await?;
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let contents: Vec<_> = contents.iter().map(String::as_str).collect();
    look::find(db, &contents).await
}
