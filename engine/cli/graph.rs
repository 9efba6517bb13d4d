//! `omnizap graph`: the effective graph of pipelines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::pipeline::render::{self, render};

use super::{Common, Failure, pipelines};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap graph pipelines/classify.toml
  omnizap graph --pipeline classify --format dot | dot -Tsvg > classify.svg
  omnizap graph --format json | jq '.[].pipeline'")]
pub(super) struct GraphArgs {
    /// One file instead of the whole folder
    file: Option<PathBuf>,
    /// One pipeline of the folder, by its name
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pipeline: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For reading
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// A Graphviz digraph
    Dot,
    /// For programs: a list of pipelines
    Json,
}

pub(super) fn run(common: &Common, args: &GraphArgs) -> Result<ExitCode, Failure> {
    let graphs = match &args.pipeline {
        Some(name) => vec![pipelines::named(common, name)?.graph],
        None => pipelines::graphs(common, args.file.as_deref())?,
    };
    let format = match args.format {
        Format::Text => render::Format::Text,
        Format::Mermaid => render::Format::Mermaid,
        Format::Dot => render::Format::Dot,
        Format::Json => {
            let all: Vec<_> = graphs.iter().map(render::to_json).collect();
            outln!("{:#}", serde_json::Value::Array(all));
            return Ok(ExitCode::SUCCESS);
        }
    };
    for graph in &graphs {
        outln!("{}", render(graph, format));
    }
    Ok(ExitCode::SUCCESS)
}
