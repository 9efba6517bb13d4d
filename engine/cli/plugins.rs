//! `omnizap plugins`: stages that third parties ship as shared libraries.

mod allow;
mod new;
mod validate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use engine::live::Source;
use engine::pipeline::config::{PLUGINS_FILE, PluginEntry, read_allowed};
use engine::pipeline::diagnostic::SourceText;
use omnizap_contract::common::digest::Sha256Hex;
use omnizap_host::{Manifest, loader};
use serde_json::{Value as Json, json};

use self::allow::{Allowed, Done};
use super::pipelines;
use super::{Common, Failure};

#[derive(Debug, Subcommand)]
pub(super) enum PluginsCommand {
    /// The plugins that the pipelines allow, and whether each can be loaded
    #[command(after_help = "\
Examples:
  omnizap plugins list
  omnizap plugins list --json | jq '.[] | select(.fault)'")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a folder with a plugin in Rust that builds as it is, to be edited
    #[command(after_help = "\
The folder holds a crate with one small stage, its test, and a pipeline that uses it.
The crate depends on the SDK by its path, because the SDK is not published: run this
within a checkout of omnizap, or name its plugins/sdk with --sdk.

Example:
  omnizap plugins new acme/brightness")]
    New {
        /// NAME or VENDOR/NAME of the stage: a-z, 0-9 and -
        name: String,
        /// The folder to make [default: ./NAME]
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
        /// The SDK's folder [default: plugins/sdk of the checkout around you or the program]
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// What a library says of itself; runs none of its code
    #[command(after_help = "\
Example:
  omnizap plugins inspect libacme.so")]
    Inspect {
        /// The library
        file: PathBuf,
    },
    /// Find out whether a library keeps to the ABI: runs a list of checks on it, each in a
    /// process of its own
    Validate(validate::ValidateArgs),
    /// Print the entry that allows a library to the pipelines, or add it to their plugins.toml
    #[command(after_help = "\
Examples:
  omnizap plugins allow libacme.so >> pipelines/plugins.toml
  omnizap plugins allow libacme.so --write")]
    Allow {
        /// The library
        file: PathBuf,
        /// Append the entry to plugins.toml in the folder of the pipelines
        #[arg(long)]
        write: bool,
    },
}

pub(super) fn run(common: &Common, command: &PluginsCommand) -> Result<ExitCode, Failure> {
    match command {
        PluginsCommand::List { json } => list(common, *json),
        PluginsCommand::New { name, path, sdk } => new(name, path.as_deref(), sdk.as_deref()),
        PluginsCommand::Inspect { file } => inspect(file),
        PluginsCommand::Validate(args) => validate::run(args),
        PluginsCommand::Allow { file, write } => allow(common, file, *write),
    }
}

fn new(name: &str, path: Option<&Path>, sdk: Option<&Path>) -> Result<ExitCode, Failure> {
    outln!("{}", new::make(name, path, sdk)?);
    Ok(ExitCode::SUCCESS)
}

fn folder(common: &Common) -> PathBuf {
    common
        .pipelines
        .clone()
        .unwrap_or_else(|| "pipelines".into())
}

/// The plugins that the pipelines of a folder allow, and those that the file beside them does.
pub(super) fn entries(folder: &Path) -> Result<Vec<PluginEntry>, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut lists = Vec::new();
    for source in Source::Path(folder.to_owned())
        .texts()
        .map_err(pipelines::not_loaded)?
    {
        lists.push(pipelines::plugins_of(&source, &environment));
    }
    let beside = folder.join(PLUGINS_FILE);
    if beside.is_file() {
        lists.push(read_allowed(
            &SourceText::read(&beside).with_context(|| beside.display().to_string())?,
            &environment,
        ));
    }
    let mut all = Vec::new();
    for (entries, mistakes) in lists {
        if !mistakes.is_empty() {
            return Err(Failure::Config(mistakes.into()));
        }
        all.extend(entries);
    }
    Ok(all)
}

