//! How `serve` loads its pipelines, at the start and at each reload, and how all of it ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{ArgAction, Args};
use engine::live::source::Stamps;
use engine::live::steps::Steps;
use engine::live::trial::Teller;
use engine::live::{Live, Loading, Source, Trial, Workshop};
use engine::pipeline::Pipeline;
use engine::pipeline::build::AdmissionLimits;
use engine::pipeline::graph::Graph;
use omnizap_host::probe::process;
use omnizap_services::Services;
use tokio::task::JoinSet;

use crate::cli::pipelines::{self, not_loaded};
use crate::cli::value::switch;
use crate::cli::{Common, Failure};

/// The program itself, even after a new one was put in its place.
const SELF: &str = "/proc/self/exe";

/// The flag of a process that tries what plugins do for another.
const TRY: &str = "try-for";

/// What code around the functions of plugins may take more than they.
const SLACK: Duration = Duration::from_secs(2);

/// The part of the grace that is kept for closing, once requests have had theirs: one in so many.
const CLOSING_SHARE: u32 = 5;

/// The longest that is kept for it.
const MOST_CLOSING: Duration = Duration::from_secs(3);

/// The longest that the end of what plugins have is waited for, twice: their instances, and their
/// libraries.
const MOST_OF_PLUGINS: Duration = Duration::from_secs(5);

/// What they have beyond that, where they are told late.
const LEAST_OF_PLUGINS: Duration = Duration::from_millis(200);

/// What the store has to close in any case.
const LEAST_OF_THE_STORE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Args)]
pub(super) struct LoadArgs {
    /// Whether what plugins do at a start or a reload is tried in a process of its own first, where
    /// a crash, an exit or a hang harms nothing; without that, constructors that hang may stop the
    /// service
    #[arg(
        long,
        env = "OMNIZAP_PLUGIN_TRIAL",
        value_name = "BOOL",
        action = ArgAction::Set,
        default_value_t = true,
        value_parser = switch
    )]
    plugin_trial: bool,
    /// This process tries what plugins do, for the one with that id; the word is for what it says
    #[arg(long = TRY, hide = true, value_name = "PID:WORD")]
    try_for: Option<String>,
}

impl LoadArgs {
    /// The same with the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn taking(&self, before: &Self, is_said: &dyn Fn(&str) -> bool) -> Self {
        let one = |id: &str| if is_said(id) { before } else { self };
        Self {
            plugin_trial: one("plugin_trial").plugin_trial,
            try_for: one("try_for").try_for.clone(),
        }
    }

    /// For whom this process tries what plugins do, if it does.
    pub(super) fn asked(&self) -> Option<&str> {
        self.try_for.as_deref()
    }

    fn trial(&self, common: &Common, source: &Source) -> Option<Trial> {
        let Source::Path(path) = source else {
            return None;
        };
        let (path, data, plugins) = (path.clone(), common.data.clone(), common.plugins);
        let start = move |word: &str| {
            let mut command = Command::new(SELF);
            command.arg0("omnizap");
            command.arg("--pipelines").arg(&path);
            command.arg("--data").arg(&data);
            command.args(plugins.flags());
            let asks = format!("--{TRY}={}:{word}", std::process::id());
            command.args(["--log", "off", "serve", &asks]);
            command
        };
        self.plugin_trial
            .then(|| Trial::new(start, patience(common)))
    }
}

/// How long is waited for what plugins do at a time. Each function has its own limit, and says
/// better where it is: this one is for what escapes those.
fn patience(common: &Common) -> Duration {
    let limits = common.plugins.limits();
    limits.hook_time + limits.activate_time + SLACK
}

/// True in a process that tries what plugins do for another: that one's environment is its own.
pub(in crate::cli) fn is_trial() -> bool {
    let flag = format!("--{TRY}=");
    let mut said = std::env::args_os();
    said.any(|said| said.as_encoded_bytes().starts_with(flag.as_bytes()))
}

