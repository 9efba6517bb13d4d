//! Stages that run on demand: they run where a stage that runs takes what they give, or the
//! response shows it, and nowhere else.

use std::time::{Duration, Instant};

use engine::pipeline::Pipeline;
use engine::pipeline::run::Finished;
use engine::pipeline::trace::Outcome;
use omnizap_contract::{Input, Output, Outputs, PortType, Value};
use serde_json::{Value as Json, json};

use crate::support::kinds::{TestKind, gives, inline, pipeline, text, waiting};

const MAKE: &str = "uses = \"make\"\nrun = \"on demand\"";
const UNASKED: &str = "nothing that runs needs what it gives";

/// Gives "made" at `text`, which the response does not show.
fn make() -> TestKind {
    let made = Output::new("text", PortType::Text, "text");
    let run = inline(|_, _| Ok(Outputs::new().put("text", "made")));
    TestKind::new("make", vec![], vec![made], run)
}

/// Gives at `to` what it takes at `from`; the response does not show it.
fn passes(name: &'static str, from: &'static str, to: &'static str) -> TestKind {
    passes_on(name, from, Output::new(to, PortType::Text, "text"))
}

/// Shows under its own name what it takes at `from`.
fn takes(name: &'static str, from: &'static str) -> TestKind {
    let shown = Output::new(name, PortType::Text, "text");
    passes_on(name, from, shown.published(json!("none")))
}

fn passes_on(name: &'static str, from: &'static str, output: Output) -> TestKind {
    let input = Input::required(from, PortType::Text, "text");
    let to = output.name.clone();
    let run = inline(move |inputs, _| Ok(Outputs::new().put(to.clone(), text(inputs, from))));
    TestKind::new(name, vec![input], vec![output], run)
}

/// A file with a flag in its request, and these stages.
fn file(flag: bool, stages: &[&str]) -> String {
    let request = format!("[request]\nflag = {{ type = \"bool\", default = {flag} }}\n");
    let stages = stages.iter().map(|stage| format!("[[stage]]\n{stage}\n"));
    format!(
        "[pipeline]\nname = \"t\"\n{request}{}",
        stages.collect::<String>()
    )
}

/// A pipeline, and one request through it.
struct Asked {
    pipeline: Pipeline,
    finished: Finished,
}

impl Asked {
    async fn new(kinds: Vec<TestKind>, flag: bool, stages: &[&str]) -> Self {
        let pipeline = pipeline(kinds, &file(flag, stages)).await;
        let values = pipeline.request_values(|_| None);
        let deadline = Instant::now() + Duration::from_secs(20);
        let finished = pipeline.run(values, "test".into(), deadline).await;
        Self { pipeline, finished }
    }

    fn field(&self, name: &str) -> &Json {
        &self.finished.result.as_ref().unwrap()[name]
    }

    /// What became of each stage, in the order of the file: `ran`, or why it did not.
    #[track_caller]
    fn outcomes(&self) -> Vec<&str> {
        let stages = &self.finished.trace.stages;
        let mut outcomes = Vec::new();
        for node in 0..self.pipeline.graph.nodes.len() {
            let mut of_node = stages.iter().filter(|stage| stage.node == node);
            outcomes.push(match of_node.next().map(|stage| &stage.outcome) {
                Some(Outcome::Ran) => "ran",
                Some(Outcome::Skipped(reason)) => reason.as_str(),
                Some(other) => panic!("{other:?}"),
                None => "off",
            });
            assert!(of_node.next().is_none(), "it ended twice");
        }
        outcomes
    }
}

#[tokio::test]
async fn it_runs_once_for_all_that_take_what_it_gives() {
    let kinds = vec![make(), takes("left", "text"), takes("right", "text")];
    let stages = [MAKE, "uses = \"left\"", "uses = \"right\""];
    let asked = Asked::new(kinds, true, &stages).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", "ran"]);
    assert_eq!(asked.pipeline.counters(0)["ran"], 1);
    assert_eq!(
        (asked.field("left"), asked.field("right")),
        (&json!("made"), &json!("made"))
    );
}

#[tokio::test]
async fn a_stage_whose_if_is_false_does_not_ask_for_it() {
    const OFF: &str = "`if = \"flag\"` is false";
    let kinds = || vec![make(), takes("left", "text"), takes("right", "text")];
    let left = "uses = \"left\"\nif = \"flag\"";
    let right = "uses = \"right\"\nif = \"flag\"";
    let asked = Asked::new(kinds(), false, &[MAKE, left, right]).await;
    assert_eq!(asked.outcomes(), [UNASKED, OFF, OFF]);
    assert_eq!(asked.field("left"), "none");
    let asked = Asked::new(kinds(), true, &[MAKE, left, right]).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", "ran"]);
    // One that takes it is enough.
    let asked = Asked::new(kinds(), false, &[MAKE, left, "uses = \"right\""]).await;
    assert_eq!(asked.outcomes(), ["ran", OFF, "ran"]);
    assert_eq!(asked.field("right"), "made");
}

