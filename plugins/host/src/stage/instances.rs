//! The instances of one stage: one that all share where the stage is thread-safe, else one for
//! each call under way. Those that fail are used by nobody again.

use std::sync::{Arc, Mutex};

use omnizap_contract::{Options, abi};

use crate::fault::Fault;
use crate::instance::Instance;
use crate::library::Library;
use crate::manifest::StageManifest;

pub(super) struct Instances {
    library: Arc<Library>,
    manifest: Arc<StageManifest>,
    options: Options,
    /// The one instance of a thread-safe stage.
    shared: Mutex<Option<Arc<Instance>>>,
    /// Those of another stage that nobody uses now.
    idle: Mutex<Vec<Arc<Instance>>>,
    max_idle: usize,
}

impl Instances {
    pub(super) fn new(
        library: Arc<Library>,
        manifest: Arc<StageManifest>,
        options: Options,
        max_idle: usize,
    ) -> Self {
        Self {
            library,
            manifest,
            options,
            shared: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            max_idle,
        }
    }

    pub(super) fn make(&self) -> Result<Instance, Fault> {
        let mut instance = Instance::create(&self.library, &self.manifest)?;
        instance.activate(&self.options)?;
        Ok(instance)
    }

    fn is_shared(&self) -> bool {
        self.manifest.has(abi::THREAD_SAFE)
    }

    /// An instance to use: of a stage that is not thread-safe, one that nobody else has.
    #[inline]
    pub(super) fn take(&self) -> Result<Arc<Instance>, Fault> {
        if self.is_shared() {
            let Ok(mut shared) = self.shared.lock() else {
                return self.make().map(Arc::new);
            };
            if let Some(instance) = &*shared {
                return Ok(instance.clone());
            }
            let made = Arc::new(self.make()?);
            *shared = Some(made.clone());
            return Ok(made);
        }
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        idle.map_or_else(|| self.make().map(Arc::new), Ok)
    }

    /// Keeps an instance for the next calls.
    pub(super) fn keep(&self, instance: Arc<Instance>) {
        if self.is_shared() {
            if let Ok(mut shared) = self.shared.lock() {
                shared.get_or_insert(instance);
            }
        } else if let Ok(mut idle) = self.idle.lock()
            && idle.len() < self.max_idle
        {
            idle.push(instance);
        }
    }

    /// Takes an instance back that was taken. One that failed is used by nobody again; the last
    /// who does drops it.
    #[inline]
    pub(super) fn give_back(&self, instance: Arc<Instance>, failed: bool) {
        if failed {
            self.discard(&instance);
        } else if !self.is_shared() {
            self.keep(instance);
        }
    }

    fn discard(&self, instance: &Arc<Instance>) {
        if let Ok(mut shared) = self.shared.lock()
            && shared
                .as_ref()
                .is_some_and(|shared| Arc::ptr_eq(shared, instance))
        {
            *shared = None;
        }
    }
}
