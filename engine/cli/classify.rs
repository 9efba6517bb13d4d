//! `omnizap classify`: requests to a pipeline, without a server.
//!
//! Single files are answered one after the other. Folders, and whatever has a file of results, are
//! for `bulk`: `walk` finds the pictures, each becomes a `row` that goes into the `sink`: `results`
//! keep rows as `lines` that grow and, at the end, as `columns`. `sorting` puts the files into
//! folders, `settings` tell rows apart that were made otherwise.

mod bulk;
mod columns;
mod lines;
mod results;
mod row;
mod settings;
mod sink;
mod sorting;
mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use engine::pipeline::Pipeline;
use omnizap_contract::common::chain::chain;
use serde_json::Value as Json;

use self::results::Format;
use super::pipelines::{self, Done};
use super::request::{Given, Request, is_standard_input};
use super::value::whole;
use super::{Common, Failure, output};

/// Longest wait for stages that are starting.
const MAX_START: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap classify sticker.webp
  omnizap classify a.png b.jpg --labels 'a cat,a dog' --json
  omnizap classify --pipeline feedback --field image_hash=HASH --field theme=animals
  omnizap classify --pipeline compare --field left=@a.png --field right=@b.png
  omnizap classify pictures --recursive --out results.jsonl
  omnizap classify pictures --recursive --out results.jsonl --resume
  omnizap classify pictures --out results.parquet --sort-into sorted

Fields are read as over HTTP, with the same defaults and bounds; one that is refused is exit
code 2.

Of a folder those files are taken whose names end in that of a picture, in the order of their
paths; hidden ones are left out, and links to folders are not followed. Each has one row in the
results, also one that could not be classified: it says why, and at the end is exit code 1.
Whatever ends the program, what was done is kept, and the same command with --resume goes on.")]
pub(super) struct ClassifyArgs {
    /// Files, such as pictures, each a request of its own: for the pipeline's field of the type
    /// bytes; `-` reads one from standard input. A folder stands for the pictures in it. None for a
    /// pipeline that needs none
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A field of the request; once more adds to a list. NAME=@PATH where the field is a file
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = Given::parse)]
    fields: Vec<Given>,
    /// Labels to choose from instead of the default ones: a JSON list, or items between commas,
    /// in quotes where they hold one. Short for --field labels=LABELS
    #[arg(long, value_name = "LABELS")]
    labels: Vec<String>,
    /// Theme whose feedback adapts the scores. Short for --field theme=THEME
    #[arg(long)]
    theme: Option<String>,
    /// Print the whole answer as JSON, one line a request
    #[arg(long, conflicts_with = "out")]
    json: bool,
    /// Show what each stage did and how long it took
    #[arg(long)]
    trace: bool,
    /// Pipeline to run
    #[arg(long, default_value = "classify", value_name = "NAME")]
    pipeline: String,
    /// Look into the folders within folders too
    #[arg(short, long)]
    recursive: bool,
    /// Write a row for each file: .jsonl, .csv or .parquet; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write the rows, whatever the name ends in
    #[arg(long, value_enum, requires = "out")]
    format: Option<Format>,
    /// Go on with the results that are there: files that have a row are left out
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Try those again whose row says that they could not be classified
    #[arg(long, requires = "resume")]
    retry_failed: bool,
    /// Begin anew, in the place of the results that are there
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Fields to leave out of the answers in .jsonl, between commas [default:
    /// similar_images,similar_complete, which depend on what was classified before]
    #[arg(long, value_name = "FIELDS", requires = "out")]
    omit: Option<String>,
    /// Pictures to work on at the same time [default: 2 more than there are processors]
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = |text: &str| whole(text, 1, bulk::MAX_JOBS)
    )]
    jobs: Option<u64>,
    /// Copy each file into DIR/LABEL, never over another: `a (2).png` where there is an `a.png`
    #[arg(long, value_name = "DIR")]
    sort_into: Option<PathBuf>,
    /// Move the files instead
    #[arg(long = "move", requires = "sort_into", conflicts_with = "link")]
    moves: bool,
    /// Make hard links instead, which take no room
    #[arg(long, requires = "sort_into")]
    link: bool,
}

impl ClassifyArgs {
    fn given(&self) -> Vec<Given> {
        let labels = self.labels.iter();
        let labels = labels.map(|text| Given::new("--labels", "labels", text));
        let theme = self.theme.iter();
        let theme = theme.map(|text| Given::new("--theme", "theme", text));
        let fields = self.fields.iter().cloned();
        labels.chain(theme).chain(fields).collect()
    }
}