/// Tries what plugins do, and tells the process that asked for it.
pub(super) async fn rehearse(common: &Common, asked: &str) -> Result<ExitCode, Failure> {
    let (parent, word) = asked
        .split_once(':')
        .with_context(|| format!("--{TRY}: expected PID:WORD"))?;
    // It ends with the process that asked.
    process::bound(u64::MAX, parent.parse()?)?;
    // And where memory gets short, it goes first.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let teller = Arc::new(Teller::new(word));
    let telling = teller.clone();
    let steps = Steps::telling(move |step| telling.step(step));
    let (workshop, _) = pipelines::workshop_and_services(common, false)?;
    let source = pipelines::source(common, None);
    let result = workshop.rehearse(&source, steps).await;
    teller.verdict(&result);
    Ok(ExitCode::SUCCESS)
}

/// The same settings with a data folder that stays what it is, wherever a plugin makes the program
/// go.
pub(super) fn pinned(common: &Common) -> Result<Common, Failure> {
    let mut common = common.clone();
    common.data = std::path::absolute(&common.data).context("the data folder has no path")?;
    Ok(common)
}

/// The share of the grace that requests have to finish: the rest is for closing.
pub(super) fn for_requests(grace: Duration) -> Duration {
    grace.saturating_sub((grace / CLOSING_SHARE).min(MOST_CLOSING))
}

/// What outlives every generation of pipelines.
pub(super) struct House {
    workshop: Arc<Workshop>,
    services: Services,
}

impl House {
    pub(super) fn new(
        common: &Common,
        safe: bool,
        admission: AdmissionLimits,
    ) -> Result<Self, Failure> {
        let (workshop, services) = pipelines::workshop_and_services(common, safe)?;
        Ok(Self {
            workshop: Arc::new(workshop.admitting(admission)),
            services,
        })
    }

    /// The pipelines as they are now, checked and bound; what loads them; and what told before that
    /// whether a text has changed.
    pub(super) async fn look(
        &self,
        common: &Common,
        args: &LoadArgs,
    ) -> Result<(Loading, Vec<Graph>, Stamps), Failure> {
        let source = pipelines::source(common, None);
        // Nothing of a plugin is done without plugins, and so nothing is tried.
        let trial = args
            .trial(common, &source)
            .filter(|_| !self.workshop.is_safe());
        let read = source.stamps().unwrap_or_default();
        let mut loading = Loading::new(self.workshop.clone(), source, patience(common), trial);
        let graphs = loading.graphs().await.map_err(not_loaded)?;
        Ok((loading, graphs, read))
    }

    /// Ends what there is: the stages of every generation, those of plugins and the libraries
    /// themselves, and the store as the last.
    pub(super) async fn end(&self, live: &Live) {
        let until = live.ends_by();
        let part = until.saturating_duration_since(Instant::now()) / 3;
        let part = part.min(MOST_OF_PLUGINS);
        live.end(Instant::now() + part).await;
        self.close(until, part).await;
    }

    /// Ends what there is before there are pipelines that answer.
    pub(super) async fn leave(&self, limit: Duration) {
        let limit = limit.min(MOST_CLOSING);
        self.close(Instant::now() + limit, limit / 3).await;
    }

    /// Ends the libraries of plugins, within their part of the time, and then the store.
    async fn close(&self, until: Instant, of_plugins: Duration) {
        let workshop = self.workshop.clone();
        let runtime = tokio::runtime::Handle::current();
        // On a thread of its own: a library that is just being opened, and hangs, may hold it up.
        let closing = tokio::task::spawn_blocking(move || {
            runtime.block_on(workshop.close(of_plugins));
        });
        if tokio::time::timeout(of_plugins + LEAST_OF_PLUGINS, closing)
            .await
            .is_err()
        {
            tracing::warn!("the libraries of plugins were not closed in time");
        }
        let left = until.saturating_duration_since(Instant::now());
        let limit = left.max(LEAST_OF_THE_STORE);
        let closed = tokio::time::timeout(limit, self.services.close()).await;
        if closed.is_err() {
            tracing::warn!("the store was not closed in time");
        }
    }
}

/// Builds the pipelines; a task of its own, so that a stage that blocks holds up no signal. It ends
/// with whoever waits for it.
pub(super) async fn build(
    loading: Loading,
    graphs: Vec<Graph>,
) -> Result<(Loading, Vec<Arc<Pipeline>>), Failure> {
    let mut building = JoinSet::new();
    building.spawn(async move {
        let built = loading.build(graphs, &[]).await;
        (loading, built)
    });
    let built = building.join_next().await;
    let (loading, built) = built.context("nothing was built")??;
    Ok((loading, built.map_err(not_loaded)?))
}
