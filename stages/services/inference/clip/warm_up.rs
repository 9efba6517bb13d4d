//! Texts that are embedded before the first request needs them, and kept in the
//! database so that the next start finds them there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::common::chain::chain;
use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{Call, Cancel, Error};
use tokio::task::JoinHandle;

use super::ClipModel;
use crate::inference::pool::TextForm;
use crate::store::{Store, StoreError};

/// How long it may take; requests are served meanwhile and find their own texts missing.
const TIME: Duration = Duration::from_secs(600);
/// Digits of the templates' digest in [`key`]: a model has had a handful of lists of them.
const TEMPLATES_DIGITS: usize = 8;
/// How far the length of a kept vector may be from 1.
const NORM_TOLERANCE: f32 = 1e-3;

/// Texts and their embeddings.
type Made<'t> = (&'t [Arc<str>], Vec<Arc<[f32]>>);

/// Embeds texts in the background; with a store, looks there first and keeps what is new.
pub(super) fn spawn(
    model: Arc<ClipModel>,
    texts: Arc<[Arc<str>]>,
    form: TextForm,
    store: Option<Store>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = run(&model, &texts, form, store.as_ref()).await
            && !store.as_ref().is_some_and(Store::is_ending)
        {
            tracing::warn!(error = ?error, "could not embed texts ahead of time");
        }
    })
}

/// Embeds texts, a few at a time; with a store, looks there first and keeps what is new, and ends
/// with it: nobody will need the others.
///
/// # Errors
/// As [`ClipModel::embed_texts`]; [`StoreError::Closed`] as the program ends.
pub(super) async fn run(
    model: &ClipModel,
    texts: &[Arc<str>],
    form: TextForm,
    store: Option<&Store>,
) -> Result<(), Error> {
    let started = Instant::now();
    let missing = match store {
        Some(store) => recall(model, texts, form, store).await,
        None => texts.to_vec(),
    };
    let call = call();
    // What was made last, and is kept while more is made: a disk takes as long as a processor.
    let mut made: Made<'_> = (&[], Vec::new());
    let mut rest = &missing[..];
    // One run of the model at a time: a request's own texts wait for no more, and what was done is
    // not lost when the program ends in the middle.
    while !rest.is_empty() {
        let (texts, others) = rest.split_at(model.pool.of_one_run(rest, form));
        rest = others;
        if store.is_some_and(Store::is_ending) {
            let doing = "embedding texts ahead of time";
            return Err(StoreError::Closed { doing }.into());
        }
        let keeping = keep(model, &made, form, store);
        let (vectors, ()) = tokio::join!(model.embed_texts(texts, form, &call), keeping);
        made = (texts, vectors?);
    }
    keep(model, &made, form, store).await;
    if !missing.is_empty() {
        // Pictures need but a part of the weights.
        model.pool.encoder().rest();
    }
    let seconds = started.elapsed().as_secs_f64();
    let (count, missing) = (texts.len(), missing.len());
    tracing::info!(
        texts = count,
        missing,
        seconds,
        "embedded texts ahead of time"
    );
    Ok(())
}

/// A call that no request waits for.
pub(super) fn call() -> Call {
    Call {
        request_id: "warm-up".into(),
        deadline: Instant::now() + TIME,
        cancel: Cancel::default(),
    }
}

/// Takes over what the database knows, and gives back what it does not.
async fn recall(
    model: &ClipModel,
    texts: &[Arc<str>],
    form: TextForm,
    store: &Store,
) -> Vec<Arc<str>> {
    let wanted: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let kept = match store.label_embeddings(&key(model, form), &wanted).await {
        Ok(kept) => kept,
        Err(error) => {
            // While the store rests, its health says so, and once is enough.
            if !error.is_resting() {
                tracing::warn!(error = ?error, "could not read embeddings of labels");
            }
            return texts.to_vec();
        }
    };
    let dim = model.pool.encoder().dim();
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for (text, vector) in texts.iter().zip(kept) {
        match vector.filter(|vector| is_embedding(vector, dim)) {
            Some(vector) => known.push((text.clone(), vector.into())),
            None => missing.push(text.clone()),
        }
    }
    model.pool.remember(form, known);
    missing
}

/// Keeps what was made of texts, where there is a store.
async fn keep(model: &ClipModel, made: &Made<'_>, form: TextForm, store: Option<&Store>) {
    let (texts, vectors) = made;
    let Some(store) = store.filter(|_| !texts.is_empty()) else {
        return;
    };
    let rows = texts.iter().zip(vectors);
    let rows: Vec<(&str, &[f32])> = rows.map(|(text, v)| (&**text, &**v)).collect();
    if let Err(error) = store.save_label_embeddings(&key(model, form), &rows).await
        && !error.is_resting()
    {
        let error = chain(&error);
        tracing::warn!(error, "could not keep embeddings of labels");
    }
}

/// As [`ClipModel::text_key`].
pub(super) fn key(model: &ClipModel, form: TextForm) -> String {
    let templates = model.pool.encoder().templates();
    if form == TextForm::Raw || templates.is_empty() {
        return model.key.to_string();
    }
    let digest = Sha256Hex::of(templates.join("\n").as_bytes());
    format!("{}+{digest:.TEMPLATES_DIGITS$}", model.key)
}

/// True for what a model of this dimension can have made: rows may come from elsewhere.
pub(super) fn is_embedding(vector: &[f32], dim: usize) -> bool {
    let square: f32 = vector.iter().map(|x| x * x).sum();
    vector.len() == dim && (square.sqrt() - 1.0).abs() < NORM_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::is_embedding;

    #[test]
    fn only_vectors_of_the_right_shape_and_length_are_taken_over() {
        assert!(is_embedding(&[0.6, 0.8], 2));
        assert!(!is_embedding(&[0.6, 0.8], 3));
        assert!(!is_embedding(&[0.6, 0.9], 2));
        assert!(!is_embedding(&[f32::NAN, 1.0], 2));
        assert!(!is_embedding(&[], 0));
    }
}
