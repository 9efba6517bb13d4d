//! `omnizap check`: every mistake in pipeline files, found by the code that start-up runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use engine::pipeline::graph::State;

use super::pipelines;
use super::{Common, Failure};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// One file instead of the whole folder
    file: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn run(common: &Common, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let graphs = pipelines::graphs(common, args.file.as_deref())?;
    for graph in &graphs {
        let active = graph.order.len();
        let route = graph.file.route.as_ref();
        let route = route.map_or("no route".into(), |route| route.get_ref().to_string());
        println!(
            "{}: fine: pipeline `{}` ({route}), {active} of {} stages active",
            graph.file.source.name,
            graph.file.name.get_ref(),
            graph.nodes.len()
        );
        for (index, node) in graph.nodes.iter().enumerate() {
            match &node.state {
                State::Active => {}
                State::Disabled => println!("  `{}` is disabled", graph.stage_name(index)),
                State::Pruned(reason) => {
                    println!("  `{}` is pruned: {reason}", graph.stage_name(index));
                }
            }
        }
        for warning in graph.warnings.iter() {
            println!("warning: {warning}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
