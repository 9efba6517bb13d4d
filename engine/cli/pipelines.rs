//! Pipelines for every command: found, checked, built.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use engine::pipeline::diagnostic::SourceText;
use engine::pipeline::graph::Graph;
use engine::pipeline::set::{bind_all, build_all, read_sources};
use engine::pipeline::{Pipeline, Registry};
use omnizap_stages::{Services, builtins};
use tokio::sync::Semaphore;

use super::config::services_config;
use super::{Common, Failure};

/// The default pipelines, for a program that was installed without its folder.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "classify.toml (built in)",
        include_str!("../../pipelines/classify.toml"),
    ),
    (
        "feedback.toml (built in)",
        include_str!("../../pipelines/feedback.toml"),
    ),
];

/// What a command needs to work with pipelines.
pub(super) struct Workshop {
    registry: Registry,
    folder: Option<PathBuf>,
    /// Places for computing stages: one a core.
    compute: Arc<Semaphore>,
}

impl Workshop {
    pub(super) fn open(common: &Common) -> Result<Self, Failure> {
        let config = services_config(common).map_err(Failure::Config)?;
        let services = Services::new(config);
        let registry = Registry::new(builtins(&services))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            registry,
            folder: common.pipelines.clone(),
            compute: Arc::new(Semaphore::new(cores)),
        })
    }

    /// The folder that was asked for, else ./pipelines where there is one.
    fn folder(&self) -> Option<&Path> {
        let here = Path::new("pipelines");
        let here = || here.is_dir().then_some(here);
        self.folder.as_deref().or_else(here)
    }

    /// The name, size and time of change of each file in the folder: another
    /// list means that something changed.
    pub(super) fn stamps(&self) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
        let entries = self
            .folder()
            .and_then(|folder| std::fs::read_dir(folder).ok());
        let mut stamps: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok()?;
                Some((entry.path(), metadata.len(), metadata.modified().ok()))
            })
            .collect();
        stamps.sort();
        stamps
    }

    /// The checked and bound pipelines of a file, of the folder that was asked
    /// for, of ./pipelines, or the built-in ones.
    pub(super) fn graphs(&self, file: Option<&Path>) -> Result<Vec<Graph>, Failure> {
        let sources = match file.or_else(|| self.folder()) {
            Some(path) => read_sources(path).map_err(|error| Failure::Config(error.into()))?,
            None => BUILT_IN
                .iter()
                .map(|(name, text)| SourceText::new(*name, *text))
                .collect(),
        };
        let environment = |name: &str| std::env::var(name).ok();
        bind_all(&sources, &self.registry, &environment)
            .map_err(|mistakes| Failure::Config(anyhow::anyhow!("in the pipelines\n\n{mistakes}")))
    }

    /// The same, built.
    pub(super) async fn build(&self, graphs: Vec<Graph>) -> Result<Vec<Arc<Pipeline>>, Failure> {
        build_all(graphs, &self.compute)
            .await
            .map_err(|error| Failure::Config(error.into()))
    }

    /// One pipeline by name, built.
    pub(super) async fn pipeline(&self, name: &str) -> Result<Arc<Pipeline>, Failure> {
        let mut graphs = self.graphs(None)?;
        let names: Vec<_> = graphs
            .iter()
            .map(|graph| graph.file.name.get_ref().clone())
            .collect();
        graphs.retain(|graph| graph.file.name.get_ref() == name);
        let built = self.build(graphs).await?;
        let pipeline = built.into_iter().next();
        pipeline
            .with_context(|| format!("there is no pipeline `{name}`, only {}", names.join(", ")))
            .map_err(Failure::Config)
    }
}
