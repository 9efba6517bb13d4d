//! The threads of a pool.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::queue::{PreparedJob, TextJob};
use super::{Encoder, Shared};

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
    while let Some(job) = shared.queue.next_image() {
        let prepared = guarded(|| shared.encoder.prepare(&job.image));
        let reply = job.reply;
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
    let max_texts = |form| {
        let per_text = shared.encoder.texts_per_text(form).max(1);
        (shared.limits.max_batch_texts / per_text).max(1)
    };
    let max_images = shared.limits.max_batch_images.max(1);
    while let Some(batch) = shared.queue.next_batch(max_images, max_texts) {
        if !batch.images.is_empty() {
            infer_images(shared, batch.images);
        }
        if !batch.texts.is_empty() {
            infer_texts(shared, batch.texts);
        }
    }
}

fn infer_images<E: Encoder>(shared: &Shared<E>, jobs: Vec<PreparedJob<E::Prepared>>) {
    let (prepared, replies): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .map(|job| (job.prepared, job.reply))
        .unzip();
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

/// Runs the texts of one batch, each distinct one once, and none that another batch
/// has put into the cache since it was queued.
fn infer_texts<E: Encoder>(shared: &Shared<E>, jobs: Vec<TextJob>) {
    let Some(form) = jobs.first().map(|job| job.form) else {
        return;
    };
    let texts: Vec<Arc<str>> = jobs.iter().map(|job| job.text.clone()).collect();
    let known = shared.cache.get_all(form, &texts);
    let mut vectors: HashMap<Arc<str>, Arc<[f32]>> = HashMap::new();
    let mut missing: Vec<Arc<str>> = Vec::new();
    for (text, known) in texts.iter().zip(known) {
        match known {
            Some(vector) => drop(vectors.insert(text.clone(), vector)),
            None if missing.contains(text) => {}
            None => missing.push(text.clone()),
        }
    }
    if !missing.is_empty() {
        let batch: Vec<&str> = missing.iter().map(|text| &**text).collect();
        let encoded = guarded(|| shared.encoder.encode_texts(&batch, form))
            .and_then(|encoded| counted(encoded, batch.len()));
        match encoded {
            Ok(encoded) => {
                let encoded = encoded.into_iter().map(Arc::<[f32]>::from);
                let entries: Vec<_> = missing.into_iter().zip(encoded).collect();
                vectors.extend(entries.iter().cloned());
                shared.cache.insert_all(form, entries);
            }
            Err(reason) => {
                for job in jobs {
                    job.reply.send(Err(reason.clone()));
                }
                return;
            }
        }
    }
    for job in jobs {
        if let Some(vector) = vectors.get(&job.text) {
            job.reply.send(Ok(vector.clone()));
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
