//! Pipelines made of their texts: checked, bound to the stages that each file may name, built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnizap_host::{FileError, Loader, Plugin};
use tokio::sync::Semaphore;

use super::source::{LoadError, Source};
use crate::pipeline::all::{bind_each, build_all};
use crate::pipeline::build::BuildError;
use crate::pipeline::config::{PLUGINS_FILE, PluginEntry, read_allowed, read_plugins};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics, SourceText};
use crate::pipeline::graph::Graph;
use crate::pipeline::interpolate::Environment;
use crate::pipeline::layers::{Layers, find_base};
use crate::pipeline::{Pipeline, Registry};

/// What pipelines are made with: the stages that there are, the loader of plugins, the places for
/// stages that compute.
pub struct Workshop {
    registry: Registry,
    loader: Loader,
    compute: Arc<Semaphore>,
    builtins: &'static [(&'static str, &'static str)],
}

impl Workshop {
    /// A workshop with these stages, and pipelines by name that files may extend. Where the loader
    /// is safe, stages of plugins may be named and are off.
    #[must_use]
    pub fn new(
        registry: Registry,
        loader: Loader,
        compute: Arc<Semaphore>,
        builtins: &'static [(&'static str, &'static str)],
    ) -> Self {
        let registry = if loader.is_safe() {
            registry.without_plugins()
        } else {
            registry
        };
        Self {
            registry,
            loader,
            compute,
            builtins,
        }
    }

    /// The pipelines of a source, checked and bound; nothing is built.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn graphs(&self, source: &Source) -> Result<Vec<Graph>, LoadError> {
        self.graphs_and_bases(source).0
    }

    /// The same, and the files that those of the source extend, also where they have mistakes.
    pub fn graphs_and_bases(
        &self,
        source: &Source,
    ) -> (Result<Vec<Graph>, LoadError>, Vec<PathBuf>) {
        let mut bases = Vec::new();
        let graphs = self.bind(source, &mut bases);
        bases.sort();
        bases.dedup();
        (graphs, bases)
    }

    fn bind(&self, source: &Source, bases: &mut Vec<PathBuf>) -> Result<Vec<Graph>, LoadError> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut mistakes = Diagnostics::default();
        let mut parsed = Vec::new();
        for text in source.texts()? {
            let find = |wanted: &str, by: &str| find_base(self.builtins, wanted, by);
            let (layers, wrong) = Layers::parse(&text, &environment, &find);
            mistakes.extend(wrong);
            match layers {
                Ok(layers) => {
                    bases.extend(layers.source.bases());
                    parsed.push(layers);
                }
                Err(texts) => bases.extend(texts.bases()),
            }
        }
        let registries = self.registries(&parsed, &environment, &mut mistakes)?;
        let pairs = parsed.iter().zip(&registries);
        Ok(bind_each(pairs, &environment, mistakes)?)
    }

    /// The same, built.
    ///
    /// # Errors
    /// The first stage that could not be built.
    pub async fn build(&self, graphs: Vec<Graph>) -> Result<Vec<Arc<Pipeline>>, BuildError> {
        self.rebuild(graphs, &[]).await
    }

    /// The same, built. Those that were the same `before` count on.
    ///
    /// # Errors
    /// The first stage that could not be built.
    pub async fn rebuild(
        &self,
        graphs: Vec<Graph>,
        before: &[Arc<Pipeline>],
    ) -> Result<Vec<Arc<Pipeline>>, BuildError> {
        build_all(graphs, &self.compute, before).await
    }

    /// For each file the stages that it may name: the built-in ones, those of the plugins that
    /// the plugins.toml beside it allows, and those of the plugins that it allows itself.
    fn registries(
        &self,
        parsed: &[Layers],
        environment: Environment<'_>,
        mistakes: &mut Diagnostics,
    ) -> Result<Vec<Registry>, LoadError> {
        let mut registries = Vec::with_capacity(parsed.len());
        let mut beside: Vec<(PathBuf, Registry)> = Vec::new();
        for layers in parsed {
            let file = Path::new(&*layers.source.name);
            let list = file.with_file_name(PLUGINS_FILE);
            let known = beside.iter().find(|(known, _)| *known == list);
            let shared = match known {
                Some((_, registry)) => registry.clone(),
                None => {
                    let mut registry = self.registry.clone();
                    if file.is_file() && list.is_file() {
                        let allowed = SourceText::read(&list).map_err(|source| LoadError::Io {
                            path: list.display().to_string(),
                            source,
                        })?;
                        let (entries, wrong) = read_allowed(&allowed, environment);
                        mistakes.extend(wrong);
                        registry = self.with_plugins(registry, &allowed, &entries, mistakes)?;
                    }
                    beside.push((list, registry.clone()));
                    registry
                }
            };
            let (entries, wrong) = read_plugins(layers, environment);
            mistakes.extend(wrong);
            registries.push(self.with_plugins(shared, &layers.source, &entries, mistakes)?);
        }
        Ok(registries)
    }

    fn with_plugins(
        &self,
        registry: Registry,
        allowed_by: &SourceText,
        entries: &[PluginEntry],
        mistakes: &mut Diagnostics,
    ) -> Result<Registry, LoadError> {
        let plugins = entries
            .iter()
            .filter_map(|entry| self.load(entry, mistakes));
        let kinds: Vec<_> = plugins.flat_map(|plugin| plugin.kinds).collect();
        registry.with(kinds).map_err(|source| LoadError::Duplicate {
            file: allowed_by.name.to_string(),
            source,
        })
    }

    /// The plugin of an entry. One that is refused is reported at its place; where the loader is
    /// safe, it is only logged.
    fn load(&self, entry: &PluginEntry, mistakes: &mut Diagnostics) -> Option<Plugin> {
        let error = match self.loader.load(&entry.path, entry.sha256.get_ref()) {
            Ok(plugin) => return Some(plugin),
            Err(error) => error,
        };
        if self.loader.is_safe() {
            tracing::warn!(plugin = %entry.path.display(), "not read: {error}");
            return None;
        }
        let span = match error {
            FileError::Hash { .. } => entry.sha256.span(),
            _ => entry.span.clone(),
        };
        let what = format!("the plugin is refused: {}", error.what());
        let refused = Diagnostic::new(&entry.source, span, what);
        mistakes.push(match error.help() {
            Some(help) => refused.help(help),
            None => refused,
        });
        None
    }
}
