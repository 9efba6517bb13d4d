//! Pipelines made of their texts: checked, bound to the stages that each file may name, built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omnizap_contract::common::chain::chain;
use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{Kind, Runner};
use omnizap_host::{FileError, Limits, Loader, Plugin, file, read_manifest};
use tokio::sync::Semaphore;

use super::binding::{Binding, Leave, UNTRIED, Uses};
use super::source::{LoadError, Source};
use super::steps::Steps;
use crate::pipeline::all::{bind_each, build_all};
use crate::pipeline::build::{AdmissionLimits, BuildError};
use crate::pipeline::config::{PLUGINS_FILE, PluginEntry, read_allowed, read_plugins};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics, SourceText};
use crate::pipeline::graph::Graph;
use crate::pipeline::interpolate::Environment;
use crate::pipeline::layers::{Layers, find_base};
use crate::pipeline::{Pipeline, Registry};

/// How long instances have to end that were brought up for a trial: one that does not end does so in
/// the service too, where it is told and holds up nobody.
const REHEARSED_END: Duration = Duration::from_secs(1);

/// What pipelines are made with: the stages that there are, the loader of plugins, the places for
/// stages that compute.
pub struct Workshop {
    registry: Registry,
    loader: Loader,
    /// Knows what plugins say of themselves, and opens none.
    looker: Loader,
    /// The name of each library that was opened, by its digest.
    names: Mutex<BTreeMap<Sha256Hex, Arc<str>>>,
    compute: Arc<Semaphore>,
    builtins: &'static [(&'static str, &'static str)],
    admission: AdmissionLimits,
}

