//! A plugin's stage as the engine sees it: a kind like any other, whose instances are made
//! anew when they fail and left alone when they fail too often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnizap_contract::{
    BoxFuture, Call, Error, ErrorKind, Health, Inputs, OptionFault, Options, Outputs, Ports,
    Runner, Stage, StageKind, StageSpec, abi,
};
use serde_json::{Map, json};

use super::breaker::Breaker;
use super::fault::Fault;
use super::instance::Instance;
use super::library::Library;
use super::manifest::StageManifest;
use super::types::{error_kind, status_name};

/// Bounds of every stage of a plugin; [`Limits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Faults in a row after which a stage is not asked for a while: 503 meanwhile.
    pub faults_in_a_row: u32,
    /// How long that while is.
    pub rest: Duration,
    /// Idle instances that are kept of a stage that is not thread-safe.
    pub idle_instances: usize,
}

impl Default for Limits {
    /// 5 faults in a row, 30 s of rest, 16 idle instances.
    fn default() -> Self {
        Self {
            faults_in_a_row: 5,
            rest: Duration::from_secs(30),
            idle_instances: 16,
        }
    }
}

/// A stage of a plugin.
pub(super) struct PluginKind {
    spec: StageSpec,
    manifest: Arc<StageManifest>,
    /// The plugin's name and version.
    plugin: String,
    /// `None` where the service was started without plugins.
    library: Option<Arc<Library>>,
    limits: Limits,
}

impl PluginKind {
    pub(super) fn new(
        manifest: &StageManifest,
        plugin: String,
        library: Option<Arc<Library>>,
        limits: Limits,
    ) -> Self {
        Self {
            spec: StageSpec {
                name: manifest.id.clone().into(),
                doc: manifest.doc.clone().into(),
                options: manifest.options.clone(),
                feature: None,
            },
            manifest: Arc::new(manifest.clone()),
            plugin,
            library,
            limits,
        }
    }

    fn about(&self, fault: &Fault) -> String {
        format!(
            "the plugin {} says of `{}`: {}",
            self.plugin, self.manifest.id, fault.message
        )
    }
}

impl StageKind for PluginKind {
    fn spec(&self) -> &StageSpec {
        &self.spec
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports {
            inputs: self.manifest.inputs.clone(),
            outputs: self
                .manifest
                .outputs
                .iter()
                .map(|output| output.port.clone())
                .collect(),
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let Some(library) = &self.library else {
            return Ok(());
        };
        let checked = Instance::create(library, &self.manifest.id)
            .and_then(|mut instance| instance.validate(options));
        checked.map_err(|fault| {
            vec![OptionFault {
                message: self.about(&fault),
                option: fault.option,
            }]
        })
    }

    fn withheld(&self) -> Option<&str> {
        self.library
            .is_none()
            .then_some("the service runs without plugins (--safe)")
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let Some(library) = &self.library else {
                return Err(Error::internal(
                    "a stage of a plugin was built without plugins",
                ));
            };
            let stage = Arc::new(PluginStage {
                library: library.clone(),
                manifest: self.manifest.clone(),
                plugin: self.plugin.clone(),
                options: options.clone(),
                shared: Mutex::new(None),
                idle: Mutex::new(Vec::new()),
                breaker: Breaker::new(self.limits.faults_in_a_row, self.limits.rest),
                limits: self.limits,
                faults: AtomicU64::new(0),
            });
            // Activating may load a model: not on a thread that answers requests.
            let first = stage.clone();
            let made = tokio::task::spawn_blocking(move || first.make()).await;
            let made = made.map_err(Error::internal)?;
            let made = made.map_err(|fault| Error::new(ErrorKind::Internal, self.about(&fault)))?;
            stage.give_back(Arc::new(made));
            Ok(Runner::Compute(stage))
        })
    }
}

struct PluginStage {
    library: Arc<Library>,
    manifest: Arc<StageManifest>,
    plugin: String,
    options: Options,
    /// The one instance of a thread-safe stage.
    shared: Mutex<Option<Arc<Instance>>>,
    /// Those of another stage that nobody uses now.
    idle: Mutex<Vec<Arc<Instance>>>,
    breaker: Breaker,
    limits: Limits,
    faults: AtomicU64,
}