#[tokio::test]
async fn it_waits_for_what_tells_whether_it_is_asked_for() {
    for (flag, expected) in [
        (true, ["ran", "ran", "ran"]),
        (false, [UNASKED, "ran", "`if = \"open\"` is false"]),
    ] {
        let gate = TestKind::new(
            "gate",
            vec![Input::required("flag", PortType::Bool, "whether")],
            vec![Output::new("open", PortType::Bool, "whether")],
            waiting(|inputs, _| async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let flag = inputs.value("flag").unwrap().clone();
                Ok(Outputs::new().put("open", flag))
            }),
        );
        let kinds = vec![make(), gate, takes("left", "text")];
        let stages = [MAKE, "uses = \"gate\"", "uses = \"left\"\nif = \"open\""];
        let asked = Asked::new(kinds, flag, &stages).await;
        assert_eq!(asked.pipeline.graph.nodes[0].depends_on, [1]);
        assert_eq!(asked.outcomes(), expected);
    }
}

/// Gives what it kept at `cached`, where the flag is set.
fn recall() -> TestKind {
    TestKind::new(
        "recall",
        vec![Input::required("flag", PortType::Bool, "whether")],
        vec![Output::new("cached", PortType::Text, "text").optional()],
        inline(|inputs, _| {
            let outputs = Outputs::new();
            Ok(match inputs.value("flag") {
                Some(Value::Bool(true)) => outputs.put("cached", "kept"),
                _ => outputs,
            })
        }),
    )
}

/// Shows what was kept, and looks at what is made only where nothing was.
fn either() -> TestKind {
    let made = Input::optional("text", PortType::Text, "made anew");
    TestKind::new(
        "either",
        vec![
            made.unless("cached"),
            Input::optional("cached", PortType::Text, "made before"),
        ],
        vec![Output::new("seen", PortType::Text, "text").published(Json::Null)],
        inline(|inputs, _| {
            let cached = inputs.value("cached").is_some();
            let port = if cached { "cached" } else { "text" };
            Ok(Outputs::new().put("seen", text(inputs, port)))
        }),
    )
}

#[tokio::test]
async fn an_input_that_another_makes_unnecessary_does_not_ask_for_it() {
    let kinds = || vec![recall(), make(), either(), takes("left", "text")];
    let stages = ["uses = \"recall\"", MAKE, "uses = \"either\""];
    let asked = Asked::new(kinds(), true, &stages).await;
    assert_eq!(asked.outcomes(), ["ran", UNASKED, "ran"]);
    assert_eq!(asked.field("seen"), "kept");
    let asked = Asked::new(kinds(), false, &stages).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", "ran"]);
    assert_eq!(asked.field("seen"), "made");
    // Nothing can be kept where the stage that keeps is off.
    let off = ["uses = \"recall\"\nenabled = false", MAKE, stages[2]];
    let asked = Asked::new(kinds(), true, &off).await;
    assert_eq!(asked.outcomes(), ["off", "ran", "ran"]);
    assert_eq!(asked.field("seen"), "made");
    // Another stage needs it all the same.
    let both = [stages[0], MAKE, stages[2], "uses = \"left\""];
    let asked = Asked::new(kinds(), true, &both).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", "ran", "ran"]);
    assert_eq!(
        (asked.field("seen"), asked.field("left")),
        (&json!("kept"), &json!("made"))
    );
}

#[tokio::test]
async fn it_runs_where_a_condition_needs_it_whatever_that_says() {
    let kinds = vec![make(), takes("left", "text")];
    let stages = [MAKE, "uses = \"left\"\nif = \"text == 'other'\""];
    let asked = Asked::new(kinds, true, &stages).await;
    let off = "`if = \"text == 'other'\"` is false";
    assert_eq!(asked.outcomes(), ["ran", off]);
    // The condition needs a stage that needs it.
    let measure = TestKind::new(
        "measure",
        vec![Input::required("text", PortType::Text, "text")],
        vec![Output::new("is_other", PortType::Bool, "whether")],
        inline(|inputs, _| {
            let is_other = &*text(inputs, "text") == "other";
            Ok(Outputs::new().put("is_other", is_other))
        }),
    );
    let kinds = vec![make(), measure, takes("left", "text")];
    let measure = "uses = \"measure\"\nrun = \"on demand\"";
    let stages = [MAKE, measure, "uses = \"left\"\nif = \"is_other == true\""];
    let asked = Asked::new(kinds, true, &stages).await;
    assert_eq!(
        asked.outcomes(),
        ["ran", "ran", "`if = \"is_other == true\"` is false"]
    );
}

