//! What a server did, as a table.

use super::look::{PipelineSpan, Span, StageSpan, Work, per};
use crate::cli::output::Table;

/// What the rows of stages begin with, for people.
const INDENT: &str = "  ";

/// Reasons for skips that a row tells; the largest.
const MAX_REASONS: usize = 2;

/// The lines above the table.
pub(super) fn head(span: &Span, address: &str) -> Vec<String> {
    let server = &span.server;
    let ready = if server.is_ready {
        "ready"
    } else {
        "NOT READY"
    };
    let since = if span.is_all {
        format!("since its start {} ago", time(Some(span.seconds)))
    } else {
        format!("over the last {:.0} s", span.seconds)
    };
    vec![
        format!("omnizap {} at {address}: {ready}, {since}", server.version),
        format!(
            "{:.1} requests/s, {:.0} of {:.0} in flight, {:.0} connections, {:.0} MiB, {:.2} cores",
            server.requests,
            server.in_flight,
            server.most_in_flight,
            server.connections,
            server.memory / f64::from(1 << 20),
            server.cores,
        ),
    ]
}

/// The table: a row for each pipeline, and one for each of its stages.
pub(super) fn table(span: &Span, plain: bool) -> Table<9> {
    let mut table = Table::new([
        "PIPELINE / STAGE",
        ">RUNS/S",
        ">NOW",
        ">P50",
        ">P95",
        ">WAIT P95",
        ">ERRORS",
        ">CACHE",
        "SKIPPED, OR WHY NOT",
    ]);
    for pipeline in &span.pipelines {
        table.add(of_pipeline(pipeline, span.seconds));
        for stage in &pipeline.stages {
            table.add(of_stage(pipeline, stage, span.seconds, plain));
        }
    }
    table
}

fn of_pipeline(pipeline: &PipelineSpan, seconds: f64) -> [String; 9] {
    let refused = pipeline.refused;
    let note = if refused > 0.0 {
        format!("refused {refused:.0}; {}", pipeline.route)
    } else {
        pipeline.route.clone()
    };
    let [runs, now, p50, p95, errors] = numbers(&pipeline.work, seconds);
    let none = || "-".to_owned();
    [
        pipeline.name.clone(),
        runs,
        now,
        p50,
        p95,
        none(),
        errors,
        none(),
        note,
    ]
}

fn of_stage(pipeline: &PipelineSpan, stage: &StageSpan, seconds: f64, plain: bool) -> [String; 9] {
    let name = if plain {
        // Rows of a table for programs stand for themselves.
        format!("{}/{}", pipeline.name, stage.name)
    } else {
        format!("{INDENT}{}", stage.name)
    };
    let [runs, now, p50, p95, errors] = numbers(&stage.work, seconds);
    let (hits, misses) = stage.cache;
    let cache = if hits + misses > 0.0 {
        format!("{:.0}%", 100.0 * hits / (hits + misses))
    } else {
        "-".to_owned()
    };
    let reasons = stage.skips.iter().take(MAX_REASONS);
    let reasons = reasons.map(|(why, count)| format!("{why} {count:.0}"));
    let note = if stage.state == "active" {
        reasons.collect::<Vec<_>>().join(", ")
    } else {
        stage.state.clone()
    };
    [
        name,
        runs,
        now,
        p50,
        p95,
        time(stage.queued),
        errors,
        cache,
        note,
    ]
}

fn numbers(work: &Work, seconds: f64) -> [String; 5] {
    [
        format!("{:.1}", per(work.runs, seconds)),
        format!("{:.0}", work.in_flight),
        time(work.p50),
        time(work.p95),
        format!("{:.0}", work.errors),
    ]
}

/// Seconds with three digits or so, and their unit.
fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".into();
    };
    match seconds {
        _ if seconds < 0.0005 => format!("{:.0}us", seconds * 1e6),
        _ if seconds < 0.0995 => format!("{:.1}ms", seconds * 1e3),
        _ if seconds < 0.9995 => format!("{:.0}ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1}s"),
        _ if seconds < 7200.0 => format!("{:.0}min", seconds / 60.0),
        _ => format!("{:.0}h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::ServerSpan;
    use super::*;

    fn span() -> Span {
        let work = |runs: f64| Work {
            runs,
            in_flight: 2.0,
            p50: Some(0.0123),
            p95: None,
            errors: 1.0,
        };
        Span {
            seconds: 10.0,
            is_all: false,
            server: ServerSpan {
                version: "1.2.3".into(),
                is_ready: true,
                in_flight: 2.0,
                most_in_flight: 256.0,
                connections: 3.0,
                memory: 1048576.0,
                cores: 0.5,
                requests: 7.0,
            },
            pipelines: vec![PipelineSpan {
                name: "p".into(),
                route: "POST /p".into(),
                work: work(20.0),
                refused: 0.0,
                stages: vec![StageSpan {
                    name: "s".into(),
                    state: "active".into(),
                    work: work(10.0),
                    queued: Some(0.2),
                    skips: vec![("demand".into(), 5.0)],
                    cache: (3.0, 1.0),
                }],
            }],
        }
    }

    #[test]
    fn a_stage_stands_below_its_pipeline() {
        let lines = table(&span(), false).lines(false);
        assert!(lines[1].starts_with("p "), "{lines:?}");
        assert!(lines[1].ends_with("POST /p"), "{lines:?}");
        assert!(lines[2].starts_with("  s "), "{lines:?}");
        for part in ["1.0", "12.3ms", "200ms", "75%", "demand 5"] {
            assert!(lines[2].contains(part), "{part}: {lines:?}");
        }
        let plain = table(&span(), true).lines(true);
        assert_eq!(plain[2].split('\t').next(), Some("p/s"));
        assert_eq!(plain[2].split('\t').count(), 9);
        let head = head(&span(), "http://h");
        assert!(head[0].contains("1.2.3 at http://h: ready, over the last 10 s"));
        assert!(head[1].starts_with("7.0 requests/s, 2 of 256 in flight"));
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        for (seconds, expected) in [
            (0.000_02, "20us"),
            (0.0123, "12.3ms"),
            (0.25, "250ms"),
            (1.5, "1.5s"),
            (600.0, "10min"),
            (36_000.0, "10h"),
        ] {
            assert_eq!(time(Some(seconds)), expected);
        }
        assert_eq!(time(None), "-");
    }
}
