//! Decoding, and whole pipelines: through the engine, as a request goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use engine::pipeline::Pipeline;
use omnizap_services::{Services, ServicesConfig};
use tokio::task::JoinSet;

use super::measured::{Runs, What};
use super::pictures::Picture;
use super::{Bench, BenchArgs, Part};
use crate::cli::Failure;
use crate::cli::classify::{classify, started};
use crate::cli::pipelines::{self, Named};
use crate::cli::request::Request;

/// Requests to a pipeline at the same time.
const REQUESTS: [usize; 2] = [1, 8];

/// Decodes, and does nothing else.
const DECODING: &str = r#"
[pipeline]
name = "decoding"
[request]
file = { type = "bytes", required = true }
[[stage]]
uses = "decode"
"#;

/// Measures the decoding of each picture.
pub(super) async fn measure_decoding(bench: &Bench) -> Result<(), Failure> {
    let (common, config) = (&bench.common, bench.config.clone());
    let named = pipelines::own_with(common, config, "omnizap bench", DECODING)?;
    let asked = Asked::new(named).await?;
    for picture in &bench.pictures {
        let what = What::new(Part::Decode, picture.name.clone(), "pictures");
        let request = asked.request.with_bytes(picture.bytes.clone())?;
        let done = bench.measured.measure_waiting(what, async || {
            let asked = asked.ask(&request).await;
            asked.with_context(|| picture.name.clone())
        });
        done.await?;
    }
    asked.close().await;
    Ok(())
}

/// Measures a pipeline from the bytes of the pictures, in turns, to the answer.
pub(super) async fn measure_pipeline(bench: &Bench, args: &BenchArgs) -> Result<(), Failure> {
    let (common, config) = (&bench.common, bench.config.clone());
    let named = match &args.model {
        Some(_) => {
            let text = with_model(&bench.config);
            pipelines::own_with(common, config, "omnizap bench --model", &text)?
        }
        None => pipelines::named_with(common, config, &args.pipeline)?,
    };
    bench.measured.tell(format!("starting {}", args.pipeline));
    let asked = Arc::new(Asked::new(named).await?);
    for at_once in REQUESTS {
        let name = match at_once {
            1 => format!("{}, one at a time", args.pipeline),
            _ => format!("{}, {at_once} at a time", args.pipeline),
        };
        let what = What {
            at_once,
            ..What::new(Part::Pipeline, name, "pictures")
        };
        // The first few fill caches of labels.
        let warm_up = bench.measured.warm_up();
        loop {
            asked.ask(&asked.next(&bench.pictures)?).await?;
            if warm_up.is_over() {
                break;
            }
        }
        let runs = bench.measured.begin(what);
        at_a_time(at_once, &asked, &bench.pictures, &runs).await?;
    }
    if let Some(asked) = Arc::into_inner(asked) {
        asked.close().await;
    }
    Ok(())
}

/// Keeps so many requests under way until the row has what it needs.
async fn at_a_time(
    requests: usize,
    asked: &Arc<Asked>,
    pictures: &[Picture],
    runs: &Runs<'_>,
) -> anyhow::Result<()> {
    let pictures: Arc<[Picture]> = pictures.into();
    let mut under_way = JoinSet::new();
    let begin = |under_way: &mut JoinSet<_>| {
        let (asked, pictures) = (asked.clone(), pictures.clone());
        under_way.spawn(async move {
            let request = asked.next(&pictures)?;
            let begun = Instant::now();
            asked.ask(&request).await?;
            anyhow::Ok(begun.elapsed())
        });
    };
    for _ in 0..requests {
        begin(&mut under_way);
    }
    while let Some(ended) = under_way.join_next().await {
        runs.add(ended??);
        if runs.goes_on() {
            begin(&mut under_way);
        }
    }
    Ok(())
}

/// The pipeline that answers pictures, with the model of these settings, whatever the environment
/// says.
fn with_model(config: &ServicesConfig) -> String {
    let text = |value: &Option<String>| toml::Value::from(value.clone().unwrap_or_default());
    let (model, pretrained) = (text(&config.model_name), text(&config.model_pretrained));
    format!(
        "extends = \"builtin:classify\"\n[defaults.with]\nmodel = {model}\npretrained = {pretrained}\n"
    )
}

/// A pipeline that is asked.
struct Asked {
    pipeline: Arc<Pipeline>,
    services: Services,
    request: Request,
    /// Requests made.
    made: AtomicU64,
}

impl Asked {
    async fn new(named: Named) -> Result<Self, Failure> {
        let request = Request::new(&named.graph.file, &[], true)?;
        let (pipeline, services) = named.build().await?;
        started(&pipeline).await;
        Ok(Self {
            pipeline,
            services,
            request,
            made: AtomicU64::new(0),
        })
    }

    /// A request of the next picture, which was never seen before: a number stands behind its end,
    /// where decoders do not look.
    fn next(&self, pictures: &[Picture]) -> anyhow::Result<Request> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let turn = usize::try_from(number)? % pictures.len();
        let bytes = [&pictures[turn].bytes[..], &number.to_le_bytes()].concat();
        self.request.with_bytes(bytes)
    }

    async fn ask(&self, request: &Request) -> anyhow::Result<()> {
        classify(&self.pipeline, request, false).await.map(drop)
    }

    async fn close(self) {
        tokio::join!(self.pipeline.close(), self.services.close());
    }
}
