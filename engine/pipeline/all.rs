//! All the pipelines of a service: checked against each other, bound, built.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::build::{BuildError, Pipeline};
use super::config::{PipelineFile, read_pipeline};
use super::diagnostic::{Diagnostic, Diagnostics, SourceText};
use super::graph::{Graph, bind};
use super::interpolate::Environment;
use super::layers::Layers;
use super::registry::Registry;

/// Checks and binds pipelines that extend no other; nothing is built, nothing but the texts is
/// looked at.
///
/// # Errors
/// Every mistake in every file, and names and routes that two files claim.
pub fn bind_all(
    sources: &[SourceText],
    registry: &Registry,
    environment: Environment<'_>,
) -> Result<Vec<Graph>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut parsed = Vec::new();
    let none = |_: &str, _: &str| Err("there is nothing to extend here".to_owned());
    for source in sources {
        let (layers, mistakes) = Layers::parse(source, environment, &none);
        diagnostics.extend(mistakes);
        parsed.extend(layers.ok());
    }
    let pairs = parsed.iter().map(|layers| (layers, registry));
    bind_each(pairs, environment, diagnostics)
}

/// Checks and binds pipelines, each with the stages that it may name: those of the plugins that it
/// allows are its own. `mistakes` are those that were found before.
///
/// # Errors
/// As [`bind_all`].
pub fn bind_each<'s>(
    parsed: impl IntoIterator<Item = (&'s Layers, &'s Registry)>,
    environment: Environment<'_>,
    mistakes: Diagnostics,
) -> Result<Vec<Graph>, Diagnostics> {
    let mut diagnostics = mistakes;
    let mut files: Vec<PipelineFile> = Vec::new();
    let mut graphs = Vec::new();
    for (layers, registry) in parsed {
        let (file, mistakes) = read_pipeline(layers, registry, environment);
        diagnostics.extend(mistakes);
        let Some(file) = file else {
            continue;
        };
        // What was found before did not know what is secret.
        diagnostics.conceal(&file.source, &file.secrets);
        // A file with mistakes is bound too, so that all are reported at once; a
        // stage that could not be read hides what it would have given, so only
        // what does not follow from that is worth reporting then.
        match bind(&file, registry) {
            Ok(graph) => graphs.push(graph),
            Err(mistakes) => diagnostics.extend(mistakes),
        }
        report_clashes(&file, &files, &mut diagnostics);
        files.push(file);
    }
    diagnostics.into_result()?;
    Ok(graphs)
}

fn report_clashes(file: &PipelineFile, others: &[PipelineFile], diagnostics: &mut Diagnostics) {
    let routes = |file: &PipelineFile| {
        let routes = [file.route.clone(), file.settings_route.clone()];
        routes.into_iter().flatten().collect::<Vec<_>>()
    };
    let mut report = |span: Range<usize>, message: String, key: &str| {
        let is_own = *file.source.file_of(span.start) == file.source.name;
        let span = if is_own { span } else { 0..0 };
        let clash = Diagnostic::new(&file.source, span, message);
        diagnostics.push(if is_own {
            clash
        } else {
            clash.help(format!("it is taken over from what the file extends: give it a {key} of its own in [pipeline]"))
        });
    };
    for other in others {
        let theirs = &other.source.name;
        if other.name.get_ref() == file.name.get_ref() {
            let name = file.name.get_ref();
            let message = format!("the pipeline `{name}` exists already in {theirs}");
            report(file.name.span(), message, "name");
        }
        for route in routes(file) {
            let mut taken = routes(other).into_iter();
            if taken.any(|taken| taken.get_ref().clashes_with(route.get_ref())) {
                let message = format!("the route {} is taken by {theirs}", route.get_ref());
                report(route.span(), message, "route");
            }
        }
    }
}

/// Builds every pipeline. Those that were the same `before` count on, and of others of the same name
/// what is told at a scrape.
///
/// # Errors
/// The first stage that could not be built.
pub async fn build_all(
    graphs: Vec<Graph>,
    compute: &Arc<Semaphore>,
    before: &[Arc<Pipeline>],
) -> Result<Vec<Arc<Pipeline>>, BuildError> {
    let mut pipelines = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let mut known = before.iter();
        let known = known.find(|known| known.name() == graph.file.name.get_ref());
        let known = known.map(|known| &**known);
        let built = Pipeline::rebuild(graph, compute.clone(), known).await?;
        pipelines.push(Arc::new(built));
    }
    Ok(pipelines)
}
