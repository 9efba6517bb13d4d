//! `omnizap check`: every mistake in pipeline files, found by the code that start-up runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use engine::live::LoadError;
use engine::pipeline::diagnostic::Diagnostics;
use engine::pipeline::graph::{Graph, State};
use engine::pipeline::trial;
use serde_json::{Value as Json, json};

use super::{Common, EXIT_CONFIG, Failure, page, pipelines};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap check                              every file of ./pipelines, or of --pipelines DIR
  omnizap check pipelines/mine.toml --strict
  omnizap check --json | jq .mistakes

Mistakes are exit code 78.")]
pub(super) struct CheckArgs {
    /// One file instead of the whole folder. A name or a route that another file of the folder
    /// claims too is a warning then, and a mistake in a check of the folder
    file: Option<PathBuf>,
    /// Look at the pipeline files alone: not at the files and models that their options name, nor at
    /// the pictures of their tests
    #[arg(long)]
    fast: bool,
    /// Take warnings for mistakes: they are exit code 78 too
    #[arg(long, visible_alias = "deny-warnings")]
    strict: bool,
    /// Print one document of JSON: pipelines, mistakes and warnings, each with its place
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, args: &CheckArgs) -> Result<ExitCode, Failure> {
    if args.json {
        return as_json(common, args);
    }
    let graphs = graphs(common, args)?;
    let mut warnings = 0;
    for graph in &graphs {
        show(graph);
        warnings += show_warnings(&graph.warnings);
    }
    if let Some(file) = &args.file {
        warnings += show_warnings(&pipelines::clashes(common, file)?);
    }
    if warnings == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let plural = if warnings == 1 { "" } else { "s" };
    if args.strict {
        let denied = anyhow!("{warnings} warning{plural}, and --strict allows none");
        return Err(Failure::Config(denied));
    }
    outln!("{warnings} warning{plural}");
    Ok(ExitCode::SUCCESS)
}

/// The pipelines that are to be checked, without a mistake.
fn graphs(common: &Common, args: &CheckArgs) -> Result<Vec<Graph>, Failure> {
    let graphs = pipelines::graphs(common, args.file.as_deref())?;
    if !args.fast {
        super::config::check_database(common)?;
        inspect(&graphs)
            .into_result()
            .map_err(pipelines::not_loaded)?;
    }
    Ok(graphs)
}

/// What is wrong with the files and models that options name, and with the pictures of tests.
pub(super) fn inspect(graphs: &[Graph]) -> Diagnostics {
    let mut mistakes = Diagnostics::default();
    let samples = page::examples();
    for graph in graphs {
        mistakes.extend(graph.inspect());
        mistakes.extend(trial::inspect(graph, &samples));
    }
    mistakes
}

/// The same for programs: mistakes are a part of what is printed. What is no mistake of a file is
/// told as ever.
fn as_json(common: &Common, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut warnings = Diagnostics::default();
    let (pipelines, mistakes) = match graphs(common, args) {
        Ok(graphs) => {
            for graph in &graphs {
                warnings.extend(graph.warnings.clone());
            }
            if let Some(file) = &args.file {
                warnings.extend(pipelines::clashes(common, file)?);
            }
            (graphs.iter().map(shown).collect(), Vec::new())
        }
        Err(Failure::Config(error)) => match error.downcast_ref::<LoadError>() {
            Some(LoadError::Mistakes(mistakes)) => (Vec::new(), told(mistakes)),
            _ => return Err(Failure::Config(error)),
        },
        Err(failure) => return Err(failure),
    };
    let is_denied = args.strict && !warnings.is_empty();
    let is_fine = mistakes.is_empty() && !is_denied;
    let document = json!({
        "ok": is_fine, "pipelines": pipelines, "mistakes": mistakes, "warnings": told(&warnings),
    });
    outln!("{document:#}");
    Ok(if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_CONFIG)
    })
}

/// A pipeline, for programs.
fn shown(graph: &Graph) -> Json {
    let route = graph.file.route.as_ref();
    let stages = graph.nodes.iter().enumerate().map(|(index, node)| {
        let (state, reason) = match &node.state {
            State::Active => ("active", None),
            State::Disabled => ("disabled", None),
            State::Pruned(reason) => ("pruned", Some(reason)),
        };
        json!({ "name": graph.stage_name(index), "state": state, "reason": reason })
    });
    json!({
        "file": &*graph.file.source.name,
        "pipeline": graph.file.name.get_ref(),
        "route": route.map(|route| route.get_ref().to_string()),
        "stages": stages.collect::<Vec<_>>(),
    })
}

/// Mistakes or warnings, for programs.
fn told(all: &Diagnostics) -> Vec<Json> {
    let each = all.iter().map(|one| {
        let place = one.place();
        json!({
            "file": &**place.file, "line": place.line, "column": place.column,
            "text": one.to_string(),
        })
    });
    each.collect()
}

/// What a pipeline is, and which of its stages take no part.
fn show(graph: &Graph) {
    let active = graph.order.len();
    let route = graph.file.route.as_ref();
    let route = route.map_or("no route".into(), |route| route.get_ref().to_string());
    outln!(
        "{}: fine: pipeline `{}` ({route}), {active} of {} stages active",
        graph.file.source.name,
        graph.file.name.get_ref(),
        graph.nodes.len()
    );
    for (index, node) in graph.nodes.iter().enumerate() {
        match &node.state {
            State::Active => {}
            State::Disabled => outln!("  `{}` is disabled", graph.stage_name(index)),
            State::Pruned(reason) => {
                outln!("  `{}` is pruned: {reason}", graph.stage_name(index));
            }
        }
    }
}

/// Shows them; how many there are.
fn show_warnings(warnings: &Diagnostics) -> usize {
    for warning in warnings.iter() {
        outln!("warning: {warning}");
    }
    warnings.len()
}
