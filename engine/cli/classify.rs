//! `omnizap classify`: files through a pipeline, without a server.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use engine::pipeline::Pipeline;
use omnizap_contract::common::chain::chain;
use omnizap_contract::{PortType, Value};
use serde_json::Value as Json;

use super::pipelines;
use super::{Common, Failure};

/// Largest file, in bytes: as large as a request body may be.
const MAX_FILE_LEN: u64 = 32 << 20;

/// Longest wait for stages that are starting.
const MAX_START: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(super) struct ClassifyArgs {
    /// Pictures; `-` reads one from standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Labels to choose from instead of the default ones: a JSON list, or items between commas,
    /// in quotes where they hold one
    #[arg(long, value_name = "LABELS")]
    labels: Vec<String>,
    /// Theme whose feedback adapts the scores
    #[arg(long)]
    theme: Option<String>,
    /// Print the whole answer as JSON, one line a file
    #[arg(long)]
    json: bool,
    /// Show what each stage did and how long it took
    #[arg(long)]
    trace: bool,
    /// Pipeline to run
    #[arg(long, default_value = "classify", value_name = "NAME")]
    pipeline: String,
}

/// What is asked of each picture.
pub(super) struct Question<'a> {
    /// Labels to choose from; the default ones where empty.
    pub(super) labels: &'a [Arc<str>],
    /// Theme whose feedback adapts the scores.
    pub(super) theme: Option<&'a Value>,
    /// Whether to show on standard error what each stage did.
    pub(super) trace: bool,
}

pub(super) async fn run(common: &Common, args: ClassifyArgs) -> Result<ExitCode, Failure> {
    let pipeline = pipelines::pipeline(common, &args.pipeline).await?;
    let mut labels = Vec::new();
    for text in &args.labels {
        if let Some(Value::TextList(list)) = sent(&pipeline, "labels", text)? {
            labels.extend(list.iter().cloned());
        }
    }
    let theme = match &args.theme {
        Some(theme) => sent(&pipeline, "theme", theme)?,
        None => None,
    };
    if let Some(starting) = pipeline.started(MAX_START).await {
        eprintln!("warning: {starting}: it was not waited for any longer");
    }
    let question = Question {
        labels: &labels,
        theme: theme.as_ref(),
        trace: args.trace,
    };
    let mut failed = 0;
    for path in &args.files {
        match classify(&pipeline, path, &question).await {
            Ok(answer) => print_answer(path, &answer, &args),
            Err(error) => {
                failed += 1;
                eprintln!("error: {}: {}", path.display(), chain(error.as_ref()));
            }
        }
    }
    pipeline.close().await;
    if failed > 0 {
        return Err(Failure::Work(anyhow!(
            "{failed} of {} files were not classified",
            args.files.len()
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// What an argument is as a field of the pipeline's request: read as over HTTP.
fn sent(pipeline: &Pipeline, field: &str, text: &str) -> anyhow::Result<Option<Value>> {
    let fields = &pipeline.graph.file.request;
    let known = fields.iter().find(|known| known.name.get_ref() == field);
    let known = known.with_context(|| format!("the pipeline's request has no field `{field}`"))?;
    Ok(known.value_of_text(text)?)
}

/// Runs one file through a pipeline.
///
/// # Errors
/// A file that cannot be read, and what a stage says, with the stage.
pub(super) async fn classify(
    pipeline: &Pipeline,
    path: &Path,
    question: &Question<'_>,
) -> anyhow::Result<Json> {
    let bytes = read(path)?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let fields = &pipeline.graph.file.request;
    let file = fields.iter().find(|field| field.ty == PortType::Bytes);
    let file = file.context("the pipeline takes no file")?;
    let filename = file.filename.as_ref().map(|name| name.get_ref().as_str());
    let values = pipeline.request_values(|port| {
        if port == file.name.get_ref() {
            return Some(Value::Bytes(bytes.clone().into()));
        }
        if Some(port) == filename {
            return name.clone().map(Value::from);
        }
        match port {
            "labels" if !question.labels.is_empty() => Some(Value::from(question.labels.to_vec())),
            "theme" => question.theme.cloned(),
            _ => None,
        }
    });
    let deadline = Instant::now() + pipeline.graph.file.deadline;
    let finished = pipeline.run(values, "command-line".into(), deadline).await;
    if question.trace {
        eprintln!("{:#}", pipeline.trace_json(&finished.trace));
    }
    match finished.result {
        Ok(fields) => Ok(Json::Object(fields)),
        Err(failure) => {
            let stage = failure.stage.unwrap_or_else(|| "pipeline".into());
            Err(anyhow::Error::new(failure.error).context(format!("stage `{stage}`")))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_FILE_LEN + 1)
            .read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_FILE_LEN {
        bail!("larger than {MAX_FILE_LEN} bytes");
    }
    Ok(bytes)
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn print_answer(path: &Path, answer: &Json, args: &ClassifyArgs) {
    if args.json {
        println!("{answer}");
        return;
    }
    let Some(top_labels) = answer["top_labels"].as_array() else {
        // A pipeline of another kind: everything that it publishes.
        println!("{}", path.display());
        for (field, value) in answer.as_object().into_iter().flatten() {
            println!("  {field}: {value}");
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
    println!("{} ({})", path.display(), notes.join(", "));
    for top in top_labels {
        let score = top["score"].as_f64().unwrap_or_default();
        let label = top["label"].as_str().unwrap_or_default();
        println!("  {:5.1} %  {label}", score * 100.0);
    }
}
