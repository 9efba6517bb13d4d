//! One open model and the threads that run it.
//!
//! Pictures pass two queues: preparation (scaling to the model's input) on several
//! threads, then inference, where whatever waits is run as one batch. Texts join at
//! inference, and only those that the cache does not hold; one that several requests ask
//! for is run once. Batches of pictures and of texts take turns, and so do requests in
//! each queue: however much one of them brings, another's one picture or text is soon
//! done. Work that nobody waits for any more is dropped before it reaches the model. All
//! queues are bounded: what does not fit, and what could not be done in its time, is
//! refused at once instead of waiting in vain.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnizap_contract::{Call, Counters, Error, ErrorKind, Image};
use omnizap_models::Device;
use tokio::sync::oneshot;

mod cache;
mod encoder;
mod pace;
mod queue;
mod texts;
mod worker;

pub use encoder::{Encoder, TextForm};

use cache::Cache;
use queue::{ImageJob, Queue, Reply};
use texts::NoRoom;

/// The bounds of a [`Pool`].
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Most pictures that wait for the model, prepared or not.
    pub max_waiting_images: usize,
    /// Most distinct texts that wait for the model, of all requests together. While others wait a
    /// request gets half of what is left at most.
    pub max_waiting_texts: usize,
    /// Most pictures in one run of the model. A processor computes as many as it has cores side by
    /// side, so that with more the first of them would wait for the last.
    pub max_batch_images: usize,
    /// Most texts as long as the model reads, templates counted, in one run of the model: pictures
    /// that arrive meanwhile wait for no more than that. Where short texts cost less, more of them
    /// are run at once: such a text is long enough to fill the matrix units, a few words are not.
    pub max_batch_texts: usize,
    /// Most texts of each form whose embeddings are kept.
    pub max_cached_texts: usize,
    /// Threads that scale pictures to the model's input.
    pub preparation_threads: usize,
    /// Threads that run the model, each with its own batch. The model itself spreads
    /// a batch over all cores, so more of them trade latency for little.
    pub inference_threads: usize,
}

/// Most pictures in one run of the model on a GPU, which computes all of a batch at once.
const MOST_IMAGES_OF_A_GPU: usize = 16;

impl PoolLimits {
    /// The bounds for models on a device.
    #[must_use]
    pub fn on(device: Device) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            max_waiting_images: 256,
            max_waiting_texts: 16_384,
            max_batch_images: match device {
                Device::Cpu => cores.clamp(2, 16),
                _ => MOST_IMAGES_OF_A_GPU,
            },
            max_batch_texts: 8,
            max_cached_texts: 16_384,
            preparation_threads: cores.min(4),
            inference_threads: 1,
        }
    }
}

impl Default for PoolLimits {
    /// Those for models on the processor.
    fn default() -> Self {
        Self::on(Device::Cpu)
    }
}

/// When a client whose work did not fit may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The pool that runs a model of this project.
pub type ModelPool = Pool<omnizap_models::Model>;

/// One encoder, its threads, its queue and its cache. Dropping it ends the threads.
pub struct Pool<E: Encoder> {
    shared: Arc<Shared<E>>,
}

/// What the threads of a pool share.
struct Shared<E: Encoder> {
    encoder: E,
    limits: PoolLimits,
    queue: Queue<E::Prepared>,
    cache: Cache,
    tally: Tally,
}

/// What was done since the start.
#[derive(Default)]
struct Tally {
    image_batches: AtomicU64,
    batched_images: AtomicU64,
    text_batches: AtomicU64,
    batched_texts: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
}

/// Adds to a count.
fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

