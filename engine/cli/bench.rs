//! `omnizap bench`: how fast this machine does what an answer is made of.
//!
//! `measured` keeps times and makes rows of them, `pictures` makes or reads what is decoded, `model`,
//! `requests` and `search` are what is measured.

mod measured;
mod model;
mod pictures;
mod requests;
mod search;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use omnizap_contract::common::names::suggestion;
use omnizap_models::Source;
use omnizap_services::ServicesConfig;
use omnizap_services::vectors::MAX_ROWS;
use tempfile::TempDir;

use self::measured::Measured;
use self::pictures::Picture;
use super::config::services_config;
use super::value::whole;
use super::{Common, Failure, signals};

/// Bounds of `--seconds`.
const LEAST_SECONDS: f64 = 0.01;
const MOST_SECONDS: f64 = 600.0;

/// What is measured, by the names that `--only` takes, in that order.
const PARTS: [(&str, Part); 6] = [
    ("tower", Part::Tower),
    ("text", Part::Text),
    ("preprocess", Part::Preprocess),
    ("decode", Part::Decode),
    ("pipeline", Part::Pipeline),
    ("similar", Part::Similar),
];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap bench                                  everything, in about half a minute
  omnizap bench --only tower,text --seconds 10   the model alone, for longer
  omnizap bench --model MobileCLIP-S1            with another model than the configured one
  omnizap bench --only decode,pipeline a.jpg     with a picture of yours
  omnizap bench --json | jq '.rows[] | {part, what, median_ms}'

What is measured:
  tower       the image tower, 1 and 8 pictures at once
  text        the text tower, 1 and 128 labels at once
  preprocess  a decoded picture of 1024x768 made into what the tower takes
  decode      JPEG, PNG and WebP of 1024x768, or your files
  pipeline    bytes to answer, one request at a time and 8: each picture is new to it
  similar     the 10 most similar of --vectors stored pictures

Each row is measured for --seconds, after a warm-up. P99 is the time that 99 of 100 runs kept
within; fewer than 100 runs have their slowest there. GFLOP/S counts a product and its sum as two.
The database and the data folder of the service are left alone, and no language model is asked.
Whatever else the machine does is measured too. Ctrl-C prints what was measured by then.")]
pub(super) struct BenchArgs {
    /// Pictures to decode and to classify, instead of one that is made
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Measure only these, between commas: tower, text, preprocess, decode, pipeline, similar
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = part)]
    only: Vec<Part>,
    /// How long each row is measured, in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Model to measure, instead of the one of CLIP_MODEL_NAME and CLIP_MODEL_PRETRAINED: a name, a
    /// name and a tag, or a name and a checkpoint
    #[arg(long, value_name = "NAME[:TAG]", conflicts_with = "pipeline")]
    model: Option<String>,
    /// Pipeline to measure
    #[arg(long, value_name = "NAME", default_value = "classify")]
    pipeline: String,
    /// How many vectors are searched
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        value_parser = |text: &str| whole(text, 1, MAX_ROWS as u64)
    )]
    vectors: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One of [`PARTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tower,
    Text,
    Preprocess,
    Decode,
    Pipeline,
    Similar,
}

impl Part {
    fn name(self) -> &'static str {
        let of_it = PARTS.into_iter().find(|(_, part)| *part == self);
        of_it.map_or("", |(name, _)| name)
    }
}

impl BenchArgs {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn part(text: &str) -> Result<Part, String> {
    let text = text.trim();
    let names = PARTS.iter().map(|(name, _)| *name);
    let found = PARTS.into_iter().find(|(name, _)| *name == text);
    found
        .map(|(_, part)| part)
        .ok_or_else(|| suggestion(text, names).unwrap_or_default())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    let number = number.filter(|number| (LEAST_SECONDS..=MOST_SECONDS).contains(number));
    number.ok_or_else(|| format!("expected a number from {LEAST_SECONDS} to {MOST_SECONDS}"))
}

pub(super) async fn run(common: &Common, args: BenchArgs) -> Result<ExitCode, Failure> {
    let folder = TempDir::with_prefix("omnizap-bench-").context("a folder for the data")?;
    let bench = Bench::new(common, &args, folder)?;
    let measured = bench.measured.clone();
    let interrupted = signals::first()?;
    let ended = tokio::select! {
        ended = Box::pin(bench.measure_all(&args)) => ended.map(|()| None),
        code = interrupted => Ok(Some(code)),
    };
    measured.end();
    if args.json {
        outln!("{:#}", measured.json(matches!(ended, Ok(None))));
    } else {
        measured.print();
    }
    match ended? {
        None => Ok(ExitCode::SUCCESS),
        Some(code) => {
            errln!(
                "interrupted: {} rows were measured by then",
                measured.count()
            );
            Ok(ExitCode::from(code))
        }
    }
}

/// What everything is measured with.
struct Bench {
    common: Common,
    /// With a data folder and a database of its own.
    config: ServicesConfig,
    source: Source,
    pictures: Vec<Picture>,
    measured: Arc<Measured>,
    /// The data. Gone at the end.
    _folder: TempDir,
}

impl Bench {
    fn new(common: &Common, args: &BenchArgs, folder: TempDir) -> Result<Self, Failure> {
        let mut config = services_config(common).map_err(Failure::Config)?;
        config.openai_api_key = None;
        config.openai_base_url = None;
        config.database_url = None;
        folder.path().clone_into(&mut config.data_dir);
        let mut common = common.clone();
        folder.path().clone_into(&mut common.data);
        let source = match &args.model {
            Some(model) => {
                let (name, tag) = model
                    .split_once(':')
                    .map_or((model.as_str(), None), |(name, tag)| (name, Some(tag)));
                config.model_name = Some(name.to_owned());
                config.model_pretrained = tag.map(str::to_owned);
                Source::parse(model).map_err(|error| Failure::Usage(anyhow!("--model: {error}")))?
            }
            None => {
                let (name, tag) = (&config.model_name, &config.model_pretrained);
                let source = Source::resolve(name.as_deref(), tag.as_deref());
                source.map_err(|error| Failure::Config(error.into()))?
            }
        };
        let pictures = match &*args.files {
            [] if !args.wants(Part::Decode) && !args.wants(Part::Pipeline) => Vec::new(),
            [] => pictures::made()?,
            files => pictures::read(files)?,
        };
        let time = Duration::from_secs_f64(args.seconds);
        Ok(Self {
            measured: Arc::new(Measured::new(source.name().to_owned(), time)),
            common,
            config,
            source,
            pictures,
            _folder: folder,
        })
    }

    async fn measure_all(&self, args: &BenchArgs) -> Result<(), Failure> {
        let of_the_model = [Part::Tower, Part::Text, Part::Preprocess];
        let of_the_model: Vec<_> = of_the_model
            .into_iter()
            .filter(|part| args.wants(*part))
            .collect();
        if !of_the_model.is_empty() {
            let (measured, source) = (self.measured.clone(), self.source.clone());
            let how = (self.config.model_device, self.config.model_precision);
            on_a_thread(move || model::measure(&measured, &source, how, &of_the_model)).await?;
        }
        if args.wants(Part::Decode) {
            requests::measure_decoding(self).await?;
        }
        if args.wants(Part::Pipeline) {
            requests::measure_pipeline(self, args).await?;
        }
        if args.wants(Part::Similar) {
            let (measured, vectors) = (self.measured.clone(), usize::try_from(args.vectors)?);
            on_a_thread(move || search::measure(&measured, vectors)).await?;
        }
        Ok(())
    }
}

/// What blocks, off the threads of the runtime.
async fn on_a_thread(
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(work).await?
}
