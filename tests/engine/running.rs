//! How requests run: order, parallelism, skips, retries, limits, cancellation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use engine::pipeline::Pipeline;
use engine::pipeline::build::AdmissionLimits;
use engine::pipeline::run::Finished;
use engine::pipeline::trace::Outcome;
use omnizap_contract::common::chain::chain;
use omnizap_contract::{Bytes, Error, ErrorKind, Input, Output, Outputs, PortType, Value};
use serde_json::{Value as Json, json};
use tokio::sync::{Barrier, Notify, Semaphore};

use crate::support::kinds::{TestKind, compute, gives, inline, number, pipeline, shows, waiting};

async fn run(pipeline: &Pipeline) -> Finished {
    run_within(pipeline, Duration::from_secs(20)).await
}

async fn run_within(pipeline: &Pipeline, time: Duration) -> Finished {
    let values = pipeline.request_values(|_| None);
    pipeline
        .run(values, "test".into(), Instant::now() + time)
        .await
}

fn field<'f>(finished: &'f Finished, name: &str) -> &'f Json {
    &finished.result.as_ref().unwrap()[name]
}

fn source(name: &'static str, runner: omnizap_contract::Runner) -> TestKind {
    let output = Output::new("text", PortType::Text, "text").published(Json::Null);
    TestKind::new(name, vec![], vec![output], runner)
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_stages_run_at_the_same_time() {
    // Each waits for the other: run one after the other they would never end.
    let barrier = Arc::new(Barrier::new(2));
    let meet = move |port: &'static str| {
        let barrier = barrier.clone();
        waiting(move |_, _| {
            let barrier = barrier.clone();
            async move {
                barrier.wait().await;
                Ok(Outputs::new().put(port, "met"))
            }
        })
    };
    let output =
        |port: &'static str| vec![Output::new(port, PortType::Text, "text").published(Json::Null)];
    let kinds = vec![
        TestKind::new("left", vec![], output("a"), meet("a")),
        TestKind::new("right", vec![], output("b"), meet("b")),
    ];
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"left\"\n[[stage]]\nuses = \"right\"";
    let finished = run(&pipeline(kinds, toml).await).await;
    assert_eq!(
        (field(&finished, "a"), field(&finished, "b")),
        (&json!("met"), &json!("met"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_stages_run_at_the_same_time_too() {
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let meet = move |port: &'static str| {
        let barrier = barrier.clone();
        compute(move |_, _| {
            barrier.wait();
            Ok(Outputs::new().put(port, "met"))
        })
    };
    let output =
        |port: &'static str| vec![Output::new(port, PortType::Text, "text").published(Json::Null)];
    let kinds = vec![
        TestKind::new("left", vec![], output("a"), meet("a")),
        TestKind::new("right", vec![], output("b"), meet("b")),
    ];
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"left\"\n[[stage]]\nuses = \"right\"";
    assert_eq!(
        field(&run(&pipeline(kinds, toml).await).await, "b"),
        &json!("met")
    );
}

#[tokio::test]
async fn an_error_of_the_client_names_the_field_that_was_sent() {
    let picky = |kind: ErrorKind| {
        let text = |name: &'static str| Input::optional(name, PortType::Text, "text");
        let refuse = move |_: &_, _: &_| {
            let odd = Error::new(kind, "text: is odd beside `more`").with_code("odd_text");
            let cause = std::io::Error::other("for the log");
            Err(odd
                .with_retry_after(Duration::from_secs(7))
                .with_source(cause))
        };
        TestKind::new(
            "picky",
            vec![text("text"), text("more")],
            vec![],
            inline(refuse),
        )
    };
    let plain = "text: is odd beside `more`";
    for (kind, inputs, message) in [
        (ErrorKind::Invalid, "", plain),
        (
            ErrorKind::Invalid,
            "text = \"request.word\"",
            "word: is odd beside `more`",
        ),
        (
            ErrorKind::TooLarge,
            "text = \"request.word\", more = \"request.other\"",
            "word: is odd beside `other`",
        ),
        // What was there is named, else what could have been.
        (
            ErrorKind::Invalid,
            "text = [\"request.other\", \"request.word\"], more = [\"request.other\", \"first.text\"]",
            "word: is odd beside `more`",
        ),
        (ErrorKind::Invalid, "text = \"first.text\"", plain),
        // The names of two that changed places.
        (
            ErrorKind::Invalid,
            "text = \"request.more\", more = \"request.text\"",
            "more: is odd beside `text`",
        ),
        // Of a fault of ours a client need not know.
        (ErrorKind::Internal, "text = \"request.word\"", plain),
    ] {
        let toml = format!(
            "[pipeline]\nname = \"t\"\n[request]\nword = {{ type = \"text\", default = \"x\" }}\n\
             other = {{ type = \"text\" }}\ntext = {{ type = \"text\" }}\nmore = {{ type = \"text\" }}\n\
             [[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"picky\"\ninputs = {{ {inputs} }}\n"
        );
        let kinds = vec![gives("first", "text", "one"), picky(kind)];
        let failure = run(&pipeline(kinds, &toml).await).await.result.unwrap_err();
        let error = failure.error;
        assert_eq!(error.message(), message, "{inputs}");
        assert_eq!(failure.stage.as_deref(), Some("picky"));
        assert_eq!((error.kind(), error.code()), (kind, "odd_text"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(chain(&error), format!("{message}: for the log"));
    }
}

const FALL_BACK: &str = r#"
[pipeline]
name = "t"
[request]
flag = { type = "bool", default = FLAG }
[[stage]]
uses = "first"
[[stage]]
uses = "second"
if = "flag"
[[stage]]
uses = "show"
"#;

#[tokio::test]
async fn a_skipped_stage_lets_its_consumers_see_the_earlier_value() {
    for (flag, seen) in [("true", "two"), ("false", "one")] {
        let kinds = vec![
            gives("first", "text", "one"),
            gives("second", "text", "two"),
            shows("show", "text"),
        ];
        let pipeline = pipeline(kinds, &FALL_BACK.replace("FLAG", flag)).await;
        let finished = run(&pipeline).await;
        assert_eq!(field(&finished, "seen"), seen);
        assert_eq!(
            field(&finished, "text"),
            seen,
            "the response falls back as consumers do"
        );
    }
}

#[tokio::test]
async fn without_an_earlier_value_consumers_are_skipped_and_the_answer_keeps_its_shape() {
    let kinds = vec![gives("second", "text", "two"), shows("show", "text")];
    let toml = FALL_BACK
        .replace("FLAG", "false")
        .replace("[[stage]]\nuses = \"first\"\n", "");
    let finished = run(&pipeline(kinds, &toml).await).await;
    assert_eq!(field(&finished, "seen"), "neutral");
    assert_eq!(field(&finished, "text"), &Json::Null);
    let Outcome::Skipped(reason) = &finished.trace.stages[1].outcome else {
        panic!("{:?}", finished.trace);
    };
    assert!(
        reason.contains("`text`") && reason.contains("`second.text`"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_failing_stage_fails_the_request_or_is_skipped_as_its_file_says() {
    let failing = || {
        vec![
            gives("first", "text", "one"),
            source(
                "fails",
                inline(|_, _| Err(Error::new(ErrorKind::Unavailable, "no good"))),
            ),
            shows("show", "text"),
        ]
    };
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"fails\"\nON\n[[stage]]\nuses = \"show\"";
    let finished = run(&pipeline(failing(), &toml.replace("ON", "")).await).await;
    let failure = finished.result.unwrap_err();
    assert_eq!(failure.stage.as_deref(), Some("fails"));
    assert_eq!(
        (failure.error.kind(), failure.error.message()),
        (ErrorKind::Unavailable, "no good")
    );
    let finished =
        run(&pipeline(failing(), &toml.replace("ON", "on_error = \"skip\"")).await).await;
    assert_eq!(field(&finished, "seen"), "one");
}

/// What is wrong with the request itself is for the client to know, unless the file says otherwise.
#[tokio::test]
async fn a_skip_is_for_the_stages_failures_and_not_for_the_clients_mistakes() {
    const TOML: &str = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"fails\"\non_error = \"WORD\"\n[[stage]]\nuses = \"show\"";
    for kind in [
        ErrorKind::Malformed,
        ErrorKind::TooLarge,
        ErrorKind::UnsupportedType,
        ErrorKind::Invalid,
    ] {
        let kinds = || {
            let fails = inline(move |_, _| Err(Error::new(kind, "no good")));
            vec![
                gives("first", "text", "one"),
                source("fails", fails),
                shows("show", "text"),
            ]
        };
        let finished = run(&pipeline(kinds(), &TOML.replace("WORD", "skip")).await).await;
        assert_eq!(finished.result.unwrap_err().error.kind(), kind);
        let finished = run(&pipeline(kinds(), &TOML.replace("WORD", "skip all")).await).await;
        assert_eq!(field(&finished, "seen"), "one");
    }
}

#[tokio::test]
async fn a_stage_that_failed_and_is_skipped_gives_what_its_port_says() {
    let kinds = || {
        let told = Output::new("text", PortType::Text, "text").when_failed("unsafe");
        let told = told.published(Json::Null);
        let never = waiting(|_, _| std::future::pending());
        let fails = inline(|_, _| Err(Error::new(ErrorKind::Unavailable, "no good")));
        vec![
            gives("first", "text", "one"),
            TestKind::new("fails", vec![], vec![told.clone()], fails),
            TestKind::new("hangs", vec![], vec![told], never),
            shows("show", "text"),
        ]
    };
    let first = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"first\"\n[[stage]]\n";
    let show = "\non_error = \"skip\"\n[[stage]]\nuses = \"show\"";
    for (stage, expected) in [
        ("uses = \"fails\"", "unsafe"),
        ("uses = \"hangs\"\ntimeout_ms = 10", "unsafe"),
        // Who switches a stage off has not made it fail.
        ("uses = \"fails\"\nenabled = false", "one"),
        ("uses = \"fails\"\nif = \"false\"", "one"),
    ] {
        let toml = format!("{first}{stage}{show}");
        let finished = run(&pipeline(kinds(), &toml).await).await;
        assert_eq!(field(&finished, "seen"), expected, "{stage}");
        assert_eq!(field(&finished, "text"), expected, "{stage}");
    }
}

#[tokio::test]
async fn a_failure_leaves_the_stages_in_flight_abandoned() {
    let forever = TestKind::new(
        "slow",
        vec![],
        vec![],
        waiting(|_, _| std::future::pending()),
    );
    let quick = waiting(|_, _| async { Ok(Outputs::new().put("text", "soon")) });
    let fails = TestKind::new(
        "fails",
        vec![Input::required("text", PortType::Text, "text")],
        vec![],
        inline(|_, _| Err(Error::new(ErrorKind::Invalid, "no good"))),
    );
    let kinds = vec![forever, source("quick", quick), fails];
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"slow\"\n[[stage]]\nuses = \"quick\"\n[[stage]]\nuses = \"fails\"";
    let finished = run(&pipeline(kinds, toml).await).await;
    assert!(finished.result.is_err());
    let outcomes: Vec<_> = finished
        .trace
        .stages
        .iter()
        .map(|stage| &stage.outcome)
        .collect();
    let failed = Outcome::Failed("invalid_value".into());
    assert_eq!(outcomes, [&Outcome::Ran, &failed, &Outcome::Abandoned]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_internal_error_that_shows_nothing() {
    for runner in [
        inline(|_, _| panic!("secret")),
        compute(|_, _| panic!("secret")),
        waiting(|_, _| async { panic!("secret") }),
    ] {
        let kinds = vec![source("panics", runner)];
        let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"panics\"";
        let failure = run(&pipeline(kinds, toml).await).await.result.unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Internal);
        assert!(!failure.error.message().contains("secret"));
    }
}

#[tokio::test]
async fn outputs_that_break_the_contract_are_internal_errors() {
    let outputs: [fn() -> Outputs; 4] = [
        Outputs::new,
        || Outputs::new().put("text", 1.0),
        || Outputs::new().put("text", "a").put("more", "b"),
        || Outputs::new().put("text", "a").put("text", "b"),
    ];
    for give in outputs {
        let kinds = vec![source("odd", inline(move |_, _| Ok(give())))];
        let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"odd\"";
        let failure = run(&pipeline(kinds, toml).await).await.result.unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Internal);
    }
    let number = Output::new("number", PortType::Number, "number");
    let nan = inline(|_, _| Ok(Outputs::new().put("number", f64::NAN)));
    let kinds = vec![TestKind::new("nan", vec![], vec![number], nan)];
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"nan\"";
    assert!(run(&pipeline(kinds, toml).await).await.result.is_err());
}

#[tokio::test]
async fn a_transient_error_is_tried_again_and_a_lasting_one_is_not() {
    for (kind, retry, calls, fine) in [
        (ErrorKind::Unavailable, 2, 3, true),
        (ErrorKind::Unavailable, 1, 2, false),
        (ErrorKind::Invalid, 2, 1, false),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let flaky = inline(move |_, _| {
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                Err(Error::new(kind, "not now"))
            } else {
                Ok(Outputs::new().put("text", "at last"))
            }
        });
        let toml =
            format!("[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"flaky\"\nretry = {retry}");
        let finished = run(&pipeline(vec![source("flaky", flaky)], &toml).await).await;
        assert_eq!(count.load(Ordering::SeqCst), calls);
        assert_eq!(finished.result.is_ok(), fine);
        assert_eq!(finished.trace.stages[0].attempts as usize, calls);
    }
}

#[tokio::test]
async fn a_stage_over_its_timeout_is_a_deadline_error() {
    let slow = waiting(|_, _| std::future::pending());
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"slow\"\ntimeout_ms = 20";
    let failure = run(&pipeline(vec![source("slow", slow)], toml).await)
        .await
        .result
        .unwrap_err();
    assert_eq!(
        (failure.error.kind(), failure.stage.as_deref()),
        (ErrorKind::Deadline, Some("slow"))
    );
}

#[tokio::test]
async fn the_requests_deadline_bounds_every_stage() {
    let slow = waiting(|_, _| std::future::pending());
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"slow\"\ntimeout_ms = 60000";
    let pipeline = pipeline(vec![source("slow", slow)], toml).await;
    let finished = run_within(&pipeline, Duration::from_millis(20)).await;
    let failure = finished.result.unwrap_err();
    assert_eq!(
        (failure.error.kind(), failure.stage.as_deref()),
        (ErrorKind::Deadline, Some("slow"))
    );
    assert_eq!(finished.trace.stages[0].outcome, Outcome::Abandoned);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_request_tells_its_threads() {
    let begun = Arc::new(AtomicBool::new(false));
    let noticed = Arc::new(AtomicBool::new(false));
    let flags = (begun.clone(), noticed.clone());
    let patient = compute(move |_, call| {
        flags.0.store(true, Ordering::SeqCst);
        while !call.cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        flags.1.store(true, Ordering::SeqCst);
        Ok(Outputs::new().put("text", "too late"))
    });
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"patient\"";
    let pipeline = Arc::new(pipeline(vec![source("patient", patient)], toml).await);
    let shared = pipeline.clone();
    let request = tokio::spawn(async move { run(&shared).await });
    until(&begun).await;
    request.abort();
    until(&noticed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_whose_client_has_gone_never_starts() {
    // Two places for computing: both taken, a third request waits, is dropped, and its stage never runs.
    let (release, runs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let shared = (release.clone(), runs.clone());
    let busy = compute(move |_, _| {
        shared.1.fetch_add(1, Ordering::SeqCst);
        while !shared.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Outputs::new().put("text", "done"))
    });
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"busy\"";
    let pipeline = Arc::new(pipeline(vec![source("busy", busy)], toml).await);
    let start = || {
        let pipeline = pipeline.clone();
        tokio::spawn(async move { run(&pipeline).await })
    };
    let (first, second) = (start(), start());
    while runs.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let third = start();
    tokio::time::sleep(Duration::from_millis(20)).await;
    third.abort();
    assert!(third.await.unwrap_err().is_cancelled());
    release.store(true, Ordering::SeqCst);
    assert!(first.await.unwrap().result.is_ok() && second.await.unwrap().result.is_ok());
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_value_is_gone_once_the_last_that_looks_at_it_has_dropped_it() {
    // Without bounds, with a time of its own, and with a bound on how many run.
    for bounds in ["", "timeout_ms = 9000", "max_in_flight = 2"] {
        let made: Arc<Mutex<Option<Weak<str>>>> = Arc::default();
        let shared = made.clone();
        let makes = inline(move |_, _| {
            let text: Arc<str> = "as large as a picture".into();
            *shared.lock().unwrap() = Some(Arc::downgrade(&text));
            Ok(Outputs::new().put("text", Value::Text(text)))
        });
        let looks = |name: &'static str| {
            let made = made.clone();
            let waits = waiting(move |inputs, _| {
                let made = made.lock().unwrap().clone().unwrap();
                assert!(made.upgrade().is_some());
                drop(inputs);
                async move {
                    let deadline = Instant::now() + Duration::from_secs(5);
                    while made.upgrade().is_some() {
                        if Instant::now() > deadline {
                            return Err(Error::internal("it is still there"));
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok(Outputs::new().put(name, "gone"))
                }
            });
            let output = Output::new(name, PortType::Text, "text").published(Json::Null);
            let input = Input::required("text", PortType::Text, "text");
            TestKind::new(name, vec![input], vec![output], waits)
        };
        let output = Output::new("text", PortType::Text, "text");
        let kinds = vec![
            TestKind::new("makes", vec![], vec![output], makes),
            looks("one"),
            looks("two"),
        ];
        let toml = format!(
            "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"makes\"\n[[stage]]\nuses = \"one\"\n{bounds}\n\
             [[stage]]\nuses = \"two\"\n{bounds}\n"
        );
        let finished = run(&pipeline(kinds, &toml).await).await;
        for name in ["one", "two"] {
            assert_eq!(field(&finished, name), "gone", "{bounds}");
        }
    }
}

async fn until(flag: &AtomicBool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !flag.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it never happened");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn max_in_flight_bounds_a_stage_across_requests() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (now.clone(), most.clone());
    let counted = waiting(move |_, _| {
        let (now, most) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Outputs::new().put("text", "done"))
        }
    });
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"counted\"\nmax_in_flight = 2";
    let pipeline = pipeline(vec![source("counted", counted)], toml).await;
    let requests = (0..8).map(|_| run(&pipeline));
    for finished in futures_util::future::join_all(requests).await {
        assert!(finished.result.is_ok());
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_critical_path_is_told_apart_from_the_sum() {
    let sleeps = |name: &'static str, port: &'static str, milliseconds: u64| {
        let nap = waiting(move |_, _| async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(Outputs::new().put(port, "done"))
        });
        TestKind::new(
            name,
            vec![],
            vec![Output::new(port, PortType::Text, "text")],
            nap,
        )
    };
    let join = TestKind::new(
        "join",
        vec![
            Input::required("a", PortType::Text, "text"),
            Input::required("b", PortType::Text, "text"),
        ],
        vec![],
        inline(|_, _| Ok(Outputs::new())),
    );
    let kinds = vec![sleeps("short", "a", 30), sleeps("long", "b", 60), join];
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"short\"\n[[stage]]\nuses = \"long\"\n[[stage]]\nuses = \"join\"";
    let pipeline = pipeline(kinds, toml).await;
    let trace = pipeline.trace_json(&run(&pipeline).await.trace);
    assert_eq!(trace["critical_path"], json!(["long", "join"]), "{trace}");
    let micros = |name: &str| trace[name].as_u64().unwrap();
    assert!(micros("sum_us") > micros("critical_path_us"), "{trace}");
    assert_eq!(trace["stages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn published_numbers_are_rounded_and_values_between_stages_are_not() {
    let rounded = Output::new("number", PortType::Number, "number")
        .published(json!(0))
        .rounded(6);
    let exact = TestKind::new(
        "exact",
        vec![],
        vec![rounded],
        inline(|_, _| Ok(Outputs::new().put("number", 1.0 / 3.0))),
    );
    let seen = Output::new("seen", PortType::Text, "text").published(Json::Null);
    let show = TestKind::new(
        "show",
        vec![Input::required("number", PortType::Number, "number")],
        vec![seen],
        inline(|inputs, _| Ok(Outputs::new().put("seen", number(inputs, "number").to_string()))),
    );
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"exact\"\n[[stage]]\nuses = \"show\"";
    let finished = run(&pipeline(vec![exact, show], toml).await).await;
    assert_eq!(field(&finished, "number"), &json!(0.333333));
    assert_eq!(field(&finished, "seen"), "0.3333333333333333");
}

/// Bytes that tell when nobody holds them any more.
struct Watched(Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        b"bytes"
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn watched(is_gone: &Arc<AtomicBool>) -> Bytes {
    Bytes::from_owner(Watched(is_gone.clone()))
}

/// A decoded picture is not held while the language model thinks.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_gone_when_the_last_who_looks_at_it_has_ended() {
    let bytes = |name: &'static str| Output::new(name, PortType::Bytes, "bytes");
    let text = |name: &'static str| Output::new(name, PortType::Text, "text");
    let names = ["file", "unasked", "pixels", "unread", "asked", "shown"];
    let gone = names.map(|_| Arc::new(AtomicBool::new(false)));
    let [file, unasked, pixels, unread, asked, shown] = gone.clone();
    let given = [
        ("pixels", pixels),
        ("unread", unread),
        ("asked", asked),
        ("shown", shown),
    ];
    let decode = compute(move |_, _| {
        let outputs = given.iter();
        let outputs = outputs.fold(Outputs::new(), |outputs, (name, is_gone)| {
            outputs.put(*name, watched(is_gone))
        });
        Ok(outputs.put("size", "large"))
    });
    let embed = waiting(|inputs, _| async move {
        tokio::task::yield_now().await;
        assert!(inputs.value("pixels").is_some());
        Ok(Outputs::new().put("vector", "vector"))
    });
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let talk = {
        let (begun, go) = (begun.clone(), go.clone());
        waiting(move |_, _| {
            let (begun, go) = (begun.clone(), go.clone());
            async move {
                begun.notify_one();
                go.notified().await;
                Ok(Outputs::new().put("said", "done"))
            }
        })
    };
    let required = |name: &'static str, ty| vec![Input::required(name, ty, "input")];
    let kinds = vec![
        TestKind::new(
            "decode",
            required("file", PortType::Bytes),
            vec![
                bytes("pixels"),
                bytes("unread"),
                bytes("asked"),
                bytes("shown").published(Json::Null),
                text("size"),
            ],
            decode,
        ),
        TestKind::new(
            "embed",
            required("pixels", PortType::Bytes),
            vec![text("vector")],
            embed,
        ),
        TestKind::new(
            "talk",
            required("vector", PortType::Text),
            vec![text("said").published(Json::Null)],
            talk,
        ),
        // Skipped, and with it the last who would have looked at what it asks for.
        TestKind::new(
            "skipped",
            required("asked", PortType::Bytes),
            vec![],
            inline(|_, _| Ok(Outputs::new())),
        ),
    ];
    let toml = "[pipeline]\nname = \"t\"\n[request]\nfile = { type = \"bytes\" }\n\
                unasked = { type = \"bytes\" }\n[[stage]]\nuses = \"decode\"\n[[stage]]\n\
                uses = \"embed\"\n[[stage]]\nuses = \"talk\"\n[[stage]]\nuses = \"skipped\"\n\
                if = \"size == 'small'\"\n";
    let pipeline = pipeline(kinds, toml).await;
    let values = pipeline.request_values(|name| match name {
        "file" => Some(Value::from(watched(&file))),
        "unasked" => Some(Value::from(watched(&unasked))),
        _ => None,
    });
    let running = pipeline.run(
        values,
        "test".into(),
        Instant::now() + Duration::from_secs(20),
    );
    let watching = async {
        begun.notified().await;
        // What computes may end a moment after it gave its outputs.
        let is_gone = |at: usize| gone[at].load(Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !(0..5).all(is_gone) {
            let held = (0..5).filter(|at| !is_gone(*at)).map(|at| names[at]);
            let held: Vec<_> = held.collect();
            assert!(Instant::now() < deadline, "still held: {held:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!is_gone(5), "the answer shows it");
        go.notify_one();
    };
    let (finished, ()) = tokio::join!(running, watching);
    assert_eq!(field(&finished, "shown"), &json!({ "bytes": 5 }));
    assert!(gone[5].load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_can_be_answered_in_good_time_are_refused_at_once() {
    let place = Arc::new(Semaphore::new(1));
    let slow = waiting(move |_, _| {
        let place = place.clone();
        async move {
            let _place = place.acquire().await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Outputs::new().put("text", "done"))
        }
    });
    let toml = "[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"slow\"";
    let pipeline = pipeline(vec![source("slow", slow)], toml).await;
    let together = async |count: usize| {
        let requests = (0..count).map(|_| run(&pipeline));
        let finished = futures_util::future::join_all(requests).await;
        let failed = finished.into_iter().filter_map(|it| it.result.err());
        failed.collect::<Vec<_>>()
    };
    // As many as sixty-four are a burst, however slow the machine is.
    pipeline.admit_within(AdmissionLimits {
        burst: 16,
        ..AdmissionLimits::default()
    });
    for _ in 0..3 {
        let failed = together(64).await;
        assert!(failed.is_empty(), "{failed:?}");
    }
    let begun = Instant::now();
    let failed = together(200).await;
    // More are one where they are soon answered.
    let refused = failed.len();
    assert!(
        (20..=136).contains(&refused),
        "{refused} in {:?}",
        begun.elapsed()
    );
    for failure in failed {
        let error = failure.error;
        assert_eq!(
            (error.kind(), error.code(), failure.stage),
            (ErrorKind::Busy, "overloaded", None)
        );
        assert!(error.retry_after() >= Some(Duration::from_secs(1)));
    }
    let shown = pipeline.admission().to_json();
    assert_eq!(
        (&shown["refused"], &shown["in_flight"]),
        (&json!(refused), &json!(0))
    );
    // The refused are over at once, and when it was calm for a while a burst is one again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(together(64).await.is_empty());
}
