//! The threads of a stage, and the calls that wait for them.
//!
//! Threads come when calls wait and all of them are busy, as many as the stage may run calls at a
//! time, and go when there was nothing to do for a while. One whose call has not returned by
//! [`Limits::overdue`] after its deadline is given up: it is lost until that call returns, another
//! takes its place, and the stage has a fault.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use omnizap_contract::common::queue::FairQueue;
use omnizap_contract::{Call, Error, Inputs};

use super::Limits;
use super::guarded::PluginStage;
use super::job::Job;
use super::turn::{Overdue, Turn, Watched};
use crate::errand::CAME_BACK;
use crate::host::Lost;
use crate::host::inside::stand_at;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// The threads of one stage.
pub(super) struct Crew {
    pub(super) stage: PluginStage,
    at_a_time: usize,
    max_batch: usize,
    pub(super) limits: Limits,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    waiting: FairQueue<Job>,
    is_closed: bool,
    /// Whether the last batch had more than one call.
    had_company: bool,
    /// What the threads are at, by a number of each.
    at_work: BTreeMap<u64, Work>,
    next_work: u64,
    threads: usize,
    idle: usize,
    /// Threads that are given up, among all.
    lost: usize,
}

/// What a thread is at.
struct Work {
    began: Instant,
    request: Arc<str>,
    calls: usize,
    thread: Arc<Watched>,
}

/// Why a call does not wait.
#[derive(Debug)]
pub(super) enum Refused {
    Full,
    Closed,
    NoThread(std::io::Error),
}

/// How a stage's threads stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: usize,
    pub(super) dropped: u64,
    pub(super) threads: usize,
    pub(super) lost: usize,
}

