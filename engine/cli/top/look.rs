//! One look at a server, and what happened between two.

use std::time::Instant;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::scrape::{Buckets, Scrape};
use crate::cli::client::Client;

/// Names of metrics.
const STAGE: &str = "omnizap_stage_duration_seconds";
const QUEUE: &str = "omnizap_stage_queue_duration_seconds";
const PIPELINE: &str = "omnizap_pipeline_duration_seconds";

/// How deep counters of stages may lie in each other.
const DEPTH: usize = 3;

/// What a server said at one time.
pub(super) struct Look {
    at: Instant,
    numbers: Scrape,
    /// `GET /pipelines`
    pipelines: Json,
}

impl Look {
    /// Asks the server.
    ///
    /// # Errors
    /// A server that is not there, that wants another key, or that is no server of this program.
    pub(super) async fn at(client: &Client) -> anyhow::Result<Self> {
        let pipelines = body(client, "pipelines").await?;
        let pipelines: Json = serde_json::from_slice(&pipelines)
            .ok()
            .filter(|answer: &Json| answer["pipelines"].is_array())
            .with_context(|| format!("{} is no omnizap", client.address()))?;
        let numbers = body(client, "metrics").await?;
        Ok(Self {
            at: Instant::now(),
            numbers: Scrape::of(&String::from_utf8_lossy(&numbers)),
            pipelines,
        })
    }
}

async fn body(client: &Client, path: &str) -> anyhow::Result<Vec<u8>> {
    let address = client.address();
    let answer = client.get(path).await;
    let answer = answer.with_context(|| format!("{address} does not answer"))?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
            "{address} wants a key for /{path}: set OMNIZAP_TOP_KEY to one of its OMNIZAP_API_KEYS"
        ),
        StatusCode::NOT_FOUND => bail!("{address} has no /{path}: is it an omnizap?"),
        status => bail!("{address} answers /{path} with {status}"),
    }
}

/// What a server did for some time.
#[derive(Debug)]
pub(super) struct Span {
    /// For how long, in seconds.
    pub(super) seconds: f64,
    /// True where that is since the server started.
    pub(super) is_all: bool,
    pub(super) server: ServerSpan,
    pub(super) pipelines: Vec<PipelineSpan>,
}

/// Of the server itself.
#[derive(Debug)]
pub(super) struct ServerSpan {
    pub(super) version: String,
    pub(super) is_ready: bool,
    pub(super) in_flight: f64,
    pub(super) most_in_flight: f64,
    pub(super) connections: f64,
    pub(super) memory: f64,
    /// Cores that it kept busy.
    pub(super) cores: f64,
    pub(super) requests: f64,
}

#[derive(Debug)]
pub(super) struct PipelineSpan {
    pub(super) name: String,
    pub(super) route: String,
    pub(super) work: Work,
    pub(super) refused: f64,
    pub(super) stages: Vec<StageSpan>,
}

#[derive(Debug)]
pub(super) struct StageSpan {
    pub(super) name: String,
    /// `active`, or why it takes no part.
    pub(super) state: String,
    pub(super) work: Work,
    pub(super) queued: Option<f64>,
    pub(super) skips: Vec<(String, f64)>,
    /// Hits and misses of its caches.
    pub(super) cache: (f64, f64),
}

/// What pipelines and stages have in common.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) runs: f64,
    pub(super) in_flight: f64,
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) errors: f64,
}

impl Span {
    /// What happened between two looks; since the server's start where there was no earlier one.
    pub(super) fn between(before: Option<&Look>, now: &Look) -> Self {
        let none = Scrape::default();
        let numbers = &now.numbers;
        let (earlier, seconds) = match before {
            Some(before) => (
                &before.numbers,
                now.at.duration_since(before.at).as_secs_f64(),
            ),
            None => (&none, uptime(numbers)),
        };
        let both = Both {
            earlier,
            now: numbers,
        };
        let shown = now.pipelines["pipelines"].as_array();
        let shown_before = before.map(|before| &before.pipelines["pipelines"]);
        let pipelines = shown.into_iter().flatten().map(|pipeline| {
            let name = text(&pipeline["pipeline"]);
            let earlier = shown_before.and_then(|all| named(all, "pipeline", &name));
            both.pipeline(pipeline, earlier)
        });
        let budget = |name: &str| numbers.sum(name, &[("budget", "requests_in_flight")]);
        let versions = numbers.all("omnizap_build_info").first();
        let version = versions.map_or("", |info| info.label("version"));
        Self {
            seconds,
            is_all: before.is_none(),
            server: ServerSpan {
                version: version.to_owned(),
                is_ready: numbers.sum("omnizap_ready", &[]) > 0.0,
                in_flight: budget("omnizap_budget_used"),
                most_in_flight: budget("omnizap_budget_limit"),
                connections: numbers.sum("omnizap_budget_used", &[("budget", "connections")]),
                memory: numbers.sum("process_resident_memory_bytes", &[]),
                cores: per(both.rise("process_cpu_seconds_total", &[]), seconds),
                requests: per(
                    both.rise("omnizap_http_request_duration_seconds_count", &[]),
                    seconds,
                ),
            },
            pipelines: pipelines.collect(),
        }
    }

