//! `omnizap similar`: stored pictures that look like one, or fit a text, without a server.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use engine::pipeline::Pipeline;
use serde_json::Value as Json;

use super::classify::{classify, classify_file, started};
use super::pipelines::{self, Done};
use super::request::{Given, Request};
use super::value::whole;
use super::{Common, Failure};

/// Most pictures that the stage gives.
const MAX_LIMIT: u64 = 100;

/// What both begin with. Nothing is stored.
const HEAD: &str = r#"
[pipeline]
name = "similar"
[response]
require = ["similar_images"]
[defaults.with]
model = "${CLIP_MODEL_NAME:-}"
pretrained = "${CLIP_MODEL_PRETRAINED:-}"
[request]
similar_threshold = { type = "number", min = -1, max = 1 }
similar_limit = { type = "integer", min = 1, max = 100 }
"#;

/// By what pictures look like.
const BY_PICTURE: &str = r#"
file = { type = "bytes", required = true }
[[stage]]
uses = "hash"
[[stage]]
uses = "recall"
on_error = "skip"
[[stage]]
uses = "decode"
run = "on demand"
[[stage]]
uses = "embed"
if = "!recalled.orValue(false)"
[[stage]]
uses = "similarity"
with = { threshold = -1.0, limit = 10 }
"#;

/// By what a text says.
const BY_TEXT: &str = r#"
text = { type = "text", required = true }
[[stage]]
uses = "embed-text"
[[stage]]
uses = "similarity"
with = { threshold = -1.0, limit = 10 }
"#;

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["file", "text"]),
    after_help = "\
Examples:
  omnizap similar sticker.webp
  omnizap similar sticker.webp --threshold 0.9 --limit 5
  omnizap similar --text 'a cat with a hat' --json

Each line is the cosine, from -1 to 1, the picture's image_hash and its asset_id, where it has one;
the nearest comes first. Two pictures of the same thing have 0.8 and more, a text and a picture
that it fits some 0.3. FILE itself is left out where it is stored. Pictures are stored by
pipelines with the stage `persist`, such as `classify`; nothing is stored here. The model is that of
CLIP_MODEL_NAME: where a pipeline file names another, name a pipeline that finds pictures by it
with --pipeline."
)]
pub(super) struct SimilarArgs {
    /// A picture; `-` reads it from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the pictures are to show
    #[arg(long, value_name = "TEXT", value_parser = no_blanks)]
    text: Option<String>,
    /// Most pictures [default: 10]
    #[arg(long, value_name = "N", value_parser = |text: &str| whole(text, 1, MAX_LIMIT))]
    limit: Option<u64>,
    /// Least cosine, from -1 to 1 [default: -1, the nearest however far they are]
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = cosine)]
    threshold: Option<f64>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
    /// A pipeline of yours that gives similar_images, instead of the one for this command
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

fn no_blanks(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a word or more".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn cosine(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    let number = number.filter(|number| (-1.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from -1 to 1".to_owned())
}

impl SimilarArgs {
    fn given(&self) -> Vec<Given> {
        let text = self.text.iter();
        let text = text.map(|text| Given::new("--text", "text", text));
        let limit = self.limit.iter();
        let limit = limit.map(|it| Given::new("--limit", "similar_limit", it.to_string()));
        let threshold = self.threshold.iter().map(f64::to_string);
        let threshold = threshold.map(|it| Given::new("--threshold", "similar_threshold", it));
        text.chain(limit).chain(threshold).collect()
    }
}

pub(super) async fn run(common: &Common, args: SimilarArgs) -> Result<ExitCode, Failure> {
    super::config::check_database(common)?;
    let named = match (&args.pipeline, &args.file) {
        (Some(name), _) => pipelines::named(common, name)?,
        (None, Some(_)) => {
            let text = [HEAD, BY_PICTURE].concat();
            pipelines::own(common, "omnizap similar FILE", &text)?
        }
        (None, None) => {
            let text = [HEAD, BY_TEXT].concat();
            pipelines::own(common, "omnizap similar --text", &text)?
        }
    };
    let file = args.file.as_deref();
    let request = Request::new(&named.graph.file, &args.given(), file.is_some())?;
    let done = named.with(async |pipeline: Arc<Pipeline>| {
        started(&pipeline).await;
        let answer = match file {
            Some(file) => {
                let answered = classify_file(&pipeline, file, &request, false).await;
                answered.with_context(|| file.display().to_string())
            }
            None => classify(&pipeline, &request, false).await,
        };
        Ok(answer?)
    });
    match Box::pin(done).await? {
        Done::All(answer) => {
            print(&answer, &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Done::Interrupted(code) => {
            errln!("interrupted");
            Ok(ExitCode::from(code))
        }
    }
}

fn print(answer: &Json, args: &SimilarArgs) -> anyhow::Result<()> {
    let images = answer["similar_images"].as_array();
    let images = images.context("the pipeline's answer has no similar_images")?;
    if args.json {
        outln!("{answer}");
    } else {
        for image in images {
            let cosine = image["similarity"].as_f64().unwrap_or_default();
            let hash = image["image_hash"].as_str().unwrap_or_default();
            let asset = image["asset_id"].as_str().unwrap_or_default();
            outln!("{}", format!("{cosine:7.4}  {hash}  {asset}").trim_end());
        }
    }
    if answer["similar_complete"] == Json::Bool(false) {
        errln!("warning: stored pictures may be missing: not all of them could be looked through");
    }
    if images.is_empty() {
        errln!("no stored picture is that near: `omnizap classify` stores those that it sees");
    }
    Ok(())
}