impl Crew {
    pub(super) fn new(
        stage: PluginStage,
        at_a_time: usize,
        max_batch: usize,
        limits: Limits,
    ) -> Self {
        Self {
            stage,
            at_a_time,
            max_batch,
            limits,
            state: Mutex::new(State {
                waiting: FairQueue::new(limits.max_waiting),
                is_closed: false,
                had_company: false,
                at_work: BTreeMap::new(),
                next_work: 0,
                threads: 0,
                idle: 0,
                lost: 0,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Lets a call wait for a thread.
    pub(super) fn push(self: &Arc<Self>, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if !state.waiting.push(job) {
            return Err(Refused::Full);
        }
        self.arrived.notify_one();
        match self.hire(&mut state) {
            Err(error) if state.threads == state.lost => {
                state.waiting.clear();
                Err(Refused::NoThread(error))
            }
            _ => Ok(()),
        }
    }

    /// Starts a thread where calls wait and one may be added.
    fn hire(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        while state.waiting.len() > state.idle && state.threads - state.lost < self.at_a_time {
            let crew = self.clone();
            let name = thread::Builder::new().name("omnizap-plugin".into());
            name.spawn(move || crew.work())?;
            state.threads += 1;
            // It is not idle, and takes what waits: one for each call would be too many.
            if state.threads - state.lost >= state.waiting.len() {
                break;
            }
        }
        Ok(())
    }

    /// What a thread does.
    fn work(self: Arc<Self>) {
        let thread = Arc::new(Watched::new());
        stand_at(&thread.post);
        while let Some((number, jobs)) = self.next(&thread) {
            let turn = Turn::new(&thread);
            self.run(&turn, jobs);
            turn.end(self.limits.hook_time);
            self.done(number);
        }
    }

    fn run(&self, turn: &Turn<'_>, jobs: Vec<Job>) {
        let batch: Vec<(&Inputs, &Call)> =
            jobs.iter().map(|job| (&job.inputs, &job.call)).collect();
        // A panic here is ours; it must not end the thread.
        let results = catch_unwind(AssertUnwindSafe(|| self.stage.run_all(&batch, turn)));
        let mut results = results.unwrap_or_default().into_iter();
        for job in jobs {
            let result = results.next();
            let missing = || Err(Error::internal("the call ended without a result"));
            job.answer(result.unwrap_or_else(missing));
        }
    }

    /// The next calls for a thread, waited for; `None` where the thread is to end.
    fn next(&self, thread: &Arc<Watched>) -> Option<(u64, Vec<Job>)> {
        let mut state = self.lock();
        let idle_until = Instant::now() + IDLE;
        loop {
            if self.is_too_many(&state) {
                break;
            }
            if state.had_company && !state.waiting.is_empty() {
                state = self.wait_for_company(state);
                if state.is_closed {
                    break;
                }
            }
            let waiting = std::iter::from_fn(|| state.waiting.pop());
            let jobs: Vec<Job> = waiting.take(self.max_batch).collect();
            if let Some(first) = jobs.first() {
                state.had_company = jobs.len() > 1;
                let last = jobs.iter().map(|job| job.call.deadline).max();
                let now = Instant::now();
                let number = state.next_work;
                state.next_work += 1;
                thread.begin(last.unwrap_or(now) + self.limits.overdue);
                let work = Work {
                    began: now,
                    request: first.call.request_id.clone(),
                    calls: jobs.len(),
                    thread: thread.clone(),
                };
                state.at_work.insert(number, work);
                return Some((number, jobs));
            }
            let left = idle_until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.idle += 1;
            let woken = self.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
        state.threads -= 1;
        None
    }

    /// True where a thread is to end: the stage is closed, or one that was lost has come back and
    /// its place is taken.
    fn is_too_many(&self, state: &State) -> bool {
        state.is_closed || state.threads - state.lost > self.at_a_time
    }

    fn wait_for_company<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = Instant::now() + self.limits.batch_wait;
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

    /// A thread is back from its calls.
    fn done(&self, number: u64) {
        let mut state = self.lock();
        let Some(work) = state.at_work.remove(&number) else {
            return;
        };
        if work.thread.post.is_lost() {
            state.lost -= 1;
            drop(state);
            let host = self.stage.host();
            host.regain(Lost::Call);
            tracing::warn!(
                plugin = host.name(),
                stage = self.stage.id(),
                request_id = &*work.request,
                after_ms = work.began.elapsed().as_millis() as u64,
                "{CAME_BACK}"
            );
        }
    }

    /// Gives up the threads whose calls have not returned in time.
    pub(super) fn sweep(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        let mut overdue = Vec::new();
        for work in state.at_work.values() {
            if work.thread.give_up(now) {
                overdue.push(Overdue {
                    hook: work.thread.post.hook(),
                    request: work.request.clone(),
                    calls: work.calls,
                    after: now - work.began,
                });
            }
        }
        if overdue.is_empty() {
            return;
        }
        state.lost += overdue.len();
        for _ in &overdue {
            self.stage.host().lose(Lost::Call);
        }
        let mut unrun = Vec::new();
        if self.stage.given_up().is_some() {
            unrun.extend(std::iter::from_fn(|| state.waiting.pop()));
        } else if let Err(error) = self.hire(&mut state) {
            tracing::error!(stage = self.stage.id(), "no thread for its calls: {error}");
        }
        drop(state);
        for overdue in &overdue {
            self.stage.lose(overdue);
        }
        for job in unrun {
            let why = self.stage.given_up().unwrap_or_default();
            job.answer(Err(self.stage.given_up_error(&why)));
        }
    }

    /// Lets the threads end, each with its call; what waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.waiting.clear();
        self.arrived.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            waiting: state.waiting.len(),
            dropped: state.waiting.dropped(),
            threads: state.threads,
            lost: state.lost,
        }
    }

    /// True where a thread is in a call and not given up.
    pub(super) fn is_at_work(&self) -> bool {
        let state = self.lock();
        state
            .at_work
            .values()
            .any(|work| !work.thread.post.is_lost())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can happen between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
