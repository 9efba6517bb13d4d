//! A plugin's stage as the engine sees it: a kind like any other.
//!
//! Its calls run on threads of the stage's own (`crew`), which take them from a bounded queue and
//! are watched (`watch`): a call that has not returned a while after its deadline is a fault, and
//! its thread is given up and replaced. How many run at a time is said by what the stage declares:
//!
//! - `OZ_BATCHABLE`: one thread, whatever waits as one `run_batch`
//! - `OZ_BLOCKING`: [`Limits::blocking_calls`]
//! - else: [`Limits::computing_calls`]
//!
//! What comes before and after calls runs on threads of its own, each within its limit.

mod calls;
mod crew;
mod guarded;
mod instances;
mod job;
mod turn;
mod watch;

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use omnizap_contract::{
    Error, ErrorKind, OptionFault, Options, Ports, Runner, StageKind, StageSpec, abi,
};

use self::calls::Calls;
use self::crew::Crew;
use self::guarded::PluginStage;
use crate::errand::{Unreturned, within, within_async};
use crate::fault::Fault;
use crate::host::HostTable;
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
    /// Most calls that wait for a stage: 429 beyond.
    pub max_waiting: usize,
    /// Most calls at a time of a stage that computes; 0: as many as there are cores.
    pub computing_calls: usize,
    /// Most calls at a time of a stage that blocks.
    pub blocking_calls: usize,
    /// How long a call may go on after its deadline before it is a fault and its thread is given
    /// up.
    pub overdue: Duration,
    /// Most threads that the calls of a plugin may lose. They are replaced until then; a plugin
    /// that has lost so many is not called any more, and the service is not ready. As many again
    /// may be lost by its other functions; then no instance of it is made any more.
    pub max_lost: usize,
    /// How long opening a library may take, and each of `create`, `validate_config`, `deactivate`
    /// and `destroy`.
    pub hook_time: Duration,
    /// How long `activate` may take: it may load a model.
    pub activate_time: Duration,
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
        computing_calls: 0,
        blocking_calls: 32,
        overdue: Duration::from_secs(1),
        max_lost: 8,
        hook_time: Duration::from_secs(10),
        activate_time: Duration::from_secs(60),
    };

    /// How many calls of a stage run at a time.
    fn calls_of(&self, manifest: &StageManifest, is_batched: bool) -> usize {
        if is_batched {
            return 1;
        }
        if manifest.has(abi::BLOCKING) {
            return self.blocking_calls.max(1);
        }
        match self.computing_calls {
            0 => available_parallelism().map_or(1, usize::from),
            calls => calls,
        }
    }
}

impl Default for Limits {
    /// 5 faults in a row, 30 s of rest, 16 idle instances; batches of 64 that wait 2 ms for
    /// company; 256 calls waiting, a computing call for each core, 32 blocking calls; a call is a
    /// fault 1 s after its deadline, 8 threads may be lost; 10 s for each function but `activate`,
    /// which has 60.
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

    /// What a function brought, or why not, for people.
    fn told<T>(
        &self,
        brought: Result<Result<T, Fault>, Unreturned>,
    ) -> Result<T, (String, String)> {
        match brought {
            Ok(Ok(brought)) => Ok(brought),
            Ok(Err(fault)) => Err((self.about(&fault), fault.option)),
            Err(unreturned) => {
                let message = format!(
                    "the plugin {} {unreturned}, in its stage `{}`",
                    self.plugin, self.manifest.id
                );
                tracing::error!("{message}");
                Err((message, String::new()))
            }
        }
    }

    /// Refuses what may not be called any more.
    fn refuse_given_up(&self, host: &HostTable) -> Result<(), String> {
        match host.is_left_alone(self.limits.max_lost) {
            None => Ok(()),
            Some(why) => Err(given_up(&self.plugin, &why)),
        }
    }
}

/// What is said of a plugin that is not called any more.
fn given_up(plugin: &str, why: &str) -> String {
    format!("the plugin {plugin} is given up until the service starts again: {why}")
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
        let (limit, host) = (self.limits.hook_time, library.host);
        let (library, manifest, options) =
            (library.clone(), self.manifest.clone(), options.clone());
        let checked = self
            .refuse_given_up(host)
            .map_err(|why| (why, String::new()));
        let checked = checked.and_then(|()| {
            self.told(within(host, limit, move || {
                let mut instance = Instance::create(&library, &manifest)?;
                instance.validate(&options)
            }))
        });
        checked.map_err(|(message, option)| vec![OptionFault { message, option }])
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
        let host = library.host;
        let internal = |(message, _): (String, String)| Error::new(ErrorKind::Internal, message);
        let refused = self.refuse_given_up(host);
        refused.map_err(|why| internal((why, String::new())))?;
        let (of_thread, manifest) = (library.clone(), self.manifest.clone());
        let made = within_async(host, self.limits.hook_time, move || {
            Instance::create(&of_thread, &manifest)
        });
        let mut made = self.told(made.await).map_err(internal)?;
        let options_of_thread = options.clone();
        let first = within_async(host, self.limits.activate_time, move || {
            made.activate(&options_of_thread)?;
            let likes = made.max_batch()?;
            Ok((made, likes))
        });
        let (first, likes) = self.told(first.await).map_err(internal)?;
        let stage = PluginStage::new(
            library.clone(),
            self.manifest.clone(),
            self.plugin.clone(),
            options.clone(),
            self.limits,
        );
        stage.begin_with(first);
        let max_batch = self.limits.max_batch.min(likes as usize).max(1);
        let at_a_time = self.limits.calls_of(&self.manifest, max_batch > 1);
        let crew = Arc::new(Crew::new(stage, at_a_time, max_batch, self.limits));
        // Before anything can fail: the instance does not end on the thread that is here.
        let calls = Calls::new(crew.clone());
        watch::watch(&crew).map_err(Error::internal)?;
        Ok(Runner::waits(calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(flags: u32) -> StageManifest {
        StageManifest {
            id: "acme/a".into(),
            doc: String::new(),
            flags,
            options: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn how_many_run_at_a_time_is_said_by_what_the_stage_declares() {
        let limits = Limits {
            computing_calls: 3,
            ..Limits::DEFAULT
        };
        assert_eq!(limits.calls_of(&stage(0), false), 3);
        assert_eq!(limits.calls_of(&stage(abi::BLOCKING), false), 32);
        assert_eq!(limits.calls_of(&stage(abi::BLOCKING), true), 1);
        assert!(Limits::DEFAULT.calls_of(&stage(0), false) >= 1);
    }
}
