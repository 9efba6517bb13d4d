//! What administrators ask of the service itself: what is live, and that its files be read anew.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use warp::http::StatusCode;

use super::reply::{self, Response};
use crate::live::generation::{Generation, Live};
use crate::live::reloads::NotReloaded;
use crate::pipeline::Pipeline;
use crate::pipeline::diagnostic::Diagnostics;
use crate::pipeline::render;

/// The longest that whoever asks for a reload waits for it; it goes on after that.
const RELOAD_LIMIT: Duration = Duration::from_mins(2);
/// Most mistakes of an answer; how many there are is told too.
const MAX_TOLD: usize = 100;
/// Longest text on why nothing was reloaded, in bytes.
const MAX_TEXT: usize = 8 << 10;
const DAY: u64 = 24 * 60 * 60;

/// A pipeline as it is live: its effective graph, how often its stages ran, how many requests it
/// has. Options are the operator's: a client sees those only that are public.
pub(super) fn shown(pipeline: &Pipeline, in_flight: usize, with_options: bool) -> Json {
    let mut graph = render::to_json(&pipeline.graph);
    graph["admission"] = Json::Object(pipeline.admission().to_json());
    graph["in_flight"] = Json::from(in_flight);
    if let Some(stages) = graph["stages"].as_array_mut() {
        for (node, stage) in stages.iter_mut().enumerate() {
            if let Some(stage) = stage.as_object_mut() {
                if !with_options {
                    stage.remove("options");
                }
                stage.insert("counters".into(), pipeline.counters(node));
            }
        }
    }
    graph
}

/// `GET /admin/pipelines`: what is live and since when, with options but for secrets, and how
/// reloads went.
pub(super) fn pipelines(
    live: &Live,
    generation: &Generation,
    in_flight: &dyn Fn(&str) -> usize,
) -> Response {
    let pipelines = generation.pipelines().map(|pipeline| {
        let mut shown = shown(pipeline, in_flight(pipeline.name()), true);
        let source = &pipeline.graph.file.source;
        shown["files"] = source.names().map(|name| Json::from(&**name)).collect();
        shown["warnings"] = told(&pipeline.graph.warnings);
        shown
    });
    let pipelines: Vec<_> = pipelines.collect();
    let record = live.reloads().record();
    let last_failed = record.last_failed.map(|failed| {
        json!({
            "at": utc(failed.at), "detail": detail(&failed), "mistakes": told(&failed.mistakes),
        })
    });
    reply::ok(&json!({
        "ok": true,
        "generation": generation.number(),
        "since": utc(generation.since()),
        "sha256": generation.hash().as_str(),
        "generations": live.generations(),
        "reloads": {
            "fine": record.fine, "failed": record.failed, "last_failed": last_failed,
        },
        "pipelines": pipelines,
    }))
}

/// `POST /admin/reload`: answers once what the files say now is live, or once it is known why not.
pub(super) async fn reload(live: &Live, request_id: &str) -> Response {
    tracing::info!(request_id, "asked to reload the pipelines");
    let Ok(reloaded) = timeout(RELOAD_LIMIT, live.reloads().ask()).await else {
        let seconds = RELOAD_LIMIT.as_secs();
        let late = format!("the pipelines were not loaded within {seconds} s: it goes on");
        return reply::error(Error::new(ErrorKind::Deadline, late), request_id);
    };
    if let Err(why) = reloaded {
        return not_reloaded(&why, request_id);
    }
    let generation = live.current();
    let mut warnings = Diagnostics::default();
    for pipeline in generation.pipelines() {
        warnings.extend(pipeline.graph.warnings.clone());
    }
    let names: Vec<_> = generation.pipelines().map(Pipeline::name).collect();
    reply::ok(&json!({
        "ok": true,
        "generation": generation.number(),
        "sha256": generation.hash().as_str(),
        "pipelines": names,
        "warnings": told(&warnings),
    }))
}

/// The service ends: nothing is loaded any more.
pub(super) fn over(request_id: &str) -> Response {
    let message = "the service is shutting down: nothing was reloaded";
    let error = Error::new(ErrorKind::Unavailable, message).with_code("shutting_down");
    reply::error(error, request_id)
}

fn not_reloaded(why: &NotReloaded, request_id: &str) -> Response {
    if why.is_over {
        return over(request_id);
    }
    let detail = format!("nothing was reloaded: {}", detail(why));
    if why.may_pass {
        let error = Error::new(ErrorKind::Unavailable, detail).with_code("not_reloaded");
        return reply::error(error, request_id);
    }
    let mut body = reply::body_of_error(&detail, "not_reloaded", None, request_id);
    body["mistakes"] = told(&why.mistakes);
    reply::json(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

/// Why nothing was reloaded, where the mistakes themselves stand beside it.
fn detail(why: &NotReloaded) -> String {
    match why.mistakes.len() {
        0 => shortened(&why.text).to_owned(),
        1 => "the pipelines have a mistake".to_owned(),
        many => format!("the pipelines have {many} mistakes"),
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// Mistakes or warnings for programs: each with its place and its text as `omnizap check` shows it.
fn told(all: &Diagnostics) -> Json {
    let each = all.iter().take(MAX_TOLD).map(|one| {
        let place = one.place();
        json!({
            "file": &**place.file, "line": place.line, "column": place.column,
            "text": one.to_string(),
        })
    });
    each.collect()
}

/// A time as RFC 3339 writes it, to the second.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day, counted from the first of 1970. Years begin in March here, so that the day
/// that some have more is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// From the first of March of the year 0 to the first of January 1970.
    const BEFORE: u64 = 719_468;
    let days = days + BEFORE;
    let era = days / DAYS_OF_400_YEARS;
    let day = days % DAYS_OF_400_YEARS;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people_and_programs() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_764_165_825, "2025-11-26T14:03:45Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(utc(time), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ä".repeat(MAX_TEXT);
        let cut = shortened(&long);
        assert!(cut.len() <= MAX_TEXT && cut.len() > MAX_TEXT - 2);
        assert_eq!(shortened("short"), "short");
    }
}
