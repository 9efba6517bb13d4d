//! `omnizap eval`: how well a pipeline's labels fit pictures whose labels are known.

mod metrics;
mod samples;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use engine::pipeline::Pipeline;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use omnizap_contract::common::chain::chain;
use omnizap_models::Temperature;
use serde_json::Value as Json;

use self::metrics::{Judged, Report};
use self::samples::Sample;
use super::classify::classify_file;
use super::pipelines::{self, Done};
use super::request::{Given, Request};
use super::{Common, Failure};

/// Pictures that are worked on at the same time.
const IN_FLIGHT: usize = 4;

/// The field of a pipeline's request that takes the labels.
const LABELS: &str = "labels";

/// Failed files that are named; the others are counted.
const MAX_NAMED_FAILURES: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap eval pictures                        pictures/CLASS/*.png, the classes are the labels
  omnizap eval pictures --labels truth.csv     lines of FILE,LABEL, paths within pictures
  omnizap eval pictures --candidates more.txt  more labels to choose from, one a line or a JSON list

An underscore in a folder's name stands for a space. Pictures are classified without a theme, so
that feedback changes nothing. The calibration error is over 15 bins of the winner's score
(Guo et al. 2017, https://arxiv.org/abs/1706.04599). Ctrl-C reports what was done by then.")]
pub(super) struct EvalArgs {
    /// Folder of pictures: a folder per class, unless --labels says which is which
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// CSV of FILE,LABEL; a first line `file,label` is a header
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Labels to choose from beside those of the pictures, a JSON list or one a line
    #[arg(long, value_name = "FILE")]
    candidates: Option<PathBuf>,
    /// How many of the worst confusions to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    worst: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Pipeline to run
    #[arg(long, default_value = "classify", value_name = "NAME")]
    pipeline: String,
}

pub(super) async fn run(common: &Common, args: EvalArgs) -> Result<ExitCode, Failure> {
    super::config::check_database(common)?;
    let samples = match &args.labels {
        Some(table) => samples::from_table(&args.folder, table)?,
        None => samples::from_folders(&args.folder)?,
    };
    let labels = candidates(&samples, args.candidates.as_deref())?;
    let named = pipelines::named(common, &args.pipeline)?;
    let bar = progress(samples.len());
    let mut report = Report::new(labels.len());
    let mut failures = Vec::new();
    let done = named.with(async |pipeline: Arc<Pipeline>| {
        let pipeline = &*pipeline;
        let temperature = temperature(pipeline.settings().get("temperature"))?;
        let requests = &requests(pipeline, &labels)?;
        let mut answers = futures_util::stream::iter(&samples)
            .map(|sample| async move {
                let answer = answer(pipeline, sample, requests, temperature).await;
                (sample, answer.and_then(|answer| judge(sample, &answer)))
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some((sample, judged)) = answers.next().await {
            match judged {
                Ok(judged) => report.add(judged),
                Err(error) => {
                    let (path, why) = (sample.path.display(), chain(error.as_ref()));
                    failures.push(format!("{path}: {why}"));
                }
            }
            bar.inc(1);
        }
        Ok(())
    });
    let done = done.await;
    bar.finish_and_clear();
    let interrupted = match done? {
        Done::All(()) => None,
        Done::Interrupted(code) => Some(code),
    };
    failures.sort();
    finish(&report, &failures, interrupted, &samples, &args)
}

/// What is asked about each picture: more labels than a request may have are asked in several.
fn requests(pipeline: &Pipeline, labels: &[Arc<str>]) -> Result<Vec<Request>, Failure> {
    let settings = pipeline.settings();
    let most = settings.get("max_labels").and_then(Json::as_u64);
    let most = most.and_then(|most| usize::try_from(most).ok());
    let most = most.unwrap_or(labels.len());
    let mut fields = pipeline.graph.file.request.iter();
    let field = fields.find(|field| field.name.get_ref() == LABELS);
    let most = field.map_or(most, |field| most.min(field.max_items)).max(1);
    let requests = labels.chunks(most).map(|labels| {
        let given = [Given::list("eval", LABELS, labels)];
        Request::new(&pipeline.graph.file, &given, true)
    });
    requests.collect()
}

/// The winner and the score of every label: from one answer, or from the logits of several,
/// which do not depend on what else was asked.
async fn answer(
    pipeline: &Pipeline,
    sample: &Sample,
    requests: &[Request],
    temperature: Temperature,
) -> anyhow::Result<Answer> {
    let mut parts = Vec::new();
    for request in requests {
        parts.push(classify_file(pipeline, &sample.path, request, false).await?);
    }
    let model = parts[0]["model"].as_str().map(Into::into);
    let field = if parts.len() == 1 {
        "all_scores"
    } else {
        "raw_logits"
    };
    let mut scores = Vec::new();
    for part in &parts {
        let numbers = part[field].as_object();
        let numbers = numbers.with_context(|| format!("the pipeline's answer has no {field}"))?;
        let numbers = numbers.iter();
        scores.extend(numbers.map(|(label, n)| (label.clone(), n.as_f64().unwrap_or_default())));
    }
    if parts.len() > 1 {
        let temperature = temperature.of(scores.len());
        softmax(&mut scores, temperature);
    }
    Ok(Answer { scores, model })
}

/// What a pipeline said of a picture.
struct Answer {
    scores: Vec<(String, f64)>,
    model: Option<Arc<str>>,
}

/// What the pipeline divides logits by; 1 where it says nothing of it.
fn temperature(published: Option<&Json>) -> anyhow::Result<Temperature> {
    let Some(published) = published else {
        return Ok(Temperature {
            base: 1.0,
            per_ln_label: 0.0,
        });
    };
    serde_json::from_value(published.clone())
        .context("the pipeline's setting `temperature` has no `base` and `per_ln_label`")
}

fn softmax(logits: &mut [(String, f64)], temperature: f64) {
    let highest = logits
        .iter()
        .map(|(_, logit)| *logit)
        .fold(f64::MIN, f64::max);
    for (_, logit) in &mut *logits {
        *logit = ((*logit - highest) / temperature).exp();
    }
    let sum: f64 = logits.iter().map(|(_, share)| share).sum();
    for (_, share) in logits {
        *share /= sum;
    }
}

/// The labels of the pictures and those of a file, each once: the pipeline takes those that
/// differ in case for one.
fn candidates(samples: &[Sample], more: Option<&Path>) -> anyhow::Result<Vec<Arc<str>>> {
    let mut labels: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut add = |label: &str| {
        let label = label.trim();
        if !label.is_empty() {
            labels
                .entry(label.to_lowercase())
                .or_insert_with(|| label.into());
        }
    };
    for sample in samples {
        add(&sample.label);
    }
    if let Some(file) = more {
        let context = || format!("cannot read {}", file.display());
        let text = std::fs::read_to_string(file).with_context(context)?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('[') {
            let list: Vec<String> = serde_json::from_str(text)
                .with_context(|| format!("{}: expected a JSON list of strings", file.display()))?;
            list.iter().for_each(|label| add(label));
        } else {
            text.lines().for_each(add);
        }
    }
    if labels.len() < 2 {
        bail!(
            "there is nothing to choose from: all pictures have the label {:?}",
            samples[0].label
        );
    }
    Ok(labels.into_values().collect())
}

/// On standard error, where that is a terminal.
fn progress(pictures: usize) -> ProgressBar {
    let bar = super::output::bar(ProgressBar::new(pictures as u64));
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} pictures, {per_sec}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Reads an answer: which labels, best first, and how sure of the first.
fn judge(sample: &Sample, answer: &Answer) -> anyhow::Result<Judged> {
    let scores = answer.scores.iter();
    let mut ranked: Vec<_> = scores
        .map(|(label, score)| (label.as_str(), *score))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let &(winner, confidence) = ranked.first().context("the answer has no label")?;
    // Labels that differ in case only are one to the pipeline.
    let truth = sample.label.trim().to_lowercase();
    Ok(Judged {
        truth: sample.label.clone(),
        winner: winner.into(),
        confidence,
        rank: ranked
            .iter()
            .position(|(label, _)| label.to_lowercase() == truth),
        model: answer.model.clone(),
    })
}

fn finish(
    report: &Report,
    failures: &[String],
    interrupted: Option<u8>,
    samples: &[Sample],
    args: &EvalArgs,
) -> Result<ExitCode, Failure> {
    for failure in failures.iter().take(MAX_NAMED_FAILURES) {
        errln!("error: {failure}");
    }
    if failures.len() > MAX_NAMED_FAILURES {
        errln!("error: and {} more", failures.len() - MAX_NAMED_FAILURES);
    }
    let done = report.pictures() + failures.len();
    if report.pictures() > 0 {
        print(report, failures.len(), args);
    }
    if let Some(code) = interrupted {
        errln!("interrupted after {done} of {} pictures", samples.len());
        return Ok(ExitCode::from(code));
    }
    if !failures.is_empty() {
        return Err(Failure::Work(anyhow!(
            "{} of {done} pictures were not classified; the others count",
            failures.len()
        )));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, failed: usize, args: &EvalArgs) {
    if args.json {
        outln!("{:#}", report.json(failed, args.worst));
    } else {
        out!("{}", report.text(args.worst));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn logits_of_several_answers_get_the_temperature_of_one() {
        let published = json!({ "base": 0.5, "per_ln_label": 1.5 / 2f64.ln() });
        let temperature = temperature(Some(&published)).unwrap().of(2);
        let mut scores = vec![("a".to_owned(), 2.0 * 3f64.ln()), ("b".to_owned(), 0.0)];
        softmax(&mut scores, temperature);
        assert!((scores[0].1 - 0.75).abs() < 1e-12, "{scores:?}");
        assert!((scores[1].1 - 0.25).abs() < 1e-12, "{scores:?}");
    }

    #[test]
    fn a_pipeline_without_a_temperature_has_the_plain_softmax() {
        assert_eq!(temperature(None).unwrap().of(300), 1.0);
        assert!(temperature(Some(&json!("warm"))).is_err());
    }
}
