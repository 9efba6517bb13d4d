//! Pipelines for every command: found, checked, built.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use engine::pipeline::config::{PLUGINS_FILE, read_plugins};
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::set::{bind_each, build_all, read_sources};
use engine::pipeline::{Pipeline, Registry};
use engine::plugin::{Limits, Loader};
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
    loader: Loader,
    /// Places for computing stages: one a core.
    compute: Arc<Semaphore>,
}

impl Workshop {
    pub(super) fn open(common: &Common) -> Result<Self, Failure> {
        Self::open_with(common, false)
    }

    /// The same; where `safe`, no plugin is opened and stages of plugins are off.
    pub(super) fn open_with(common: &Common, safe: bool) -> Result<Self, Failure> {
        let config = services_config(common).map_err(Failure::Config)?;
        let services = Services::new(config);
        let registry = Registry::new(builtins(&services))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            registry: if safe {
                registry.without_plugins()
            } else {
                registry
            },
            loader: Loader::new(common.data.join("plugins"), safe, Limits::default()),
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
        let in_the_pipelines =
            |mistakes| Failure::Config(anyhow::anyhow!("in the pipelines\n\n{mistakes}"));
        let environment = |name: &str| std::env::var(name).ok();
        let registries = self.registries(&sources, &environment)?;
        bind_each(sources.iter().zip(&registries), &environment).map_err(in_the_pipelines)
    }

    /// For each file the stages that it may name: the built-in ones, those of the plugins that
    /// the plugins.toml beside it allows, and those that it allows itself.
    fn registries(
        &self,
        sources: &[SourceText],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Registry>, Failure> {
        let mut mistakes = Diagnostics::default();
        let mut registries = Vec::with_capacity(sources.len());
        let mut beside: Vec<(PathBuf, Registry)> = Vec::new();
        for source in sources {
            let file = Path::new(&*source.name);
            let list = file.with_file_name(PLUGINS_FILE);
            let known = beside.iter().find(|(known, _)| *known == list);
            let shared = match known {
                Some((_, registry)) => registry.clone(),
                None => {
                    let mut registry = self.registry.clone();
                    if file.is_file() && list.is_file() {
                        let text = std::fs::read_to_string(&list)
                            .with_context(|| format!("cannot read {}", list.display()))
                            .map_err(Failure::Config)?;
                        let text = SourceText::new(list.display().to_string(), text);
                        registry =
                            self.with_plugins(registry, &text, true, environment, &mut mistakes)?;
                    }
                    beside.push((list, registry.clone()));
                    registry
                }
            };
            registries.push(self.with_plugins(
                shared,
                source,
                false,
                environment,
                &mut mistakes,
            )?);
        }
        if mistakes.is_empty() {
            return Ok(registries);
        }
        Err(Failure::Config(anyhow::anyhow!(
            "in the pipelines\n\n{mistakes}"
        )))
    }

    fn with_plugins(
        &self,
        registry: Registry,
        source: &SourceText,
        only_plugins: bool,
        environment: &dyn Fn(&str) -> Option<String>,
        mistakes: &mut Diagnostics,
    ) -> Result<Registry, Failure> {
        let (entries, wrong) = read_plugins(source, only_plugins, environment);
        mistakes.extend(wrong);
        let (plugins, refused) = self.loader.load_all(&entries);
        mistakes.extend(refused);
        let kinds = plugins.into_iter().flat_map(|plugin| plugin.kinds);
        let registry = registry.with(kinds);
        registry
            .with_context(|| format!("in {}", source.name))
            .map_err(Failure::Config)
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
