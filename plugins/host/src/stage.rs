//! A plugin's stage as the engine sees it: a kind like any other.
//!
//! What the stage declares decides where its calls run:
//!
//! - `OZ_BATCHABLE`: on a thread of the stage, whatever waits as one `run_batch` (`batch`)
//! - `OZ_BLOCKING`: on threads that may wait, away from the places for computing (`blocking`)
//! - else: on the places for computing, as built-in stages that compute do (`guarded`)

mod batch;
mod blocking;
mod guarded;
mod instances;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{
    Error, ErrorKind, OptionFault, Options, Ports, Runner, StageKind, StageSpec, abi,
};

use self::batch::Batched;
use self::blocking::Blocking;
use self::guarded::PluginStage;
use crate::fault::Fault;
use crate::instance::Instance;
use crate::library::Library;
use crate::manifest::StageManifest;

/// Bounds of every stage of a plugin; [`Limits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Faults in a row after which a stage is not asked for a while: 503 meanwhile.
    pub faults_in_a_row: u32,
    /// How long that while is.
    pub rest: Duration,
    /// Idle instances that are kept of a stage that is not thread-safe.
    pub idle_instances: usize,
    /// Most calls in one `run_batch`, also where the stage likes more.
    pub max_batch: usize,
    /// How long a batch that is not full waits for company. Only where the batch before had
    /// some: a call that comes alone is not held up.
    pub batch_wait: Duration,
    /// Most calls that wait for a stage that is batchable: 429 beyond.
    pub max_waiting: usize,
    /// Most calls at a time of a stage that blocks; further ones wait for a place.
    pub blocking_calls: usize,
}

impl Limits {
    /// See [`Limits::default`].
    pub const DEFAULT: Self = Self {
        faults_in_a_row: 5,
        rest: Duration::from_secs(30),
        idle_instances: 16,
        max_batch: 64,
        batch_wait: Duration::from_millis(2),
        max_waiting: 256,
        blocking_calls: 32,
    };
}

impl Default for Limits {
    /// 5 faults in a row, 30 s of rest, 16 idle instances; batches of 64 that wait 2 ms for
    /// company, 256 calls waiting; 32 blocking calls.
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A stage of a plugin.
pub(crate) struct PluginKind {
    spec: StageSpec,
    manifest: Arc<StageManifest>,
    /// The plugin's name and version.
    plugin: String,
    /// `None` where the service was started without plugins.
    library: Option<Arc<Library>>,
    limits: Limits,
}

impl PluginKind {
    pub(crate) fn new(
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
                is_pure: false,
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
        let checked = Instance::create(library, &self.manifest)
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

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let Some(library) = &self.library else {
            return Err(Error::internal(
                "a stage of a plugin was built without plugins",
            ));
        };
        let stage = Arc::new(PluginStage::new(
            library.clone(),
            self.manifest.clone(),
            self.plugin.clone(),
            options.clone(),
            self.limits,
        ));
        // Activating may load a model: not on a thread that answers requests.
        let first = stage.clone();
        let likes = tokio::task::spawn_blocking(move || first.make_first()).await;
        let likes = likes.map_err(Error::internal)?;
        let likes = likes.map_err(|fault| Error::new(ErrorKind::Internal, self.about(&fault)))?;
        let max_batch = self.limits.max_batch.min(likes as usize);
        if max_batch > 1 {
            let batched = Batched::start(stage, max_batch, self.limits);
            return Ok(Runner::waits(batched.map_err(Error::internal)?));
        }
        if self.manifest.has(abi::BLOCKING) {
            let blocking = Blocking::new(stage, self.limits.blocking_calls);
            return Ok(Runner::waits(blocking));
        }
        Ok(Runner::Compute(stage))
    }
}
