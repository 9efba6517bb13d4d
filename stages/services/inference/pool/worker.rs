//! The threads of a pool.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::queue::{ImageJob, PreparedJob};
use super::texts::Asked;
use super::{Encoder, Shared, add};

/// Starts the threads; they end when the queue is closed.
///
/// # Errors
/// Where the system gives no more threads.
pub(super) fn spawn<E: Encoder>(shared: &Arc<Shared<E>>) -> io::Result<()> {
    let limits = shared.limits;
    for _ in 0..limits.preparation_threads.max(1) {
        start("prepare", shared, prepare)?;
    }
    for _ in 0..limits.inference_threads.max(1) {
        start("model", shared, infer)?;
    }
    Ok(())
}

fn start<E: Encoder>(name: &str, shared: &Arc<Shared<E>>, work: fn(&Shared<E>)) -> io::Result<()> {
    let shared = shared.clone();
    thread::Builder::new()
        .name(format!("omnizap-{name}"))
        .spawn(move || work(&shared))?;
    Ok(())
}

fn prepare<E: Encoder>(shared: &Shared<E>) {
    while let Some(ImageJob { image, reply }) = shared.queue.next_image() {
        let prepared = guarded(|| shared.encoder.prepare(&image));
        // Whoever gets the answer may count on the room that the pixels took.
        drop(image);
        shared.queue.prepared(match prepared {
            Ok(prepared) => Some(PreparedJob { prepared, reply }),
            Err(reason) => {
                reply.send(Err(reason));
                None
            }
        });
    }
}

fn infer<E: Encoder>(shared: &Shared<E>) {
    let cost = |text: &str, form| shared.encoder.cost(text, form);
    let max_images = shared.limits.max_batch_images.max(1);
    let max_cost = shared.limits.max_batch_texts as f32;
    while let Some(batch) = shared.queue.next_batch(max_images, max_cost, cost) {
        if !batch.images.is_empty() {
            infer_images(shared, batch.images);
        }
        if !batch.texts.is_empty() {
            let begun = Instant::now();
            infer_texts(shared, &batch.texts);
            shared.queue.texts_done(batch.texts.len(), begun.elapsed());
        }
    }
}

fn infer_images<E: Encoder>(shared: &Shared<E>, jobs: Vec<PreparedJob<E::Prepared>>) {
    let (prepared, replies): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .map(|job| (job.prepared, job.reply))
        .unzip();
    add(&shared.tally.image_batches, 1);
    add(&shared.tally.batched_images, prepared.len());
    let vectors = guarded(|| shared.encoder.encode_images(&prepared));
    let vectors = vectors.and_then(|vectors| counted(vectors, replies.len()));
    match vectors {
        Ok(vectors) => replies
            .into_iter()
            .zip(vectors)
            .for_each(|(reply, vector)| reply.send(Ok(vector.into()))),
        Err(reason) => replies
            .into_iter()
            .for_each(|reply| reply.send(Err(reason.clone()))),
    }
}

/// Runs the texts of one batch, and none that another batch has put into the cache since it was
/// queued.
fn infer_texts<E: Encoder>(shared: &Shared<E>, asked: &[Arc<Asked>]) {
    let Some(form) = asked.first().map(|asked| asked.form) else {
        return;
    };
    let texts: Vec<Arc<str>> = asked.iter().map(|asked| asked.text.clone()).collect();
    let known = shared.cache.get_all(form, &texts);
    let mut missing: Vec<&Arc<Asked>> = Vec::new();
    for (asked, known) in asked.iter().zip(known) {
        match known {
            Some(vector) => asked.answer(&Ok(vector)),
            None => missing.push(asked),
        }
    }
    if missing.is_empty() {
        return;
    }
    let batch: Vec<&str> = missing.iter().map(|asked| &*asked.text).collect();
    add(&shared.tally.text_batches, 1);
    add(&shared.tally.batched_texts, batch.len());
    let encoded = guarded(|| shared.encoder.encode_texts(&batch, form))
        .and_then(|encoded| counted(encoded, batch.len()));
    match encoded {
        Ok(encoded) => {
            let vectors: Vec<Arc<[f32]>> = encoded.into_iter().map(Arc::from).collect();
            let texts = missing.iter().map(|asked| asked.text.clone());
            let entries = texts.zip(vectors.iter().cloned());
            shared.cache.insert_all(form, entries);
            for (asked, vector) in missing.into_iter().zip(vectors) {
                asked.answer(&Ok(vector));
            }
        }
        Err(reason) => {
            for asked in missing {
                asked.answer(&Err(reason.clone()));
            }
        }
    }
}

/// Runs the encoder so that neither an error nor a panic ends the thread.
fn guarded<T, E: Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, Arc<str>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("the model failed: {error}").into()),
        Err(_) => Err("the model panicked; the panic is in the log".into()),
    }
}

fn counted(vectors: Vec<Vec<f32>>, wanted: usize) -> Result<Vec<Vec<f32>>, Arc<str>> {
    if vectors.len() == wanted {
        return Ok(vectors);
    }
    Err(format!(
        "the model gave {} vectors for {wanted} inputs",
        vectors.len()
    )
    .into())
}
