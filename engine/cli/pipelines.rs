//! Pipelines for every command: where they come from, and what they are made with.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use engine::live::{LoadError, Source, Workshop};
use engine::pipeline::config::{PluginEntry, read_plugins};
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::interpolate::Environment;
use engine::pipeline::layers::{Layers, find_base};
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::common::names::{nearest, suggestion};
use omnizap_host::Loader;
use omnizap_services::{Services, ServicesConfig};
use omnizap_stages::builtins;
use tokio::sync::Semaphore;

use super::config::services_config;
use super::{Common, Failure, signals};

/// The pipelines inside the program, by the names under which files may extend them.
pub(super) const BUILT_IN: [(&str, &str); 8] = [
    ("classify", include_str!("../../pipelines/classify.toml")),
    ("feedback", include_str!("../../pipelines/feedback.toml")),
    ("search", include_str!("../../pipelines/search.toml")),
    (
        "compat/classify",
        include_str!("../../pipelines/compat/classify.toml"),
    ),
    (
        "compat/feedback",
        include_str!("../../pipelines/compat/feedback.toml"),
    ),
    (
        "admin/forget",
        include_str!("../../pipelines/admin/forget.toml"),
    ),
    (
        "extra/embeddings",
        include_str!("../../pipelines/extra/embeddings.toml"),
    ),
    (
        "extra/misskey",
        include_str!("../../pipelines/extra/misskey.toml"),
    ),
];

/// Those that are served by a program that was installed without its folder.
const DEFAULT: [&str; 3] = ["classify", "feedback", "search"];

/// Pipelines that cannot be loaded are wrong configuration.
pub(super) fn not_loaded(error: impl Into<LoadError>) -> Failure {
    Failure::Config(error.into().into())
}

/// What pipelines are made with: the built-in stages, the plugins that files allow, a place for
/// computing on each core. Where `safe`, no plugin is opened and stages of plugins are off.
pub(super) fn workshop(common: &Common, safe: bool) -> Result<Workshop, Failure> {
    workshop_and_services(common, safe).map(|(workshop, _)| workshop)
}

/// The same, and the services of the built-in stages.
pub(super) fn workshop_and_services(
    common: &Common,
    safe: bool,
) -> Result<(Workshop, Services), Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    workshop_with(common, config, safe)
}

/// The same, whose services have these settings.
pub(super) fn workshop_with(
    common: &Common,
    config: ServicesConfig,
    safe: bool,
) -> Result<(Workshop, Services), Failure> {
    let services = Services::new(config);
    let registry = Registry::new(builtins(&services))?;
    let loader = Loader::new(common.data.join("plugins"), safe, common.plugins.limits());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compute = Arc::new(Semaphore::new(cores));
    let workshop = Workshop::new(registry, loader, compute, &BUILT_IN);
    Ok((workshop, services))
}

