//! `omnizap test`: pipelines tried by the tests in their files, in this process.

mod bench;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use engine::pipeline::case::Case;
use engine::pipeline::diagnostic::Diagnostics;
use engine::pipeline::graph::Graph;
use engine::pipeline::trial;
use omnizap_contract::common::names::nearest;

use self::bench::Bench;
use self::report::{Report, Tried};
use super::{Common, Failure, output, page, pipelines, signals};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap test                              the tests of ./pipelines
  omnizap test pipelines/recipes            those of another folder
  omnizap test mine.toml --name 'a cat'     one of them
  omnizap test --list                       what there is to be tried

A test is a [[test]] in a pipeline file: pipelines/README.md says what it may hold. Each has a data
folder and a database of its own, both empty and gone afterwards. Keys of language models are left
out, so that nothing is asked over a network.

Exit codes: 0 all are fine, 1 one is not, 78 mistakes in the files.")]
pub(super) struct TestArgs {
    /// Pipeline files, or folders of them [default: where pipelines come from else]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name holds this; once more for others too
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// Show which tests there are, and try none
    #[arg(long)]
    list: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Show what each stage did and how long it took
    #[arg(long)]
    trace: bool,
    /// Read and write the data folder and the database of the service, instead of empty ones
    #[arg(long)]
    own_data: bool,
}

pub(super) async fn run(common: &Common, args: &TestArgs) -> Result<ExitCode, Failure> {
    let bench = Bench::new(common, args.own_data)?;
    let graphs = bench.graphs(common, &args.files)?;
    let chosen = chosen(&graphs, &args.name)?;
    let mut report = Report::new(args.json);
    if args.list {
        report.list(&chosen);
        return Ok(ExitCode::SUCCESS);
    }
    check_pictures(&graphs)?;
    let interrupted = signals::first()?;
    let trying = Box::pin(try_all(&bench, &chosen, args.trace, &mut report));
    let tried = tokio::select! {
        tried = trying => tried,
        code = interrupted => {
            bench.close().await;
            errln!("interrupted");
            return Ok(ExitCode::from(code));
        }
    };
    report.end();
    tried?;
    Ok(report.code())
}

/// A test, with the pipeline that it is of.
type Chosen<'g> = (&'g Graph, &'g Case);

/// The tests whose names hold one of these; all where there are none.
fn chosen<'g>(graphs: &'g [Graph], names: &[String]) -> Result<Vec<Chosen<'g>>, Failure> {
    let of_graph = |graph: &'g Graph| graph.file.cases.iter().map(move |case| (graph, case));
    let all: Vec<Chosen<'_>> = graphs.iter().flat_map(of_graph).collect();
    let name = |(_, case): &Chosen<'g>| -> &'g str { case.name.get_ref() };
    for wanted in names {
        if !all.iter().any(|case| name(case).contains(wanted.as_str())) {
            let near = nearest(wanted, all.iter().map(name));
            let help = near.map(|near| format!(": did you mean {near:?}?"));
            return Err(Failure::Usage(anyhow!(
                "--name: no test is called like {wanted:?}{}",
                help.unwrap_or_default()
            )));
        }
    }
    let is_wanted = |case: &Chosen<'g>| {
        let mut wanted = names.iter();
        names.is_empty() || wanted.any(|wanted| name(case).contains(wanted.as_str()))
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// All pictures that are not there, before anything is tried.
fn check_pictures(graphs: &[Graph]) -> Result<(), Failure> {
    let samples = page::examples();
    let mut missing = Diagnostics::default();
    for graph in graphs {
        missing.extend(trial::inspect(graph, &samples));
    }
    missing.into_result().map_err(pipelines::not_loaded)
}

async fn try_all(
    bench: &Bench,
    chosen: &[Chosen<'_>],
    trace: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    for (graph, case) in chosen {
        if output::is_closed() {
            break;
        }
        let begun = Instant::now();
        let (verdict, traces) = bench.try_case(graph, case).await?;
        if trace {
            errln!("{}: {:#}", case.name.get_ref(), traces);
        }
        report.add(Tried {
            graph,
            case,
            verdict,
            took: begun.elapsed(),
        });
    }
    Ok(())
}