impl<E: Encoder> Pool<E> {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn start(encoder: E, limits: PoolLimits) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            encoder,
            limits,
            queue: Queue::new(limits.max_waiting_images, limits.max_waiting_texts),
            cache: Cache::new(limits.max_cached_texts),
            tally: Tally::default(),
        });
        // From here on an early return closes the queue and so ends the threads.
        let pool = Self { shared };
        worker::spawn(&pool.shared)?;
        Ok(pool)
    }

    /// What runs in the pool.
    pub fn encoder(&self) -> &E {
        &self.shared.encoder
    }

    /// What the cache holds of these texts, in their order.
    pub(crate) fn known(&self, form: TextForm, texts: &[Arc<str>]) -> Vec<Option<Arc<[f32]>>> {
        self.shared.cache.get_all(form, texts)
    }

    /// Puts embeddings that were made earlier into the cache.
    pub fn remember(
        &self,
        form: TextForm,
        entries: impl IntoIterator<Item = (Arc<str>, Arc<[f32]>)>,
    ) {
        self.shared.cache.insert_all(form, entries);
    }

    /// How many pictures and how many texts wait, of how many that may, in how many batches others
    /// were done, and how many texts were known.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (images, texts) = self.shared.queue.waiting();
        let limits = &self.shared.limits;
        let tally = &self.shared.tally;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters::new()
            .gauge("waiting_images", images as f64)
            .gauge("max_waiting_images", limits.max_waiting_images as f64)
            .gauge("waiting_texts", texts as f64)
            .gauge("max_waiting_texts", limits.max_waiting_texts as f64)
            .total("image_batches", count(&tally.image_batches))
            .total("batched_images", count(&tally.batched_images))
            .total("text_batches", count(&tally.text_batches))
            .total("batched_texts", count(&tally.batched_texts))
            .total("text_cache_hits", count(&tally.cache_hits))
            .total("text_cache_misses", count(&tally.cache_misses))
    }

    /// How many of the first of these texts fill one run of the model; at least one where there is
    /// one.
    pub(crate) fn of_one_run(&self, texts: &[Arc<str>], form: TextForm) -> usize {
        let max_cost = self.shared.limits.max_batch_texts as f32;
        let mut cost = 0.0;
        let fit = texts.iter().take_while(|text| {
            cost += self.shared.encoder.cost(text, form);
            cost <= max_cost
        });
        fit.count().max(1).min(texts.len())
    }

    /// The embedding of a picture, L2 norm 1.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where too much waits, [`ErrorKind::Deadline`] where the time
    /// ran out in the queue, [`ErrorKind::Unavailable`] where the pool is closed,
    /// [`ErrorKind::Internal`] where the model failed.
    pub async fn embed_image(&self, image: Arc<Image>, call: &Call) -> Result<Arc<[f32]>, Error> {
        let (reply, answer) = Reply::new(call);
        let job = ImageJob { image, reply };
        if !self.shared.queue.push_images(vec![job]) && !self.shared.queue.is_closed() {
            return Err(busy("pictures", "max_waiting_images"));
        }
        self.received(answer).await
    }

    /// The embeddings of the frames of one picture in their order, L2 norm 1. They wait together,
    /// as many at a time as one run of the model takes: however many a request has, no more of them
    /// take the places of others.
    ///
    /// # Errors
    /// As [`Pool::embed_image`]; [`ErrorKind::Busy`] where not all of one run may wait.
    pub async fn embed_frames(
        &self,
        frames: &[Arc<Image>],
        call: &Call,
    ) -> Result<Vec<Arc<[f32]>>, Error> {
        let limits = &self.shared.limits;
        let at_once = limits.max_batch_images.min(limits.max_waiting_images);
        let mut vectors = Vec::with_capacity(frames.len());
        for frames in frames.chunks(at_once.max(1)) {
            let waiting = frames.iter().map(|image| {
                let (reply, answer) = Reply::new(call);
                let image = image.clone();
                (ImageJob { image, reply }, answer)
            });
            let (jobs, answers): (Vec<_>, Vec<_>) = waiting.unzip();
            if !self.shared.queue.push_images(jobs) && !self.shared.queue.is_closed() {
                return Err(busy("pictures", "max_waiting_images"));
            }
            for answer in answers {
                vectors.push(self.received(answer).await?);
            }
        }
        Ok(vectors)
    }

    /// The embeddings of texts in their order, L2 norm 1.
    ///
    /// # Errors
    /// As [`Pool::embed_image`]; [`ErrorKind::Busy`] also where the texts that wait would take
    /// longer than there is time.
    pub async fn embed_texts(
        &self,
        texts: &[Arc<str>],
        form: TextForm,
        call: &Call,
    ) -> Result<Vec<Arc<[f32]>>, Error> {
        let mut found = self.shared.cache.get_all(form, texts);
        let (mut missing, mut answers) = (Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            if found[index].is_none() {
                let (sender, answer) = oneshot::channel();
                missing.push((text.clone(), sender));
                answers.push((index, answer));
            }
        }
        add(&self.shared.tally.cache_hits, texts.len() - missing.len());
        add(&self.shared.tally.cache_misses, missing.len());
        // Tells the queue, once it is dropped, that nobody waits any more.
        let asker = Arc::new(());
        match self.shared.queue.push_texts(form, missing, call, &asker) {
            Ok(()) => {}
            Err(NoRoom::Full) => return Err(busy("texts", "max_waiting_texts")),
            Err(NoRoom::InVain(wait)) => return Err(in_vain(wait)),
        }
        for (index, answer) in answers {
            found[index] = Some(self.received(answer).await?);
        }
        drop(asker);
        // Every gap was filled above.
        Ok(found.into_iter().flatten().collect())
    }

    async fn received(&self, answer: Answer) -> Result<Arc<[f32]>, Error> {
        match answer.await {
            Ok(Ok(vector)) => Ok(vector),
            Ok(Err(reason)) => Err(Error::internal(reason.to_string())),
            // The job was dropped.
            Err(_) if self.shared.queue.is_closed() => Err(closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Deadline,
                "the time ran out before the model was done",
            )),
        }
    }
}

impl<E: Encoder> Drop for Pool<E> {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// What the model gave, or why it gave nothing, for the log.
type Given = Result<Arc<[f32]>, Arc<str>>;

/// Where one who waits for a vector gets it.
type Sender = oneshot::Sender<Given>;

/// Where it is waited for.
type Answer = oneshot::Receiver<Given>;

fn busy(what: &str, limit: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("too many {what} wait for the model ({limit}); try again in a moment"),
    )
    .with_code("model_queue_full")
    .with_retry_after(RETRY_AFTER)
}

fn in_vain(wait: Duration) -> Error {
    let message = "the texts that wait for the model would take longer than there is time; try \
                   again in a moment";
    Error::new(ErrorKind::Busy, message)
        .with_code("model_queue_slow")
        .with_retry_after(wait.max(RETRY_AFTER))
}

fn closed() -> Error {
    let message = "the model is no longer here; try again in a moment";
    Error::new(ErrorKind::Unavailable, message)
        .with_code("model_closed")
        .with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests;