/// The pipelines of files, or their mistakes; and the files that those extend, also where there are
/// mistakes.
pub type BoundFiles = (Result<Vec<Graph>, LoadError>, Vec<PathBuf>);

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
            looker: Loader::new(PathBuf::new(), true, Limits::default()),
            names: Mutex::default(),
            compute,
            builtins,
            admission: AdmissionLimits::default(),
        }
    }

    /// The same, whose pipelines take requests within these bounds.
    #[must_use]
    pub fn admitting(mut self, limits: AdmissionLimits) -> Self {
        self.admission = limits;
        self
    }

    /// The pipelines of a source, checked and bound; nothing is built.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn graphs(&self, source: &Source) -> Result<Vec<Graph>, LoadError> {
        let all = Arc::new(Binding::all(Arc::default()));
        self.graphs_and_bases(source, &all).0
    }

    /// The same within a binding, and the files that those of the source extend, also where they
    /// have mistakes.
    pub fn graphs_and_bases(&self, source: &Source, binding: &Arc<Binding>) -> BoundFiles {
        let mut bases = Vec::new();
        let graphs = self.bind(source, binding, &mut bases);
        bases.sort();
        bases.dedup();
        (graphs, bases)
    }

    /// What files make plugins do, where they may do anything, and the files that they extend. No
    /// code of plugins runs here. Where they make them do nothing, the graphs are those of a load.
    pub fn look(&self, source: &Source) -> (Uses, BoundFiles) {
        let nothing = Arc::new(Binding::nothing());
        let bound = self.graphs_and_bases(source, &nothing);
        (nothing.uses(), bound)
    }

    /// True where no plugin ever does anything.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.loader.is_safe()
    }

    /// Does all that plugins would do at a load of these files: they are opened, checked, brought
    /// up and ended. For a process that has nothing to lose. Built-in stages are not built. What was
    /// done.
    ///
    /// # Errors
    /// Every mistake in every file, and of a plugin what it says.
    pub async fn rehearse(&self, source: &Source, steps: Steps) -> Result<Uses, LoadError> {
        let steps = Arc::new(steps);
        let binding = Arc::new(Binding::all(steps.clone()));
        let (graphs, _) = self.graphs_and_bases(source, &binding);
        let mut built: Vec<(Arc<str>, String, Runner)> = Vec::new();
        for graph in graphs? {
            for node in &graph.order {
                let entry = &graph.file.stages[*node];
                let kind = entry.kind.spec().name.to_string();
                let Some(plugin) = binding.owner(&kind) else {
                    continue;
                };
                let runner = entry.kind.build(&entry.options).await.map_err(|error| {
                    let place = graph.file.source.place(entry.name.span().start);
                    let (file, line) = (place.file, place.line);
                    let (stage, error) = (entry.name.get_ref(), chain(&error));
                    // Its line is not shown: it may hold a secret.
                    let what = format!("stage `{stage}` could not be built: {error}");
                    LoadError::Tried(format!("in the pipelines\n\n{file}:{line}: {what}"))
                })?;
                built.push((plugin, kind, runner));
            }
        }
        let mut plugins: Vec<_> = built
            .iter()
            .map(|(plugin, ..)| plugin.to_string())
            .collect();
        plugins.sort();
        plugins.dedup();
        for (plugin, kind, runner) in built {
            let _step = steps.enter(&plugin, format!("in `deactivate` or `destroy` of `{kind}`"));
            drop(runner);
        }
        let doing = "in `deactivate`, `destroy` or `deinit`".to_owned();
        let _step = steps.enter(&plugins.join(", ").into(), doing);
        self.close(REHEARSED_END).await;
        Ok(binding.uses())
    }

    /// Lets every library end whose instances have ended, within that time. Nothing can be loaded
    /// after.
    pub async fn close(&self, limit: Duration) {
        self.loader.close(limit).await;
    }

    fn bind(
        &self,
        source: &Source,
        binding: &Arc<Binding>,
        bases: &mut Vec<PathBuf>,
    ) -> Result<Vec<Graph>, LoadError> {
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
        let registries = self.registries(&parsed, &environment, binding, &mut mistakes)?;
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
        let built = build_all(graphs, &self.compute, before).await?;
        for pipeline in &built {
            pipeline.admit_within(self.admission);
        }
        Ok(built)
    }

    /// For each file the stages that it may name: the built-in ones, those of the plugins that
    /// the plugins.toml beside it allows, and those of the plugins that it allows itself.
    fn registries(
        &self,
        parsed: &[Layers],
        environment: Environment<'_>,
        binding: &Arc<Binding>,
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
                        registry =
                            self.with_plugins(registry, &allowed, &entries, binding, mistakes)?;
                    }
                    beside.push((list, registry.clone()));
                    registry
                }
            };
            let (entries, wrong) = read_plugins(layers, environment);
            mistakes.extend(wrong);
            let own = self.with_plugins(shared, &layers.source, &entries, binding, mistakes)?;
            registries.push(own);
        }
        Ok(registries)
    }

    fn with_plugins(
        &self,
        registry: Registry,
        allowed_by: &SourceText,
        entries: &[PluginEntry],
        binding: &Arc<Binding>,
        mistakes: &mut Diagnostics,
    ) -> Result<Registry, LoadError> {
        let mut kinds: Vec<Arc<dyn Kind>> = Vec::new();
        for entry in entries {
            let Some(plugin) = self.load(entry, binding, mistakes) else {
                continue;
            };
            let library = *entry.sha256.get_ref();
            let name = self.name_of(entry);
            let own = plugin.kinds.into_iter();
            kinds.extend(own.map(|kind| binding.bound(kind, &name, library)));
        }
        registry.with(kinds).map_err(|source| LoadError::Duplicate {
            file: allowed_by.name.to_string(),
            source,
        })
    }

    /// The name, version and file of a plugin; its file alone where that is not a plugin's.
    fn name_of(&self, entry: &PluginEntry) -> Arc<str> {
        let known = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known().get(entry.sha256.get_ref()) {
            return name.clone();
        }
        let path = entry.path.display();
        let manifest = file::read(&entry.path).and_then(|bytes| read_manifest(&bytes));
        let Ok(manifest) = manifest else {
            return path.to_string().into();
        };
        let name: Arc<str> = format!("{} {} ({path})", manifest.name, manifest.version).into();
        known().insert(*entry.sha256.get_ref(), name.clone());
        name
    }

    /// The plugin of an entry. One that is refused is reported at its place; where the loader is
    /// safe, it is only logged.
    fn load(
        &self,
        entry: &PluginEntry,
        binding: &Binding,
        mistakes: &mut Diagnostics,
    ) -> Option<Plugin> {
        let sha256 = entry.sha256.get_ref();
        let loaded = match binding.ask(*sha256) {
            Leave::Pass => return self.looker.load(&entry.path, sha256).ok(),
            Leave::Refuse => {
                let span = entry.sha256.span();
                mistakes.push(Diagnostic::new(&entry.source, span, UNTRIED));
                return None;
            }
            Leave::Run if self.loader.is_safe() => self.loader.load(&entry.path, sha256),
            Leave::Run => {
                let doing = "while it was opened (its constructors, `init`)".to_owned();
                let _step = binding.steps.enter(&self.name_of(entry), doing);
                self.loader.load(&entry.path, sha256)
            }
        };
        let error = match loaded {
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