    /// For programs.
    pub(super) fn to_json(&self, address: &str) -> Json {
        let server = &self.server;
        let pipelines = self.pipelines.iter().map(|pipeline| {
            let stages = pipeline.stages.iter().map(|stage| {
                let mut shown = stage.work.to_json(&stage.name, self.seconds);
                let skips: Map<String, Json> = stage
                    .skips
                    .iter()
                    .map(|(why, count)| (why.clone(), Json::from(*count)))
                    .collect();
                shown["state"] = Json::from(stage.state.as_str());
                shown["queue_p95_ms"] = milliseconds(stage.queued);
                shown["skips"] = Json::Object(skips);
                shown["cache_hits"] = Json::from(stage.cache.0);
                shown["cache_misses"] = Json::from(stage.cache.1);
                shown
            });
            let mut shown = pipeline.work.to_json(&pipeline.name, self.seconds);
            shown["route"] = Json::from(pipeline.route.as_str());
            shown["refused"] = Json::from(pipeline.refused);
            shown["stages"] = stages.collect();
            shown
        });
        json!({
            "ok": true,
            "server": address,
            "version": server.version,
            "ready": server.is_ready,
            "seconds": self.seconds,
            "since_start": self.is_all,
            "requests_per_second": server.requests,
            "requests_in_flight": server.in_flight,
            "max_requests_in_flight": server.most_in_flight,
            "connections": server.connections,
            "memory_bytes": server.memory,
            "busy_cores": server.cores,
            "pipelines": pipelines.collect::<Vec<_>>(),
        })
    }
}

impl Work {
    fn to_json(&self, name: &str, seconds: f64) -> Json {
        json!({
            "name": name,
            "runs": self.runs,
            "runs_per_second": per(self.runs, seconds),
            "in_flight": self.in_flight,
            "p50_ms": milliseconds(self.p50),
            "p95_ms": milliseconds(self.p95),
            "errors": self.errors,
        })
    }
}

/// Numbers of two looks.
struct Both<'s> {
    earlier: &'s Scrape,
    now: &'s Scrape,
}

impl Both<'_> {
    /// By how much a counter rose.
    fn rise(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        rise(self.earlier.sum(name, labels), self.now.sum(name, labels))
    }

    fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Buckets {
        let earlier = self.earlier.buckets(name, labels);
        self.now.buckets(name, labels).since(&earlier)
    }

    fn pipeline(&self, shown: &Json, earlier: Option<&Json>) -> PipelineSpan {
        let name = text(&shown["pipeline"]);
        let own = ("pipeline", name.as_str());
        let took = self.buckets(PIPELINE, &[own]);
        let ended =
            |outcome| self.rise("omnizap_pipeline_runs_total", &[own, ("outcome", outcome)]);
        let stages = shown["stages"].as_array().into_iter().flatten();
        let stages = stages.map(|stage| {
            let earlier = earlier.map(|pipeline| &pipeline["stages"]);
            let earlier = earlier.and_then(|all| named(all, "name", &text(&stage["name"])));
            self.stage(own, stage, earlier)
        });
        PipelineSpan {
            route: text(&shown["route"]),
            work: Work {
                runs: self.rise("omnizap_pipeline_runs_total", &[own]),
                in_flight: shown["in_flight"].as_f64().unwrap_or_default(),
                p50: took.quantile(0.5),
                p95: took.quantile(0.95),
                errors: ended("failed"),
            },
            refused: ended("refused"),
            stages: stages.collect(),
            name,
        }
    }

    fn stage(&self, pipeline: (&str, &str), shown: &Json, earlier: Option<&Json>) -> StageSpan {
        let name = text(&shown["name"]);
        let own = [pipeline, ("stage", name.as_str())];
        let took = self.buckets(STAGE, &own);
        let mut skips: Vec<(String, f64)> = Vec::new();
        for sample in self.now.all("omnizap_stage_skips_total") {
            if !sample.has(&own) {
                continue;
            }
            let why = sample.label("reason");
            let with_reason = [own[0], own[1], ("reason", why)];
            let count = self.rise("omnizap_stage_skips_total", &with_reason);
            if count > 0.0 {
                skips.push((why.to_owned(), count));
            }
        }
        skips.sort_by(|one, other| other.1.total_cmp(&one.1));
        let cached = |ending: &str| {
            let now = counted(&shown["counters"], ending, DEPTH);
            let before = earlier.map_or(0.0, |it| counted(&it["counters"], ending, DEPTH));
            rise(before, now)
        };
        StageSpan {
            state: text(&shown["state"]),
            work: Work {
                runs: took.count(),
                in_flight: self.now.sum("omnizap_stage_in_flight", &own),
                p50: took.quantile(0.5),
                p95: took.quantile(0.95),
                errors: self.rise("omnizap_stage_errors_total", &own),
            },
            queued: self.buckets(QUEUE, &own).quantile(0.95),
            skips,
            cache: (cached("hits"), cached("misses")),
            name,
        }
    }
}