pub(super) async fn run(common: &Common, args: ClassifyArgs) -> Result<ExitCode, Failure> {
    super::config::check_database(common)?;
    if bulk::is_meant(&args) {
        return Box::pin(bulk::run(common, &args)).await;
    }
    let named = pipelines::named(common, &args.pipeline)?;
    let takes_files = !args.files.is_empty();
    let request = Request::new(&named.graph.file, &args.given(), takes_files)?;
    let inputs = args.files.iter().filter(|path| is_standard_input(path));
    if inputs.count() + request.inputs_read > 1 {
        let twice = anyhow!("standard input can be read once, and is named several times");
        return Err(Failure::Usage(twice));
    }
    let done = named.with(async |pipeline: Arc<Pipeline>| {
        started(&pipeline).await;
        if takes_files {
            answer_files(&pipeline, &request, &args).await?;
        } else {
            let answer = classify(&pipeline, &request, args.trace).await?;
            print_answer(pipeline.name(), &answer, args.json);
        }
        Ok(())
    });
    match done.await? {
        Done::All(()) => Ok(ExitCode::SUCCESS),
        Done::Interrupted(code) => {
            errln!("interrupted");
            Ok(ExitCode::from(code))
        }
    }
}

/// Waits until all stages have started, as long as makes sense.
pub(super) async fn started(pipeline: &Pipeline) {
    if let Some(starting) = pipeline.started(MAX_START).await {
        errln!("warning: {starting}: it was not waited for any longer");
    }
}

async fn answer_files(
    pipeline: &Pipeline,
    request: &Request,
    args: &ClassifyArgs,
) -> anyhow::Result<()> {
    let mut failed = 0;
    for path in &args.files {
        if output::is_closed() {
            break;
        }
        match classify_file(pipeline, path, request, args.trace).await {
            Ok(answer) => print_answer(&path.display().to_string(), &answer, args.json),
            Err(error) => {
                failed += 1;
                let name = output::on_one_line(&path.display().to_string());
                errln!("error: {name}: {}", chain(error.as_ref()));
            }
        }
    }
    if failed > 0 {
        return Err(anyhow!(
            "{failed} of {} files were not classified",
            args.files.len()
        ));
    }
    Ok(())
}

/// Runs a request, of one file, through a pipeline.
///
/// # Errors
/// A file that cannot be read, and what a stage says, with the stage.
pub(super) async fn classify_file(
    pipeline: &Pipeline,
    path: &Path,
    request: &Request,
    trace: bool,
) -> anyhow::Result<Json> {
    let (request, path) = (request.clone(), path.to_owned());
    // Standard input, or a pipe, may be long in coming: a signal is taken meanwhile.
    let reading = tokio::task::spawn_blocking(move || request.with_file(&path));
    classify(pipeline, &reading.await??, trace).await
}

/// Runs a request through a pipeline. Where it is to `trace`, standard error shows what each
/// stage did.
///
/// # Errors
/// What a stage says, with the stage.
pub(super) async fn classify(
    pipeline: &Pipeline,
    request: &Request,
    trace: bool,
) -> anyhow::Result<Json> {
    let values = pipeline.request_values(|port| request.value(port));
    let deadline = Instant::now() + pipeline.graph.file.deadline;
    let finished = pipeline.run(values, "command-line".into(), deadline).await;
    if trace {
        errln!("{:#}", pipeline.trace_json(&finished.trace));
    }
    match finished.result {
        Ok(fields) => Ok(Json::Object(fields)),
        Err(failure) => {
            let stage = failure.stage.unwrap_or_else(|| "pipeline".into());
            Err(anyhow::Error::new(failure.error).context(format!("stage `{stage}`")))
        }
    }
}

fn print_answer(what: &str, answer: &Json, json: bool) {
    if json {
        outln!("{answer}");
        return;
    }
    let Some(top_labels) = answer["top_labels"].as_array() else {
        // A pipeline of another kind: everything that it publishes.
        outln!("{}", output::on_one_line(what));
        for (field, value) in answer.as_object().into_iter().flatten() {
            outln!("  {field}: {value}");
        }
        return;
    };
    let number = |field: &str| answer[field].as_f64().unwrap_or_default();
    let mut notes = Vec::new();
    if answer["ambiguous"] == Json::Bool(true) {
        notes.push("ambiguous".to_owned());
    }
    if answer["is_nsfw"] == Json::Bool(true) {
        notes.push(format!("nsfw {:.0} %", number("nsfw_score") * 100.0));
    }
    if let Some(model) = answer["model"].as_str() {
        notes.push(model.to_owned());
    }
    outln!("{} ({})", output::on_one_line(what), notes.join(", "));
    for top in top_labels {
        let score = top["score"].as_f64().unwrap_or_default();
        let label = top["label"].as_str().unwrap_or_default();
        outln!("  {:5.1} %  {}", score * 100.0, output::on_one_line(label));
    }
}
