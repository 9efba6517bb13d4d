//! `omnizap check`: every mistake in pipeline files, found by the code that start-up runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use engine::pipeline::diagnostic::Diagnostics;
use engine::pipeline::graph::{Graph, State};

use super::{Common, Failure, pipelines};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// One file instead of the whole folder. A name or a route that another file of the folder
    /// claims too is a warning then, and a mistake in a check of the folder
    file: Option<PathBuf>,
    /// Look at the pipeline files alone: not at the files and models that their options name
    #[arg(long)]
    fast: bool,
    /// Take warnings for mistakes: they are exit code 78 too
    #[arg(long, visible_alias = "deny-warnings")]
    strict: bool,
}

pub(super) fn run(common: &Common, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let graphs = pipelines::graphs(common, args.file.as_deref())?;
    if !args.fast {
        super::config::check_database(common)?;
        let mut mistakes = Diagnostics::default();
        for graph in &graphs {
            mistakes.extend(graph.inspect());
        }
        mistakes.into_result().map_err(pipelines::not_loaded)?;
    }
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