/// What an allowed plugin says of itself, where it can be loaded.
///
/// # Errors
/// Why it is refused.
pub(super) fn admitted(entry: &PluginEntry) -> Result<Manifest, String> {
    match loader::check_file(&entry.path) {
        Ok((manifest, hash)) if hash == *entry.sha256.get_ref() => Ok(manifest),
        Ok(_) => Err(format!(
            "its SHA-256 is not the one that {} allows",
            entry.source.name
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn list(common: &Common, json: bool) -> Result<ExitCode, Failure> {
    let mut bad = 0;
    let mut shown = Vec::new();
    for entry in entries(&folder(common))? {
        let path = entry.path.display();
        let admitted = admitted(&entry);
        bad += usize::from(admitted.is_err());
        let stages = |manifest: &Manifest| {
            let stages = manifest.stages.iter().map(|stage| stage.id.clone());
            stages.collect::<Vec<_>>()
        };
        match admitted {
            Ok(manifest) if json => shown.push(json!({
                "path": path.to_string(), "name": manifest.name, "version": manifest.version,
                "abi": format!("{}.{}", manifest.abi.0, manifest.abi.1),
                "stages": stages(&manifest), "fault": null,
            })),
            Err(fault) if json => {
                shown.push(json!({ "path": path.to_string(), "fault": fault }));
            }
            Ok(manifest) => outln!(
                "{path}: {} {}: {}",
                manifest.name,
                manifest.version,
                stages(&manifest).join(", ")
            ),
            Err(fault) => outln!("{path}: refused: {fault}"),
        }
    }
    if json {
        outln!("{:#}", Json::Array(shown));
    }
    Ok(if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(file: &Path) -> Result<(Manifest, Sha256Hex), Failure> {
    let read = loader::inspect(file).with_context(|| file.display().to_string());
    read.map_err(Failure::Work)
}

fn inspect(file: &Path) -> Result<ExitCode, Failure> {
    let (manifest, hash) = read(file)?;
    let (major, minor) = manifest.abi;
    outln!("{} {}", manifest.name, manifest.version);
    outln!(
        "  abi      {major}.{minor}, needs a host of {major}.{} or later",
        manifest.min_host_minor
    );
    outln!("  build    {}", manifest.build);
    outln!("  sha256   {hash}");
    outln!("  exports  {}", manifest.exports.join(", "));
    for stage in &manifest.stages {
        outln!("  stage    {}: {}", stage.id, stage.doc);
        outln!("    flags  {}", stage.flag_names().join(", "));
        for input in &stage.inputs {
            outln!("    in     {} ({}): {}", input.name, input.ty, input.doc);
        }
        for output in &stage.outputs {
            let port = &output.port;
            let published = port
                .publish
                .as_ref()
                .map(|to| format!(", published as `{}`", to.field));
            let published = published.unwrap_or_default();
            outln!(
                "    out    {} ({}){published}: {}",
                port.name,
                port.ty,
                port.doc
            );
        }
        for option in &stage.options {
            let expected = option.ty.expectation();
            let default = option.default.as_ref();
            let default = default.map_or("must be set".into(), |value| format!("default {value}"));
            outln!(
                "    option {} ({expected}; {default}): {}",
                option.name,
                option.doc
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn allow(common: &Common, file: &Path, write: bool) -> Result<ExitCode, Failure> {
    let (manifest, hash) = loader::check_file(file)?;
    let path = file.canonicalize()?;
    let title = format!("{} {}", manifest.name, manifest.version);
    let allowed = Allowed {
        path: &path,
        sha256: &hash,
        title: &title,
    };
    if !write {
        outln!("{}", allowed.entry());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = folder(common);
    let list = folder.join(PLUGINS_FILE);
    let before = match std::fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let (text, done) = allowed.within(&before, &folder);
    if done == Done::Nothing {
        outln!("{} allows it already", list.display());
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::write(&list, text).with_context(|| format!("cannot write {}", list.display()))?;
    let did = if done == Done::Added {
        "added to"
    } else {
        "replaced in"
    };
    outln!("{did} {}", list.display());
    Ok(ExitCode::SUCCESS)
}
