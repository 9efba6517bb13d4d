//! Where pipelines are tried: with services of their own for each test, so that none sees what
//! another left behind, and with nothing of the operator's unless that is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use engine::live::{LoadError, Workshop};
use engine::pipeline::case::Case;
use engine::pipeline::diagnostic::Diagnostics;
use engine::pipeline::graph::Graph;
use engine::pipeline::trial::{self, Verdict};
use omnizap_services::{Services, ServicesConfig};
use omnizap_stages::builtins;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::cli::config::{check_database, services_config};
use crate::cli::{Common, Failure, page, pipelines};

/// Longest wait for stages that are starting.
const MAX_START: Duration = Duration::from_secs(600);

pub(super) struct Bench {
    workshop: Workshop,
    config: ServicesConfig,
    /// True where tests see the data of the service.
    is_own: bool,
    samples: Vec<(&'static str, &'static [u8])>,
    /// The services of the test that is tried, to be closed where it is interrupted.
    current: Mutex<Option<Services>>,
    /// What plugins are copied to, and the data of each test.
    folder: TempDir,
}

impl Bench {
    pub(super) fn new(common: &Common, is_own: bool) -> Result<Self, Failure> {
        let folder = TempDir::with_prefix("omnizap-test-").context("a folder for the tests")?;
        let mut config = services_config(common).map_err(Failure::Config)?;
        config.openai_api_key = None;
        config.openai_base_url = None;
        let mut common = common.clone();
        if is_own {
            check_database(&common)?;
        } else {
            config.database_url = None;
            folder.path().clone_into(&mut config.data_dir);
            folder.path().clone_into(&mut common.data);
        }
        let (workshop, _) = pipelines::workshop_with(&common, config.clone(), false)?;
        Ok(Self {
            workshop,
            config,
            is_own,
            samples: page::examples(),
            current: Mutex::default(),
            folder,
        })
    }

    /// The pipelines of these files and folders, or of where they come from else.
    ///
    /// # Errors
    /// Every mistake in all of them.
    pub(super) fn graphs(&self, common: &Common, files: &[PathBuf]) -> Result<Vec<Graph>, Failure> {
        if files.is_empty() {
            let source = pipelines::source(common, None);
            return self.workshop.graphs(&source).map_err(pipelines::not_loaded);
        }
        let (mut graphs, mut mistakes) = (Vec::new(), Diagnostics::default());
        // Each by itself: what is tried is not served together.
        for file in files {
            if matches!(file.try_exists(), Ok(false)) {
                return Err(Failure::Config(pipelines::no_file(common, file)));
            }
            let source = pipelines::source(common, Some(file));
            match self.workshop.graphs(&source) {
                Ok(found) => graphs.extend(found),
                Err(LoadError::Mistakes(found)) => mistakes.extend(found),
                Err(error) => return Err(pipelines::not_loaded(error)),
            }
        }
        mistakes.into_result().map_err(pipelines::not_loaded)?;
        Ok(graphs)
    }

    /// Tries a test; what came of it, and what its stages did.
    ///
    /// # Errors
    /// A stage that cannot be built.
    pub(super) async fn try_case(
        &self,
        graph: &Graph,
        case: &Case,
    ) -> Result<(Verdict, Json), Failure> {
        let data = if self.is_own {
            None
        } else {
            let data = TempDir::new_in(self.folder.path());
            Some(data.context("a folder for the data of a test")?)
        };
        let services = self.services(data.as_ref().map(TempDir::path));
        let graph = trial::prepared(&with_services(graph, &services), case);
        let tried = Box::pin(self.tried(graph, case, &services)).await;
        self.close().await;
        tried
    }

    async fn tried(
        &self,
        graph: Graph,
        case: &Case,
        services: &Services,
    ) -> Result<(Verdict, Json), Failure> {
        let built = self.workshop.build(vec![graph]).await;
        let built = built.map_err(pipelines::not_loaded)?.pop();
        let pipeline = built.context("nothing was built of the pipeline")?;
        if let Some(starting) = pipeline.started(MAX_START).await {
            errln!("warning: {starting}: it was not waited for any longer");
        }
        let verdict = trial::run(&pipeline, case, &self.samples).await;
        let traces = verdict.traces.iter();
        let traces = traces.map(|trace| pipeline.trace_json(trace)).collect();
        // Together: both wait for what the store has still to write.
        tokio::join!(pipeline.close(), services.close());
        Ok((verdict, traces))
    }

    /// Services for a test.
    fn services(&self, data: Option<&Path>) -> Services {
        let mut config = self.config.clone();
        if let Some(data) = data {
            data.clone_into(&mut config.data_dir);
        }
        let services = Services::new(config);
        *self.current() = Some(services.clone());
        services
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Services>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is open for the test that is tried.
    pub(super) async fn close(&self) {
        let services = self.current().take();
        if let Some(services) = services {
            services.close().await;
        }
    }
}

/// The same graph, whose built-in stages have these services.
fn with_services(graph: &Graph, services: &Services) -> Graph {
    let mut graph = graph.clone();
    let kinds = builtins(services);
    for entry in &mut graph.file.stages {
        let name = &entry.kind.spec().name;
        let own = kinds.iter().find(|kind| kind.spec().name == *name);
        if let Some(own) = own {
            entry.kind = own.clone();
        }
    }
    graph
}
