//! The instances of one stage: one that all share where the stage is thread-safe, else one for
//! each call under way. Those that fail are used by nobody again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnizap_contract::{Call, Options, abi};

use super::turn::Turn;
use crate::fault::Fault;
use crate::instance::Instance;
use crate::library::Library;
use crate::manifest::StageManifest;

pub(super) struct Instances {
    library: Arc<Library>,
    manifest: Arc<StageManifest>,
    options: Options,
    max_idle: usize,
    /// What making one may take.
    time: Duration,
    kept: Mutex<Kept>,
    /// The one that all share was made, or not.
    made: Condvar,
}

struct Kept {
    /// Of a stage that is thread-safe: the one instance.
    shared: Shared,
    /// Counts the makings of it, so that one which was given up ends none that came after.
    making: u64,
    /// Of another stage: those that nobody uses now.
    idle: Vec<Arc<Instance>>,
    is_closed: bool,
}

enum Shared {
    None,
    /// A call makes it, the others wait.
    Making(u64),
    Made(Arc<Instance>),
}

impl Instances {
    pub(super) fn new(
        library: Arc<Library>,
        manifest: Arc<StageManifest>,
        options: Options,
        max_idle: usize,
        time: Duration,
    ) -> Self {
        Self {
            library,
            manifest,
            options,
            max_idle,
            time,
            kept: Mutex::new(Kept {
                shared: Shared::None,
                making: 0,
                idle: Vec::new(),
                is_closed: false,
            }),
            made: Condvar::new(),
        }
    }

    fn make(&self, turn: &Turn<'_>) -> Result<Arc<Instance>, Fault> {
        turn.beside(self.time, || {
            let mut instance = Instance::create(&self.library, &self.manifest)?;
            instance.activate(&self.options)?;
            Ok(Arc::new(instance))
        })
    }

    fn is_shared(&self) -> bool {
        self.manifest.has(abi::THREAD_SAFE)
    }

    /// An instance to use: of a stage that is not thread-safe, one that nobody else has.
    pub(super) fn take(&self, call: &Call, turn: &Turn<'_>) -> Result<Arc<Instance>, Fault> {
        if self.is_shared() {
            return self.take_shared(call, turn);
        }
        let idle = self.lock().idle.pop();
        idle.map_or_else(|| self.make(turn), Ok)
    }

    fn take_shared(&self, call: &Call, turn: &Turn<'_>) -> Result<Arc<Instance>, Fault> {
        let mut kept = self.lock();
        loop {
            match &kept.shared {
                Shared::Made(instance) => return Ok(instance.clone()),
                Shared::None => break,
                Shared::Making(_) => {
                    let left = call.deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Fault::late("the stage was being made anew all the time"));
                    }
                    let woken = self.made.wait_timeout(kept, left);
                    kept = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        kept.making += 1;
        let making = kept.making;
        kept.shared = Shared::Making(making);
        drop(kept);
        let made = self.make(turn);
        let mut kept = self.lock();
        if matches!(kept.shared, Shared::Making(now) if now == making) {
            kept.shared = match &made {
                Ok(instance) if !kept.is_closed => Shared::Made(instance.clone()),
                _ => Shared::None,
            };
        }
        self.made.notify_all();
        made
    }

    /// Keeps an instance for the next calls; gives it back where it is not needed.
    pub(super) fn keep(&self, instance: Arc<Instance>) -> Option<Arc<Instance>> {
        let is_shared = self.is_shared();
        let mut kept = self.lock();
        if kept.is_closed {
            return Some(instance);
        }
        if is_shared {
            if let Shared::None = kept.shared {
                kept.shared = Shared::Made(instance);
                return None;
            }
            return Some(instance);
        }
        if kept.idle.len() < self.max_idle {
            kept.idle.push(instance);
            return None;
        }
        Some(instance)
    }

    /// Takes an instance back that was taken. One that failed is used by nobody again; the last
    /// who has it drops it, after its answers.
    pub(super) fn give_back(&self, instance: Arc<Instance>, failed: bool, turn: &Turn<'_>) {
        let given_up = if failed {
            self.forget(Some(&instance));
            Some(instance)
        } else if self.is_shared() {
            // Where it is shared no more, this may be the last who has it.
            Some(instance)
        } else {
            self.keep(instance)
        };
        if let Some(last) = given_up.and_then(Arc::into_inner) {
            turn.discard(last);
        }
    }

    /// From here on nobody takes the shared instance that there is, or that one only.
    pub(super) fn forget(&self, instance: Option<&Arc<Instance>>) {
        let mut kept = self.lock();
        let is_meant = match (&kept.shared, instance) {
            (Shared::Made(shared), Some(instance)) => Arc::ptr_eq(shared, instance),
            (Shared::Made(_) | Shared::Making(_), None) => true,
            _ => false,
        };
        if is_meant {
            kept.shared = Shared::None;
            self.made.notify_all();
        }
    }

    /// Keeps none any more; those that there are.
    pub(super) fn close(&self) -> Vec<Arc<Instance>> {
        let mut kept = self.lock();
        kept.is_closed = true;
        let mut all = std::mem::take(&mut kept.idle);
        if let Shared::Made(instance) = std::mem::replace(&mut kept.shared, Shared::None) {
            all.push(instance);
        }
        self.made.notify_all();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
