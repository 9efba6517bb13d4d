//! Texts that are embedded before the first request needs them, and kept in the
//! database so that the next start finds them there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::{Call, Cancel, Error};
use sha2::{Digest, Sha256};

use super::OpenModel;
use crate::model_pool::TextForm;
use crate::store::{Store, StoreError};

/// How long it may take; requests are served meanwhile and find their own texts missing.
const TIME: Duration = Duration::from_secs(600);
/// Texts that are run and kept at a time: what was done is not lost when the program ends
/// in the middle.
const TEXTS_AT_A_TIME: usize = 32;
/// How far the length of a kept vector may be from 1.
const NORM_TOLERANCE: f32 = 1e-3;

/// Embeds texts in the background; with a store, looks there first and keeps what is new.
pub(super) fn spawn(
    model: Arc<OpenModel>,
    texts: Arc<[Arc<str>]>,
    form: TextForm,
    store: Option<Store>,
) {
    tokio::spawn(async move {
        let started = Instant::now();
        if let Some(store) = &store
            && let Err(error) = recall(&model, &texts, form, store).await
        {
            tracing::warn!(error = ?error, "could not read embeddings of labels");
        }
        let call = Call {
            request_id: "warm-up".into(),
            deadline: started + TIME,
            cancel: Cancel::default(),
        };
        for texts in texts.chunks(TEXTS_AT_A_TIME) {
            if let Err(error) = embed(&model, texts, form, store.as_ref(), &call).await {
                tracing::warn!(error = ?error, "could not embed texts ahead of time");
                return;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(texts = texts.len(), seconds, "embedded texts ahead of time");
    });
}

/// Takes over what the database knows.
async fn recall(
    model: &OpenModel,
    texts: &[Arc<str>],
    form: TextForm,
    store: &Store,
) -> Result<(), StoreError> {
    let wanted: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let kept = store.label_embeddings(&key(model, form), &wanted).await?;
    let dim = model.pool.encoder().dim();
    let entries = texts.iter().zip(kept).filter_map(|(text, vector)| {
        let vector = vector.filter(|vector| is_embedding(vector, dim))?;
        Some((text.clone(), vector.into()))
    });
    model.pool.remember(form, entries);
    Ok(())
}

/// Embeds what is not known, and keeps it.
async fn embed(
    model: &OpenModel,
    texts: &[Arc<str>],
    form: TextForm,
    store: Option<&Store>,
    call: &Call,
) -> Result<(), Error> {
    let known = model.pool.known(form, texts);
    let unknown = texts.iter().zip(known);
    let unknown: Vec<Arc<str>> = unknown
        .filter(|(_, known)| known.is_none())
        .map(|(text, _)| text.clone())
        .collect();
    let vectors = model.embed_texts(&unknown, form, call).await?;
    if let Some(store) = store {
        let rows = unknown.iter().zip(&vectors);
        let rows: Vec<(&str, &[f32])> = rows.map(|(text, v)| (&**text, &**v)).collect();
        if let Err(error) = store.save_label_embeddings(&key(model, form), &rows).await {
            tracing::warn!(error = ?error, "could not keep embeddings of labels");
        }
    }
    Ok(())
}

/// What the vectors are kept under: the model, and for labels its templates too, which
/// may change without the weights.
fn key(model: &OpenModel, form: TextForm) -> String {
    let templates = model.pool.encoder().templates();
    if form == TextForm::Raw || templates.is_empty() {
        return model.key.to_string();
    }
    let digest = Sha256::digest(templates.join("\n"));
    let digits: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}+{digits}", model.key)
}

/// True for what a model of this dimension can have made: rows may come from elsewhere.
fn is_embedding(vector: &[f32], dim: usize) -> bool {
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