/// By how much a counter rose; one that fell began anew.
fn rise(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

/// So many in a second.
pub(super) fn per(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

fn milliseconds(seconds: Option<f64>) -> Json {
    seconds.map_or(Json::Null, |seconds| Json::from(seconds * 1000.0))
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn named<'j>(list: &'j Json, key: &str, name: &str) -> Option<&'j Json> {
    list.as_array()?.iter().find(|one| one[key] == name)
}

/// The sum of the counters whose names end so, also within others.
fn counted(counters: &Json, ending: &str, depth: usize) -> f64 {
    let all = counters.as_object().into_iter().flatten();
    let numbers = all.map(|(name, value)| match value {
        Json::Object(_) if depth > 0 => counted(value, ending, depth - 1),
        value if name.ends_with(ending) => value.as_f64().unwrap_or_default(),
        _ => 0.0,
    });
    numbers.sum()
}

/// How long a server has run, in seconds.
fn uptime(numbers: &Scrape) -> f64 {
    let started = numbers.sum("process_start_time_seconds", &[]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0.0, |now| now.as_secs_f64());
    if started > 0.0 {
        (now - started).max(0.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(runs: u32, hits: u32) -> Look {
        let numbers = format!(
            "omnizap_ready 1\nomnizap_build_info{{version=\"1.2.3\"}} 1\n\
             omnizap_pipeline_runs_total{{pipeline=\"p\",outcome=\"answered\"}} {runs}\n\
             omnizap_pipeline_runs_total{{pipeline=\"p\",outcome=\"refused\"}} 2\n\
             omnizap_stage_duration_seconds_bucket{{pipeline=\"p\",stage=\"s\",outcome=\"ran\",le=\"0.1\"}} {runs}\n\
             omnizap_stage_duration_seconds_bucket{{pipeline=\"p\",stage=\"s\",outcome=\"ran\",le=\"+Inf\"}} {runs}\n\
             omnizap_stage_skips_total{{pipeline=\"p\",stage=\"s\",reason=\"demand\"}} {runs}\n\
             omnizap_stage_skips_total{{pipeline=\"p\",stage=\"s\",reason=\"input\"}} 0\n"
        );
        Look {
            at: Instant::now(),
            numbers: Scrape::of(&numbers),
            pipelines: json!({ "pipelines": [{
                "pipeline": "p", "route": "POST /p", "in_flight": 3, "stages": [{
                    "name": "s", "state": "active",
                    "counters": { "hits": hits, "queue": { "text_cache_misses": 1 } },
                }],
            }] }),
        }
    }

    #[test]
    fn what_happened_between_two_looks_is_their_difference() {
        let before = look(10, 5);
        let mut now = look(30, 9);
        now.at = before.at + std::time::Duration::from_secs(10);
        let span = Span::between(Some(&before), &now);
        let pipeline = &span.pipelines[0];
        assert_eq!((pipeline.work.runs, pipeline.work.in_flight), (20.0, 3.0));
        assert_eq!(pipeline.refused, 0.0);
        let stage = &pipeline.stages[0];
        assert_eq!((stage.work.runs, stage.work.p50), (20.0, Some(0.05)));
        assert_eq!(stage.skips, [("demand".to_owned(), 20.0)]);
        assert_eq!(stage.cache, (4.0, 0.0));
        let shown = span.to_json("http://h");
        assert_eq!(shown["pipelines"][0]["runs_per_second"], 2.0);
        assert_eq!(shown["pipelines"][0]["stages"][0]["p50_ms"], 50.0);
        assert_eq!(shown["version"], "1.2.3");
    }

    #[test]
    fn the_first_look_counts_from_the_start_of_the_server() {
        let span = Span::between(None, &look(10, 5));
        assert!(span.is_all);
        assert_eq!(span.pipelines[0].stages[0].cache, (5.0, 1.0));
        assert_eq!(span.pipelines[0].refused, 2.0);
        // After a restart of the server between two looks as well.
        let span = Span::between(Some(&look(100, 50)), &look(10, 5));
        assert_eq!(span.pipelines[0].stages[0].work.runs, 10.0);
    }
}