/// Where pipelines come from: that file, else the folder that was asked for, else ./pipelines
/// where there is one, else the program.
pub(super) fn source(common: &Common, file: Option<&Path>) -> Source {
    // One that cannot be looked at is there: whoever reads it tells why it cannot.
    let is_there = |here: &PathBuf| match std::fs::metadata(here) {
        Ok(here) => here.is_dir(),
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    let here = || Some(PathBuf::from("pipelines")).filter(is_there);
    let file = file.map(Path::to_owned);
    let path = file.or_else(|| common.pipelines.clone()).or_else(here);
    path.map_or_else(built_in, Source::Path)
}

fn built_in() -> Source {
    let texts = BUILT_IN.iter().filter(|(name, _)| DEFAULT.contains(name));
    let texts = texts.map(|(name, text)| SourceText::new(format!("builtin:{name}"), *text));
    Source::Texts(texts.collect())
}

/// The checked and bound pipelines of a file, or of where they come from else.
pub(super) fn graphs(common: &Common, file: Option<&Path>) -> Result<Vec<Graph>, Failure> {
    if let Some(file) = file
        && matches!(file.try_exists(), Ok(false))
    {
        return Err(Failure::Config(no_file(common, file)));
    }
    workshop(common, false)?
        .graphs(&source(common, file))
        .map_err(not_loaded)
}

/// The plugins that a pipeline file allows. That the rest of it is right is for `check` to say.
pub(super) fn plugins_of(
    source: &SourceText,
    environment: Environment<'_>,
) -> (Vec<PluginEntry>, Diagnostics) {
    let find = |wanted: &str, by: &str| find_base(&BUILT_IN, wanted, by);
    match Layers::parse(source, environment, &find) {
        (Ok(layers), _) => read_plugins(&layers, environment),
        (Err(_), mistakes) => (Vec::new(), mistakes),
    }
}

/// There is no such file, and which one was probably meant.
pub(super) fn no_file(common: &Common, file: &Path) -> anyhow::Error {
    fn stem(path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
    let texts = source(common, None).texts().unwrap_or_default();
    let paths = texts.iter().map(|text| Path::new(&*text.name));
    let known: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (stem(path), path))
        .collect();
    let meant = nearest(&stem(file), known.iter().map(|(stem, _)| &**stem));
    let meant = meant.and_then(|meant| known.iter().find(|(stem, _)| stem == meant));
    let help = meant.map(|(_, path)| format!(": did you mean {}?", path.display()));
    anyhow!(
        "there is no file {}{}",
        file.display(),
        help.unwrap_or_default()
    )
}

/// A pipeline that a command names, checked and bound.
pub(super) struct Named {
    pub(super) graph: Graph,
    workshop: Workshop,
    services: Services,
}

/// How work with a pipeline ended that went well as far as it came.
pub(super) enum Done<T> {
    /// By itself.
    All(T),
    /// By a signal, with the exit code of who is ended by it.
    Interrupted(u8),
}

impl Named {
    /// Builds the pipeline, for who takes signals and closes by themselves.
    ///
    /// # Errors
    /// A pipeline that cannot be built.
    pub(super) async fn build(self) -> Result<(Arc<Pipeline>, Services), Failure> {
        let built = self.workshop.build(vec![self.graph]).await;
        let built = built.map_err(not_loaded)?.pop();
        let pipeline = built.context("nothing was built of the pipeline")?;
        Ok((pipeline, self.services))
    }

    /// Builds the pipeline, works with it, and closes what was opened for that, whatever came of
    /// it: also where it failed, and where a signal comes meanwhile.
    ///
    /// # Errors
    /// A pipeline that cannot be built, and what the work says.
    pub(super) async fn with<T>(
        self,
        work: impl AsyncFnOnce(Arc<Pipeline>) -> Result<T, Failure>,
    ) -> Result<Done<T>, Failure> {
        let Self {
            graph,
            workshop,
            services,
        } = self;
        let interrupted = signals::first()?;
        let working = Box::pin(async {
            let built = workshop.build(vec![graph]).await;
            let built = built.map_err(not_loaded)?.pop();
            let pipeline = built.context("nothing was built of the pipeline")?;
            let done = work(pipeline.clone()).await;
            Ok::<_, Failure>((done, pipeline))
        });
        let worked = tokio::select! {
            worked = working => worked,
            code = interrupted => {
                services.close().await;
                return Ok(Done::Interrupted(code));
            }
        };
        match worked {
            Ok((done, pipeline)) => {
                // Together: both wait for what the store has still to write.
                tokio::join!(pipeline.close(), services.close());
                done.map(Done::All)
            }
            Err(failure) => {
                services.close().await;
                Err(failure)
            }
        }
    }
}

/// One pipeline by its name. A mistake in the file of another is a warning.
pub(super) fn named(common: &Common, name: &str) -> Result<Named, Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    named_with(common, config, name)
}

/// The same, whose services have these settings.
pub(super) fn named_with(
    common: &Common,
    config: ServicesConfig,
    name: &str,
) -> Result<Named, Failure> {
    let (workshop, services) = workshop_with(common, config, false)?;
    let source = source(common, None);
    let mut graphs = match workshop.graphs(&source) {
        Ok(graphs) => graphs,
        Err(error) => {
            let graph = despite_others(&workshop, &source, name);
            vec![graph.ok_or_else(|| not_loaded(error))?]
        }
    };
    let is_meant = |graph: &Graph| graph.file.name.get_ref() == name;
    let Some(index) = graphs.iter().position(is_meant) else {
        let names = graphs
            .iter()
            .map(|graph| graph.file.name.get_ref().as_str());
        let help = suggestion(name, names).unwrap_or_default();
        let unknown = anyhow!("there is no pipeline `{name}`: {help}");
        return Err(Failure::Config(unknown));
    };
    let graph = graphs.swap_remove(index);
    Ok(Named {
        graph,
        workshop,
        services,
    })
}

