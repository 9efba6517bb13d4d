//! Calls that wait to be run as a batch: bounded, and without those that nobody waits for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnizap_contract::common::queue::{FairQueue, Waits};
use omnizap_contract::{Call, Error, Inputs, Outputs};
use tokio::sync::oneshot;

/// What becomes of a call; an error of the channel where it was dropped unrun.
pub(super) type Answer = oneshot::Receiver<Result<Outputs, Error>>;

/// A call that waits.
pub(super) struct Job {
    pub(super) inputs: Inputs,
    pub(super) call: Call,
    reply: oneshot::Sender<Result<Outputs, Error>>,
}

impl Job {
    pub(super) fn new(inputs: &Inputs, call: &Call) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        let job = Self {
            inputs: inputs.clone(),
            call: call.clone(),
            reply,
        };
        (job, answer)
    }

    pub(super) fn answer(self, result: Result<Outputs, Error>) {
        // Whoever left meanwhile does not need it.
        let _ = self.reply.send(result);
    }
}

impl Waits for Job {
    fn owner(&self) -> &Arc<str> {
        &self.call.request_id
    }

    fn is_over(&self) -> bool {
        self.reply.is_closed() || self.call.is_over()
    }
}

/// The waiting calls of one stage.
pub(super) struct Queue {
    max_batch: usize,
    batch_wait: Duration,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    waiting: FairQueue<Job>,
    is_closed: bool,
    /// Whether the last batch had more than one call.
    had_company: bool,
}

impl Queue {
    pub(super) fn new(max_waiting: usize, max_batch: usize, batch_wait: Duration) -> Self {
        Self {
            max_batch,
            batch_wait,
            state: Mutex::new(State {
                waiting: FairQueue::new(max_waiting),
                is_closed: false,
                had_company: false,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Adds a call; false where there is no room.
    #[must_use]
    pub(super) fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        let is_taken = !state.is_closed && state.waiting.push(job);
        if is_taken {
            self.arrived.notify_one();
        }
        is_taken
    }

    /// Waits for calls, the oldest first; `None` once the queue is closed.
    pub(super) fn next_batch(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() && !state.is_closed {
                let woken = self.arrived.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            if state.had_company {
                state = self.wait_for_company(state);
            }
            if state.is_closed {
                return None;
            }
            let waiting = std::iter::from_fn(|| state.waiting.pop());
            let calls: Vec<Job> = waiting.take(self.max_batch).collect();
            if !calls.is_empty() {
                state.had_company = calls.len() > 1;
                return Some(calls);
            }
        }
    }

    fn wait_for_company<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = Instant::now() + self.batch_wait;
        while state.waiting.len() < self.max_batch && !state.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Ends the waiting for calls; whatever waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.waiting.clear();
        self.arrived.notify_all();
    }

    /// Calls that wait now, and calls that were dropped before they reached the plugin.
    pub(super) fn counts(&self) -> (usize, u64) {
        let state = self.lock();
        (state.waiting.len(), state.waiting.dropped())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can happen between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::Cancel;

    use super::*;

    fn job() -> (Job, Answer) {
        let call = Call {
            request_id: "test".into(),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: Cancel::default(),
        };
        Job::new(&Inputs::new(Arc::default(), Vec::new()), &call)
    }

    #[test]
    fn closing_ends_the_waiting_of_the_thread_and_of_the_calls() {
        let queue = Arc::new(Queue::new(8, 4, Duration::from_millis(1)));
        let waits = queue.clone();
        let thread = std::thread::spawn(move || waits.next_batch().is_none());
        queue.close();
        assert!(thread.join().unwrap());

        let (late, mut answer) = job();
        assert!(!queue.push(late), "a closed queue takes no call");
        assert!(answer.try_recv().is_err());
    }

    #[test]
    fn what_waits_at_the_end_is_told() {
        let queue = Queue::new(8, 4, Duration::from_millis(1));
        let (waiting, mut answer) = job();
        assert!(queue.push(waiting));
        queue.close();
        assert_eq!(
            answer.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Closed
        );
    }
}
