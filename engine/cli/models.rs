//! `omnizap models`: the models that there are, fetched and imported.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use omnizap_models::hub::{Hub, pull};
use omnizap_models::verify::verify;
use omnizap_models::{Cache, Device, Model, Preset, Source, catalog};

use super::output::{Table, bar};
use super::{Common, Failure};

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Show every model: size, accuracy, licence, what it may be used for, and where it is on this machine
    #[command(after_help = "\
Examples:
  omnizap models list
  omnizap models list --plain | cut -f 1,2     tabs between cells, for programs
  omnizap models list --json | jq -r '.[] | select(.imported) | .name'")]
    List {
        /// Print JSON
        #[arg(long, conflicts_with = "plain")]
        json: bool,
        /// Print a line a model, with tabs between its cells
        #[arg(long)]
        plain: bool,
    },
    /// Fetch a model from its hub (HF_ENDPOINT, HF_TOKEN and HF_HOME are honoured)
    #[command(after_help = "\
Example:
  omnizap models pull MobileCLIP-S1 --accept-licence")]
    Pull {
        /// Name, or name and tag, such as MobileCLIP-S1 or MobileCLIP-S1:datacompdr
        #[arg(value_name = "NAME[:TAG]")]
        model: String,
        /// Accept a licence that allows research only, without being asked
        #[arg(long)]
        accept_licence: bool,
    },
    /// Import a checkpoint file (.safetensors, .bin, .pt), so that the next start is fast
    #[command(after_help = "\
Example:
  omnizap models import mobileclip_s1.pt --model MobileCLIP-S1")]
    Import {
        /// The checkpoint
        path: PathBuf,
        /// The model that it holds the weights of
        #[arg(long, value_name = "NAME")]
        model: String,
    },
    /// Check an imported model against golden values, and time it
    #[command(after_help = "\
Examples:
  omnizap models verify                        the model inside the program
  omnizap models verify MobileCLIP-S1:datacompdr")]
    Verify {
        /// Name, or name and tag; the embedded model where left out
        #[arg(value_name = "NAME[:TAG]")]
        model: Option<String>,
    },
}

pub(super) async fn run(common: &Common, command: ModelsCommand) -> Result<ExitCode, Failure> {
    let device = common.device;
    // Pulling and importing block: they get a thread that may.
    tokio::task::spawn_blocking(move || match command {
        ModelsCommand::List { json, plain } => list(json, plain),
        ModelsCommand::Pull {
            model,
            accept_licence,
        } => fetch(&model, accept_licence),
        ModelsCommand::Import { path, model } => import(path, &model),
        ModelsCommand::Verify { model } => check(model.as_deref(), device),
    })
    .await?
}

fn list(json: bool, plain: bool) -> Result<ExitCode, Failure> {
    let entries = catalog::list(&Cache::from_env());
    if json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "name": entry.name, "tag": entry.tag, "family": entry.family,
                    "params_millions": entry.params_millions, "dim": entry.dim,
                    "licence": entry.licence, "research_only": entry.research_only,
                    "may_be_used_for": entry.may_be_used_for,
                    "imagenet_zero_shot": entry.imagenet_zero_shot,
                    "path": entry.path, "imported": entry.imported, "embedded": entry.embedded,
                })
            })
            .collect();
        outln!("{:#}", serde_json::Value::Array(entries));
        return Ok(ExitCode::SUCCESS);
    }
    let shown = |number: Option<f32>| number.map_or("-".into(), |number| format!("{number:.1}"));
    let mut table = Table::new([
        "NAME",
        "TAG",
        ">PARAMS/M",
        ">DIM",
        ">IMAGENET%",
        "LICENCE",
        "MAY BE USED FOR",
        "WHERE",
    ]);
    for entry in entries {
        let place = match &entry.path {
            _ if entry.embedded => "in the program".to_owned(),
            Some(path) => path.display().to_string(),
            None => format!("omnizap models pull {}:{}", entry.name, entry.tag),
        };
        table.add([
            entry.name,
            entry.tag,
            shown(entry.params_millions),
            entry.dim.map_or("-".into(), |dim| dim.to_string()),
            shown(entry.imagenet_zero_shot),
            entry.licence,
            entry.may_be_used_for.to_owned(),
            place,
        ]);
    }
    table.print(plain);
    Ok(ExitCode::SUCCESS)
}

fn fetch(model: &str, accept_licence: bool) -> Result<ExitCode, Failure> {
    let (name, tag) = model
        .split_once(':')
        .map_or((model, None), |(name, tag)| (name, Some(tag)));
    let preset = Preset::find(name)?;
    let weights = match tag {
        Some(tag) => preset.weights(tag)?,
        None => preset.default_weights(),
    };
    let licence = &preset.licence;
    errln!(
        "{} is under {}: {}",
        preset.name,
        licence.name,
        licence.summary
    );
    errln!("  {}", licence.url);
    if let Some(sentence) = weights.out_of_scope {
        errln!("  the card of {} says: \"{sentence}\"", weights.repository);
    }
    if licence.research_only && !accept_licence && !agreed()? {
        return Err(Failure::Work(anyhow!(
            "not pulled: agree at the prompt, or with --accept-licence"
        )));
    }
    let bar = bar(ProgressBar::no_length().with_style(style()?));
    let path = pull(
        &Hub::from_env(),
        &Cache::from_env(),
        preset,
        weights,
        &mut |progress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(progress.file.to_owned());
        },
    )?;
    bar.finish_and_clear();
    outln!("{}", path.display());
    errln!(
        "use it: CLIP_MODEL_NAME={} CLIP_MODEL_PRETRAINED={} omnizap",
        preset.name,
        weights.tag
    );
    Ok(ExitCode::SUCCESS)
}

/// Asks at a terminal; elsewhere nobody can agree.
fn agreed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    err!("Is your use research? Type yes to go on: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

fn style() -> Result<ProgressStyle, Failure> {
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    Ok(ProgressStyle::with_template(template)?)
}

fn import(path: PathBuf, name: &str) -> Result<ExitCode, Failure> {
    let path = path.to_str().context("the path is not UTF-8")?;
    let source = Source::resolve(Some(name), Some(path))?;
    let begun = Instant::now();
    let model = Model::open(&source, &Cache::from_env(), Device::Cpu)?;
    outln!(
        "{}: {} dimensions, weights {}, ready in {:.2} s",
        model.id(),
        model.dim(),
        &model.fingerprint()[..16],
        begun.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

fn check(model: Option<&str>, device: Device) -> Result<ExitCode, Failure> {
    let source = match model {
        Some(model) => Source::parse(model)?,
        None => Source::resolve(None, None)?,
    };
    let report = verify(&source, &Cache::from_env(), device)?;
    outln!("{} {}", report.model, &report.fingerprint[..16]);
    for check in &report.checks {
        let outcome = if check.passed { "passed" } else { "FAILED" };
        let cosine = check
            .cosine
            .map_or(String::new(), |cosine| format!("  cosine {cosine:.7}"));
        outln!("  {outcome}  {}{cosine}", check.what);
    }
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    outln!(
        "  opened in {:.0} ms, an image in {:.1} ms, a text in {:.1} ms",
        milliseconds(report.open),
        milliseconds(report.image),
        milliseconds(report.text)
    );
    if report.passed() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::Work(anyhow!(
            "the model does not compute what it should"
        )))
    }
}