/// The pipeline that a text of the program itself gives.
pub(super) fn own(common: &Common, name: &str, text: &str) -> Result<Named, Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    own_with(common, config, name, text)
}

/// The same, whose services have these settings.
pub(super) fn own_with(
    common: &Common,
    config: ServicesConfig,
    name: &str,
    text: &str,
) -> Result<Named, Failure> {
    let (workshop, services) = workshop_with(common, config, false)?;
    let source = Source::Texts(vec![SourceText::new(name, text)]);
    let graph = workshop.graphs(&source).map_err(not_loaded)?.pop();
    Ok(Named {
        graph: graph.context("the text gives no pipeline")?,
        workshop,
        services,
    })
}

/// The pipeline of that name, where one file alone gives it and is fine: what it does depends on no
/// other. Standard error says what is wrong with those.
fn despite_others(workshop: &Workshop, source: &Source, name: &str) -> Option<Graph> {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for text in source.texts().ok()? {
        let file = text.name.clone();
        match workshop.graphs(&Source::Texts(vec![text])) {
            Ok(graphs) => found.extend(graphs),
            Err(_) => broken.push(file),
        }
    }
    found.retain(|graph| graph.file.name.get_ref() == name);
    let graph = found.pop().filter(|_| found.is_empty())?;
    for file in &broken {
        errln!("warning: {file} has mistakes and is left out: `omnizap check` shows them");
    }
    if broken.is_empty() {
        errln!("warning: the pipelines clash with each other: `omnizap check` shows how");
    }
    Some(graph)
}

/// The names and routes of a file that other files claim too, where it is one of the folder of the
/// pipelines. Files with mistakes of their own claim nothing here.
pub(super) fn clashes(common: &Common, file: &Path) -> Result<Diagnostics, Failure> {
    let mut clashes = Diagnostics::default();
    let is_same = |path: &Path| {
        let both = path.canonicalize().ok().zip(file.canonicalize().ok());
        both.is_some_and(|(path, file)| path == file)
    };
    let workshop = workshop(common, false)?;
    // What cannot be read is for a check of the whole folder to say.
    let texts = source(common, None).texts().unwrap_or_default();
    let (own, others): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .partition(|text| is_same(Path::new(&*text.name)));
    let Some(own) = own.into_iter().next() else {
        return Ok(clashes);
    };
    let is_fine = |text: &SourceText| workshop.graphs(&Source::Texts(vec![text.clone()])).is_ok();
    // The last one of a set is where a clash with an earlier one is reported.
    let mut set: Vec<_> = others.into_iter().filter(is_fine).collect();
    let name = own.name.clone();
    set.push(own);
    if let Err(LoadError::Mistakes(mistakes)) = workshop.graphs(&Source::Texts(set)) {
        for mistake in mistakes.iter().filter(|found| *found.place().file == name) {
            clashes.push(mistake.clone());
        }
    }
    Ok(clashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pipeline_of_the_program_can_be_extended() {
        let environment = |_: &str| None;
        let find = |wanted: &str, by: &str| find_base(&BUILT_IN, wanted, by);
        for (name, _) in BUILT_IN {
            let text = format!("extends = \"builtin:{name}\"\n");
            let source = SourceText::new("folder/mine.toml", text);
            let (layers, mistakes) = Layers::parse(&source, &environment, &find);
            assert!(layers.is_ok(), "{mistakes}");
            assert_eq!(layers.unwrap().source.bases().count(), 0, "{name}");
        }
        let error = find_base(&BUILT_IN, "builtin:clasify", "mine.toml").unwrap_err();
        assert!(error.contains("did you mean `classify`?"), "{error}");
    }
}