impl PluginStage {
    fn make(&self) -> Result<Instance, Fault> {
        let mut instance = Instance::create(&self.library, &self.manifest.id)?;
        instance.activate(&self.options)?;
        Ok(instance)
    }

    fn is_shared(&self) -> bool {
        self.manifest.has(abi::THREAD_SAFE)
    }

    fn take(&self) -> Result<Arc<Instance>, Fault> {
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

    fn give_back(&self, instance: Arc<Instance>) {
        if self.is_shared() {
            if let Ok(mut shared) = self.shared.lock() {
                shared.get_or_insert(instance);
            }
        } else if let Ok(mut idle) = self.idle.lock()
            && idle.len() < self.limits.idle_instances
        {
            idle.push(instance);
        }
    }

    /// An instance that failed is used by nobody again; the last who does drops it.
    fn poison(&self, instance: &Arc<Instance>) {
        if let Ok(mut shared) = self.shared.lock()
            && shared
                .as_ref()
                .is_some_and(|shared| Arc::ptr_eq(shared, instance))
        {
            *shared = None;
        }
    }

    /// The error of a request, from what a plugin said. Its words reach the client only where
    /// they are about what the client sent.
    fn error(&self, fault: Fault) -> Error {
        let stage = &self.manifest.id;
        let kind = error_kind(fault.status).filter(|_| !fault.is_malformed);
        if let Some(kind) = kind {
            let mut error = Error::new(kind, fault.message);
            if !fault.code.is_empty() {
                error = error.with_code(fault.code);
            }
            return match fault.retry_after {
                Some(after) => error.with_retry_after(after),
                None => error,
            };
        }
        let what = match fault.status {
            abi::OK => "gave an answer that is not valid",
            abi::PANIC => "panicked",
            _ => "failed",
        };
        Error::new(
            ErrorKind::Internal,
            format!("the plugin {} {what} in its stage `{stage}`", self.plugin),
        )
        .with_code("plugin_fault")
        .with_source(format!("{} ({})", fault.message, status_name(fault.status)))
    }
}

impl Stage for PluginStage {
    fn health(&self) -> Health {
        let id = &self.manifest.id;
        let stopped = self.breaker.stopped();
        let mut facts = Map::new();
        let state = if stopped.is_some() {
            "stopped"
        } else {
            "running"
        };
        facts.insert(
            format!("plugin {id}"),
            json!({
                "plugin": self.plugin, "state": state,
                "faults": self.faults.load(Ordering::Relaxed),
                "metrics": self.library.host.metrics(),
            }),
        );
        Health {
            failing: None,
            degraded: stopped.map(|faults| {
                format!("the plugin stage `{id}` failed {faults} times in a row and is stopped; it is tried again every {} s", self.limits.rest.as_secs())
            }),
            facts,
        }
    }

    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        if let Err(rest) = self.breaker.admit() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the plugin {} failed too often in its stage `{}` and is stopped for now",
                    self.plugin, self.manifest.id
                ),
            )
            .with_code("plugin_stopped")
            .with_retry_after(rest));
        }
        let taken = self.take();
        let result = taken.and_then(|instance| {
            let result = instance.run(&self.manifest, inputs, call);
            let failed = result.as_ref().err().is_some_and(is_fault);
            if failed {
                self.poison(&instance);
            } else if !self.is_shared() {
                self.give_back(instance);
            }
            result
        });
        match result {
            Ok(outputs) => {
                self.breaker.succeeded();
                Ok(outputs)
            }
            Err(fault) => {
                if is_fault(&fault) {
                    self.faults.fetch_add(1, Ordering::Relaxed);
                    self.breaker.failed();
                } else {
                    self.breaker.succeeded();
                }
                Err(self.error(fault))
            }
        }
    }
}

/// True for a fault of the plugin, false for an error about the request or its time.
fn is_fault(fault: &Fault) -> bool {
    fault.is_malformed || error_kind(fault.status).is_none()
}
