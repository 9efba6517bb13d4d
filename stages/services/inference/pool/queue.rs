//! What waits for the model, bounded, and who waits for the answer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omnizap_contract::common::queue::{FairQueue, Waits};
use omnizap_contract::{Call, Image};
use tokio::sync::oneshot;

use super::texts::{Asked, NoRoom, Texts};
use super::{Answer, Given, Sender, TextForm};

/// Who waits for the vector of a picture.
pub(super) struct Reply {
    call: Call,
    sender: Sender,
}

impl Reply {
    pub(super) fn new(call: &Call) -> (Self, Answer) {
        let (sender, answer) = oneshot::channel();
        let call = call.clone();
        (Self { call, sender }, answer)
    }

    /// True where nobody waits any more, or in vain.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.call.is_over()
    }

    pub(super) fn send(self, given: Given) {
        // Whoever left meanwhile does not need it.
        let _ = self.sender.send(given);
    }
}

/// A picture that waits to be prepared.
pub(super) struct ImageJob {
    pub(super) image: Arc<Image>,
    pub(super) reply: Reply,
}

/// A picture that waits for the model.
pub(super) struct PreparedJob<P> {
    pub(super) prepared: P,
    pub(super) reply: Reply,
}

impl Waits for ImageJob {
    fn owner(&self) -> &Arc<str> {
        &self.reply.call.request_id
    }

    fn is_over(&self) -> bool {
        self.reply.is_over()
    }
}

impl<P> Waits for PreparedJob<P> {
    fn owner(&self) -> &Arc<str> {
        &self.reply.call.request_id
    }

    fn is_over(&self) -> bool {
        self.reply.is_over()
    }
}

/// What one run of the inference thread works on.
pub(super) struct Batch<P> {
    pub(super) images: Vec<PreparedJob<P>>,
    /// All of one form.
    pub(super) texts: Vec<Arc<Asked>>,
}

/// The queues of a pool behind one lock.
pub(super) struct Queue<P> {
    max_waiting_images: usize,
    state: Mutex<State<P>>,
    to_prepare: Condvar,
    to_encode: Condvar,
}

struct State<P> {
    /// Pictures anywhere between `push_images` and `next_batch`.
    waiting_images: usize,
    images: FairQueue<ImageJob>,
    prepared: FairQueue<PreparedJob<P>>,
    texts: Texts,
    closed: bool,
}

impl<P> Queue<P> {
    pub(super) fn new(max_waiting_images: usize, max_waiting_texts: usize) -> Self {
        Self {
            max_waiting_images,
            state: Mutex::new(State {
                waiting_images: 0,
                images: FairQueue::new(max_waiting_images),
                prepared: FairQueue::new(max_waiting_images),
                texts: Texts::new(max_waiting_texts),
                closed: false,
            }),
            to_prepare: Condvar::new(),
            to_encode: Condvar::new(),
        }
    }

    /// Adds pictures; false, and none is added, where there is no room for all.
    #[must_use]
    pub(super) fn push_images(&self, jobs: Vec<ImageJob>) -> bool {
        let more = jobs.len();
        let mut state = self.lock();
        if state.waiting_images + more > self.max_waiting_images {
            // Requests that were given up make room before anyone is refused.
            state.drop_images_over();
        }
        let has_room = !state.closed && state.waiting_images + more <= self.max_waiting_images;
        let are_taken = has_room && state.images.push_all(jobs);
        if are_taken {
            state.waiting_images += more;
            match more {
                1 => self.to_prepare.notify_one(),
                _ => self.to_prepare.notify_all(),
            }
        }
        are_taken
    }

    /// Adds a request's texts, each with who waits for it, as long as `asker` is held.
    ///
    /// # Errors
    /// Where they may not wait; none of them is added then.
    pub(super) fn push_texts(
        &self,
        form: TextForm,
        texts: Vec<(Arc<str>, Sender)>,
        call: &Call,
        asker: &Arc<()>,
    ) -> Result<(), NoRoom> {
        if texts.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.closed {
            // Who waits for them learns it: the senders are dropped here.
            return Ok(());
        }
        state.texts.add(form, texts, call, asker)?;
        self.to_encode.notify_one();
        Ok(())
    }

    /// Takes note that so many texts are done, which took that long.
    pub(super) fn texts_done(&self, texts: usize, took: Duration) {
        self.lock().texts.done(texts, took);
    }

    /// True once it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many pictures and how many texts wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting_images, state.texts.len())
    }

    /// Waits for a picture to prepare; `None` once the queue is closed.
    pub(super) fn next_image(&self) -> Option<ImageJob> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let waiting = state.images.len();
            let next = state.images.pop();
            let gone = waiting - state.images.len() - usize::from(next.is_some());
            state.waiting_images -= gone;
            match next {
                Some(job) => return Some(job),
                None => state = wait(&self.to_prepare, state),
            }
        }
    }

    /// Hands a prepared picture on; `None` where preparing it failed.
    pub(super) fn prepared(&self, job: Option<PreparedJob<P>>) {
        let mut state = self.lock();
        // It fits: those that are prepared are among those that wait.
        if job.is_some_and(|job| state.prepared.push(job)) {
            self.to_encode.notify_one();
        } else {
            state.waiting_images -= 1;
        }
    }

    /// Waits for work: the pictures that are ready, and texts of one form, each list
    /// up to its bound, that of texts being what they cost. `None` once the queue is closed.
    pub(super) fn next_batch(
        &self,
        max_images: usize,
        max_cost: f32,
        cost: impl Fn(&str, TextForm) -> f32,
    ) -> Option<Batch<P>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let images = take_images(&mut state, max_images);
            let texts = state.texts.take(max_cost, &cost);
            if !images.is_empty() || !texts.is_empty() {
                if !state.prepared.is_empty() || !state.texts.is_empty() {
                    self.to_encode.notify_one();
                }
                return Some(Batch { images, texts });
            }
            state = wait(&self.to_encode, state);
        }
    }

    /// Ends the waiting of every thread; whatever is queued is dropped with the queue.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Those who wait learn it now and not when the last thread has ended.
        state.images.clear();
        state.prepared.clear();
        state.texts.clear();
        self.to_prepare.notify_all();
        self.to_encode.notify_all();
    }

    /// Pictures that wait, and those of them that are prepared.
    #[cfg(test)]
    pub(super) fn ready(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting_images, state.prepared.len())
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        // No panic can happen between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    fn drop_images_over(&mut self) {
        let before = self.images.len() + self.prepared.len();
        self.images.drop_those_over();
        self.prepared.drop_those_over();
        self.waiting_images -= before - self.images.len() - self.prepared.len();
    }
}

fn wait<'a, P>(on: &Condvar, state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
    on.wait(state).unwrap_or_else(PoisonError::into_inner)
}

fn take_images<P>(state: &mut State<P>, max: usize) -> Vec<PreparedJob<P>> {
    let before = state.prepared.len();
    let mut batch = Vec::new();
    while batch.len() < max
        && let Some(job) = state.prepared.pop()
    {
        batch.push(job);
    }
    state.waiting_images -= before - state.prepared.len();
    batch
}
