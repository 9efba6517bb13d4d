//! `omnizap schema`: what a pipeline file may hold, as JSON Schema for editors.
//!
//! - `file`: its tables and keys, from the list that the readers take them from
//! - `options`: the options of each stage
//! - `spelt`: values as TOML writes them, or as a text that spells them

mod file;
mod options;
mod spelt;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use omnizap_contract::OptionSpec;
use omnizap_host::loader;
use omnizap_services::Services;
use omnizap_stages::builtins;

use super::config::services_config;
use super::{Common, Failure};

#[derive(Debug, Args)]
#[command(after_help = "\
Editors with the language server Taplo (Even Better TOML in VS Code) then complete keys and
options, explain them, and mark what is wrong, in each file that begins with a line that
names the schema:

  omnizap schema > pipelines/.omnizap.schema.json
  sed -i '1i #:schema .omnizap.schema.json' pipelines/mine.toml

`omnizap check` finds more: what feeds what, and what variables of the environment hold.")]
pub(super) struct SchemaArgs {
    /// A plugin's library, whose stages are to be known too; none of its code runs
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
}

/// A stage that files may name.
struct Stage {
    name: String,
    doc: String,
    options: Vec<OptionSpec>,
}

pub(super) fn run(common: &Common, args: &SchemaArgs) -> Result<ExitCode, Failure> {
    let config = services_config(common).map_err(Failure::Config)?;
    let services = Services::new(config);
    let built_in = builtins(&services).into_iter().map(|kind| {
        let spec = kind.spec();
        Stage {
            name: spec.name.to_string(),
            doc: spec.doc.to_string(),
            options: spec.options.clone(),
        }
    });
    let mut stages: Vec<Stage> = built_in.collect();
    for path in &args.plugins {
        let (manifest, _) = loader::inspect(path)
            .with_context(|| path.display().to_string())
            .map_err(Failure::Usage)?;
        stages.extend(manifest.stages.into_iter().map(|stage| Stage {
            name: stage.id,
            doc: stage.doc,
            options: stage.options,
        }));
    }
    outln!("{:#}", file::schema(&stages));
    Ok(ExitCode::SUCCESS)
}
