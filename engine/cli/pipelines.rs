//! Pipelines for every command: where they come from, and what they are made with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use engine::live::{LoadError, Source, Workshop};
use engine::pipeline::config::{PluginEntry, read_plugins};
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::interpolate::Environment;
use engine::pipeline::layers::{Layers, find_base};
use engine::pipeline::{Pipeline, Registry};
use omnizap_host::{Limits, Loader};
use omnizap_services::Services;
use omnizap_stages::builtins;
use tokio::sync::Semaphore;

use super::config::services_config;
use super::{Common, Failure};

/// The pipelines inside the program, by the names under which files may extend them.
const BUILT_IN: [(&str, &str); 5] = [
    ("classify", include_str!("../../pipelines/classify.toml")),
    ("feedback", include_str!("../../pipelines/feedback.toml")),
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
];

/// Those that are served by a program that was installed without its folder.
const DEFAULT: [&str; 2] = ["classify", "feedback"];

/// Pipelines that cannot be loaded are wrong configuration.
pub(super) fn not_loaded(error: impl Into<LoadError>) -> Failure {
    Failure::Config(error.into().into())
}

/// What pipelines are made with: the built-in stages, the plugins that files allow, a place for
/// computing on each core. Where `safe`, no plugin is opened and stages of plugins are off.
pub(super) fn workshop(common: &Common, safe: bool) -> Result<Workshop, Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    let services = Services::new(config);
    let registry = Registry::new(builtins(&services))?;
    let loader = Loader::new(common.data.join("plugins"), safe, Limits::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compute = Arc::new(Semaphore::new(cores));
    Ok(Workshop::new(registry, loader, compute, &BUILT_IN))
}

/// Where pipelines come from: that file, else the folder that was asked for, else ./pipelines
/// where there is one, else the program.
pub(super) fn source(common: &Common, file: Option<&Path>) -> Source {
    let here = || Some(PathBuf::from("pipelines")).filter(|here| here.is_dir());
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

/// One pipeline by name, built.
pub(super) async fn pipeline(common: &Common, name: &str) -> Result<Arc<Pipeline>, Failure> {
    let workshop = workshop(common, false)?;
    let mut graphs = workshop.graphs(&source(common, None)).map_err(not_loaded)?;
    let names: Vec<_> = graphs
        .iter()
        .map(|graph| graph.file.name.get_ref().clone())
        .collect();
    graphs.retain(|graph| graph.file.name.get_ref() == name);
    let built = workshop.build(graphs).await.map_err(not_loaded)?;
    let pipeline = built.into_iter().next();
    pipeline
        .with_context(|| format!("there is no pipeline `{name}`, only {}", names.join(", ")))
        .map_err(Failure::Config)
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