#[tokio::test]
async fn stages_on_demand_ask_for_each_other_only_where_they_are_asked_for() {
    const OFF: &str = "`if = \"flag\"` is false";
    let kinds = || {
        vec![
            make(),
            passes("refine", "text", "fine"),
            passes("polish", "fine", "finest"),
            takes("left", "finest"),
            takes("right", "fine"),
        ]
    };
    let chain = [
        MAKE,
        "uses = \"refine\"\nrun = \"on demand\"",
        "uses = \"polish\"\nrun = \"on demand\"",
        "uses = \"left\"\nif = \"flag\"",
    ];
    let asked = Asked::new(kinds(), true, &chain).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", "ran", "ran"]);
    assert_eq!(asked.field("left"), "made");
    let asked = Asked::new(kinds(), false, &chain).await;
    assert_eq!(asked.outcomes(), [UNASKED, UNASKED, UNASKED, OFF]);
    // Who asks in the middle of the chain asks for what is before.
    let middle = [&chain[..], &["uses = \"right\""]].concat();
    let asked = Asked::new(kinds(), false, &middle).await;
    assert_eq!(asked.outcomes(), ["ran", "ran", UNASKED, OFF, "ran"]);
    assert_eq!(asked.field("right"), "made");
}

#[tokio::test]
async fn it_always_runs_where_the_response_shows_what_it_gives() {
    let kinds = vec![gives("make", "text", "made"), takes("left", "text")];
    let left = "uses = \"left\"\nif = \"flag\"";
    let asked = Asked::new(kinds, false, &[MAKE, left]).await;
    assert_eq!(asked.outcomes(), ["ran", "`if = \"flag\"` is false"]);
    assert_eq!(asked.field("text"), "made");
    assert!(asked.pipeline.graph.nodes[0].demand.is_none());
}

#[tokio::test]
async fn what_nobody_asks_for_is_skipped_with_the_reason() {
    let kinds = vec![make(), takes("left", "text")];
    let left = "uses = \"left\"\nenabled = false";
    let asked = Asked::new(kinds, true, &[MAKE, left]).await;
    assert_eq!(asked.outcomes(), [UNASKED, "off"]);
    let counters = asked.pipeline.counters(0);
    assert_eq!(
        (&counters["ran"], &counters["skipped"]),
        (&json!(0), &json!(1))
    );
    let trace = asked.pipeline.trace_json(&asked.finished.trace);
    let stage = &trace["stages"][0];
    assert_eq!(
        (&stage["stage"], &stage["outcome"], &stage["reason"]),
        (&json!("make"), &json!("skipped"), &json!(UNASKED))
    );
    assert_eq!(stage["attempts"], 0);
}

#[tokio::test]
async fn a_long_chain_on_demand_is_decided_in_one_pass() {
    // Each stage takes `text` from all before it: without a memory the last answer would be asked
    // for two to the power of sixty times.
    const LINKS: usize = 60;
    let link = "uses = \"pass\"\nrun = \"on demand\"\nname = ";
    let mut stages = vec![MAKE.to_owned()];
    stages.extend((0..LINKS).map(|number| format!("{link}\"pass{number}\"")));
    stages.push("uses = \"take\"\nif = \"flag\"".to_owned());
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let kinds = || {
        vec![
            make(),
            passes("pass", "text", "text"),
            takes("take", "text"),
        ]
    };
    for flag in [false, true] {
        let asked = Asked::new(kinds(), flag, &stages).await;
        let trace = &asked.finished.trace;
        let ran = trace
            .stages
            .iter()
            .filter(|stage| stage.outcome == Outcome::Ran);
        assert_eq!(ran.count(), if flag { LINKS + 2 } else { 0 });
    }
}

#[tokio::test]
async fn a_word_that_does_nothing_is_a_warning() {
    for (stages, expected) in [
        (vec![MAKE], "it never runs"),
        (
            vec![MAKE, "uses = \"take\"\nrun = \"on demand\""],
            "it runs always",
        ),
    ] {
        let kinds = vec![make(), takes("take", "text")];
        let pipeline = pipeline(kinds, &file(true, &stages)).await;
        let warnings = pipeline.graph.warnings.to_string();
        assert!(warnings.contains(expected), "{warnings}");
    }
}
