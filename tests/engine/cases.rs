//! `[[test]]` in a pipeline file: what is a mistake in it, and what a trial makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::pipeline::Pipeline;
use engine::pipeline::graph::Graph;
use engine::pipeline::trial::{self, Verdict};
use omnizap_contract::{
    Embedding, Input, OptionSpec, OptionType, Output, Outputs, PortType, Scores, Value,
};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use crate::support::kinds::{TestKind, bind, bind_layers, gives, inline, places, registry, shows};

/// A picture that the program brings.
const SAMPLES: &[(&str, &[u8])] = &[("dot.png", b"a dot")];

/// How often a stage ran that is to be mocked.
type Runs = Arc<AtomicUsize>;

fn kinds_counting(runs: &Runs) -> Vec<TestKind> {
    let runs = runs.clone();
    let measure = inline(move |inputs, _| {
        runs.fetch_add(1, Ordering::Relaxed);
        let bytes = match inputs.value("file") {
            Some(Value::Bytes(bytes)) => bytes.len() as f64,
            _ => 0.0,
        };
        Ok(Outputs::new()
            .put("size", bytes)
            .put("sure", true)
            .put("top", json!([{ "label": "cat" }]))
            .put("scores", Scores::default())
            .put(
                "vector",
                Embedding {
                    model: "m".into(),
                    vector: [1.0].into(),
                },
            ))
    });
    let mut top = Output::new("top", PortType::Json, "the best").published(json!([]));
    top.shape = r#"[{"label": "text"}]"#.parse().unwrap();
    let outputs = vec![
        Output::new("size", PortType::Number, "how large").published(Json::Null),
        Output::new("sure", PortType::Bool, "whether it is").published(json!(false)),
        top,
        Output::new("scores", PortType::Scores, "of labels").published(json!({})),
        Output::new("vector", PortType::Embedding, "of the picture").published(Json::Null),
        Output::new("pixels", PortType::Image, "of the picture").optional(),
    ];
    let key = inline(|_, _| Ok(Outputs::new()));
    vec![
        gives("first", "text", "one"),
        shows("show", "text"),
        TestKind::new(
            "measure",
            vec![Input::optional("file", PortType::Bytes, "a file")],
            outputs,
            measure,
        ),
        TestKind::new("asks", vec![], vec![], key).with_options(vec![OptionSpec {
            is_secret: true,
            ..OptionSpec::new("api_key", OptionType::Text, "", "a key")
        }]),
    ]
}

fn kinds() -> Vec<TestKind> {
    kinds_counting(&Runs::default())
}

/// What is tried; eighteen lines, behind which a test begins.
const PIPELINE: &str = r#"[pipeline]
name = "a"

[request]
file = { type = "bytes", filename = "called", content_type = "said", accept = ["image/*"] }
word = { type = "text", required = true, max_chars = 5 }
count = { type = "integer", default = 3 }

[[stage]]
uses = "first"

[[stage]]
uses = "measure"

[[stage]]
uses = "show"
if = "measure.ran && sure && word != 'no'"

"#;

fn with(test: &str) -> String {
    format!("{PIPELINE}[[test]]\nname = \"t\"\n{test}\n")
}

#[track_caller]
fn graph(test: &str) -> Graph {
    bind(&registry(kinds()), &with(test)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Tries the first test of a graph.
async fn tried(graph: &Graph) -> Verdict {
    let case = &graph.file.cases[0];
    let built = Pipeline::build(trial::prepared(graph, case), Arc::new(Semaphore::new(2)));
    trial::run(&built.await.unwrap(), case, SAMPLES).await
}

fn faults(verdict: &Verdict) -> Vec<String> {
    let faults = verdict.faults.iter();
    faults.map(|fault| fault.message().to_owned()).collect()
}

/// A test that is as expected.
async fn fine(test: &str) -> Verdict {
    let verdict = tried(&graph(test)).await;
    let faults = faults(&verdict);
    assert!(faults.is_empty(), "{test}: {faults:?}: {}", verdict.answer);
    verdict
}

/// A test whose one fault is at that line and column, and says that.
async fn failing(test: &str, place: (usize, usize), said: &str) {
    let verdict = tried(&graph(test)).await;
    let [fault] = verdict.faults.as_slice() else {
        panic!("{test}: {:?}", verdict.faults);
    };
    let found = fault.place();
    assert_eq!((found.line, found.column), place, "{test}: {fault}");
    assert!(fault.message().contains(said), "{test}: {fault}");
}

/// A test with one mistake, at that line and column.
#[track_caller]
fn mistake(test: &str, place: (usize, usize), said: &[&str]) {
    let mistakes = bind(&registry(kinds()), &with(test)).unwrap_err();
    let expected = [("test.toml", place.0, place.1)];
    assert_eq!(places(&mistakes), expected, "{test}: {mistakes}");
    let told = mistakes.to_string();
    for said in said {
        assert!(told.contains(said), "{test}: no {said:?} in {told}");
    }
}

#[tokio::test]
async fn what_comes_of_a_request_is_held_against_what_is_expected() {
    let verdict = fine(
        r#"request = { word = "yes", file = "builtin:dot.png", said = "image/png" }
[test.expect]
ran = ["first", "measure", "show"]
[test.expect.answer]
size = 5
called = "dot.png"
said = "image/png"
seen = { equals = "one", size = 3, contains = "ne" }
"top[0].label" = "cat"
top = { contains = { label = "cat" }, null = false }
"vector.vector" = { about = [0.99], within = 0.02 }
gone = { absent = true }
"#,
    )
    .await;
    assert_eq!(verdict.status, Some(200));
    assert_eq!(verdict.traces.len(), 1);
    // A test may expect nothing but an answer.
    fine("request.word = \"yes\"").await;
    // Named by a path in the text, and declared there.
    fine("request.word = \"yes\"\npicture = \"data:image/gif;base64,YWJj\"\nexpect.answer = { size = 3, said = \"image/gif\", called = { null = true } }").await;
}

#[tokio::test]
async fn what_is_not_as_expected_is_told_where_it_is_said() {
    let word = "request.word = \"yes\"\n";
    for (expect, place, said) in [
        (
            "expect.answer.seen = \"two\"",
            (22, 22),
            r#"`seen`: expected "two", found "one""#,
        ),
        (
            "expect.answer = { size = { about = 1, within = 0.5 } }",
            (22, 36),
            "`size`: expected 1 within 0.5, found 0",
        ),
        (
            "expect.answer = { \"top[1].label\" = \"cat\" }",
            (22, 36),
            "`top` has 1 item",
        ),
        ("expect.status = 422", (22, 17), "found an answer"),
        (
            "expect.error = \"invalid_field\"",
            (22, 16),
            "expected the error `invalid_field`, found an answer",
        ),
        (
            "expect.skipped = [\"show\"]",
            (22, 19),
            "expected that stage `show` is skipped, and it ran",
        ),
    ] {
        failing(&format!("{word}{expect}"), place, said).await;
    }
    let skipped = "request.word = \"no\"\nexpect.ran = [\"show\"]";
    failing(skipped, (22, 15), "and it was skipped: `if = ").await;
    let other = "request.word = \"no\"\nexpect.skipped.show = \"absent\"";
    failing(
        other,
        (22, 16),
        "for another reason: expected \"absent\" in",
    )
    .await;
    // An error that nobody expects is told at the test's name.
    let failed = "request.word = \"yes\"\nfail.measure = \"unavailable\"\nexpect.answer.size = 1";
    failing(failed, (20, 8), "expected an answer, found the error 503").await;
}

#[tokio::test]
async fn a_mock_takes_the_place_of_what_a_stage_does_and_not_of_when() {
    let runs = Runs::default();
    let test = r#"request.word = "yes"
[test.mock.measure]
size = 0.5
sure = true
top = [{ label = "dog" }]
scores = { cat = 0.75, dog = 0.25 }
vector = { model = "m", vector = [0.6, 0.8] }
[test.expect]
ran = ["measure", "show"]
answer = { size = 0.5, top = { size = 1 }, "scores.cat" = 0.75, "vector.vector[1]" = { about = 0.8, within = 1e-6 } }
"#;
    let graph = bind(&registry(kinds_counting(&runs)), &with(test)).unwrap();
    let verdict = tried(&graph).await;
    assert_eq!(faults(&verdict), [""; 0]);
    assert_eq!(runs.load(Ordering::Relaxed), 0, "it was not run");
    // What it leaves out has no value: the condition sees null, the answer the neutral value.
    fine(
        "request.word = \"yes\"\nmock.measure = { size = 2 }\nexpect = { ran = [\"measure\"], \
         skipped = { show = \"sure\" }, answer = { size = 2, sure = false, top = [] } }",
    )
    .await;
    // Its own condition counts as ever.
    fine(
        "request.word = \"no\"\nmock.show = { seen = \"never\" }\nexpect = { skipped = [\"show\"], \
         answer.seen = \"neutral\" }",
    )
    .await;
}

#[tokio::test]
async fn a_stage_may_fail_and_a_request_be_refused() {
    fine(
        "request.word = \"yes\"\nfail.first = \"busy\"\nexpect = { status = 429, error = \"busy\", \
         answer = { stage = \"first\", code = \"busy\" } }",
    )
    .await;
    for (request, status, error) in [
        ("request = {}", 422, "missing_field"),
        ("request.word = \"far too long\"", 422, "invalid_field"),
        (
            "request = { word = \"yes\", count = \"many\" }",
            422,
            "invalid_field",
        ),
        (
            "request.word = \"yes\"\npicture = \"data:text/plain;base64,YWJj\"",
            415,
            "unsupported_file_type",
        ),
        (
            "request = { word = \"yes\", said = \"text/html\" }\npicture = \"builtin:dot.png\"",
            415,
            "unsupported_file_type",
        ),
    ] {
        let expect = format!("expect = {{ status = {status}, error = \"{error}\" }}");
        let verdict = fine(&format!("{request}\n{expect}")).await;
        assert!(verdict.traces.is_empty(), "{request}");
    }
    let early = "request = {}\nexpect = { error = \"missing_field\", ran = [\"first\"] }";
    failing(
        early,
        (22, 44),
        "the request was refused before any stage ran",
    )
    .await;
}

#[tokio::test]
async fn files_are_beside_the_pipeline() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    std::fs::write(folder.path().join("pictures/a.png"), "abcd").unwrap();
    let file = folder.path().join("a.toml");
    let file = file.to_str().unwrap();
    let text = |path: &str| {
        with(&format!(
            "request.word = \"yes\"\npicture = \"{path}\"\nexpect.answer = {{ size = 4, called = \"a.png\" }}"
        ))
    };
    let bound = |path: &str| bind_layers(&registry(kinds()), &[(file, &*text(path))]).unwrap();
    let graph = bound("pictures/a.png");
    assert!(trial::inspect(&graph, SAMPLES).is_empty());
    assert_eq!(faults(&tried(&graph).await), [""; 0]);
    for (path, said) in [
        ("gone.png", "cannot read"),
        ("pictures", "is no file"),
        ("builtin:dto.png", "did you mean `dot.png`?"),
    ] {
        let graph = bound(path);
        let missing = trial::inspect(&graph, SAMPLES);
        assert_eq!(places(&missing), [(file, 22, 11)], "{missing}");
        assert!(missing.to_string().contains(said), "{missing}");
        let verdict = tried(&graph).await;
        assert_eq!((verdict.faults.len(), verdict.status), (1, None), "{path}");
    }
}

#[test]
fn what_a_test_names_has_to_be_there() {
    let word = "request.word = \"yes\"\n";
    for (test, place, said) in [
        (
            "requst.word = \"yes\"",
            (21, 1),
            &["unknown key `requst`", "did you mean `request`?"][..],
        ),
        (
            "mock.mesure = {}",
            (22, 6),
            &["no stage named `mesure`", "did you mean `measure`?"],
        ),
        (
            "mock.measure = { sise = 1 }",
            (22, 18),
            &["has no output `sise`", "did you mean `size`?"],
        ),
        ("mock.measure = 3", (22, 16), &["expected a table"]),
        (
            "fail.measure = \"away\"",
            (22, 16),
            &["\"away\" is no kind of error", "unavailable"],
        ),
        ("fail.show = \"bsuy\"", (22, 13), &["did you mean `busy`?"]),
        (
            "request.wrod = 1",
            (22, 9),
            &["has no field `wrod`", "did you mean `word`?"],
        ),
        (
            "expect.ran = [\"firts\"]",
            (22, 15),
            &["did you mean `first`?"],
        ),
        (
            "expect.skipped.firts = \"\"",
            (22, 16),
            &["did you mean `first`?"],
        ),
        ("expect.stauts = 200", (22, 8), &["did you mean `status`?"]),
        (
            "expect.status = 404",
            (22, 17),
            &["has the status 404", "expected one of: 200, 400"],
        ),
        (
            "expect.answer.sieze = 1",
            (22, 15),
            &["response field `sieze`", "did you mean `size`?"],
        ),
        (
            "expect.answer.top = { siz = 1 }",
            (22, 23),
            &["unknown key `siz`", "did you mean `size`?"],
        ),
        (
            "expect = { status = 503, answer.detial = \"\" }",
            (22, 33),
            &[
                "a request that fails has no field `detial`",
                "did you mean `detail`?",
            ],
        ),
    ] {
        let test = if test.starts_with("requst") {
            format!("{test}\nexpect.status = 422")
        } else {
            format!("{word}{test}")
        };
        mistake(&test, place, said);
    }
}

#[test]
fn values_have_to_be_of_their_type() {
    let word = "request.word = \"yes\"\n";
    for (test, place, said) in [
        (
            "mock.measure.size = \"large\"",
            (22, 21),
            "`size` of stage `measure`: expected a number",
        ),
        (
            "mock.measure.sure = \"maybe\"",
            (22, 21),
            "expected true or false",
        ),
        (
            "mock.measure.top = [{ label = 1 }]",
            (22, 20),
            "expected list of",
        ),
        ("mock.measure.scores = { cat = 2 }", (22, 23), "from 0 to 1"),
        ("mock.measure.vector = [1, 2]", (22, 23), "model = "),
        (
            "mock.measure.pixels = {}",
            (22, 23),
            "pixels cannot be written",
        ),
        (
            "expect.status = \"fine\"",
            (22, 17),
            "expected a whole number",
        ),
        (
            "expect.ran = \"first\"",
            (22, 14),
            "expected a list of stages",
        ),
        (
            "expect.skipped = 1",
            (22, 18),
            "expected a list of stages, or a table",
        ),
        ("expect.answer = []", (22, 17), "expected a table"),
        (
            "expect.answer.seen = 3",
            (22, 22),
            "`seen` is of type text: that never holds of it",
        ),
        (
            "expect.answer.size = { at_least = \"much\" }",
            (22, 35),
            "expected a number",
        ),
        (
            "expect.answer.size = { about = 1 }",
            (22, 32),
            "within how much?",
        ),
        ("expect.answer.size = { within = 1 }", (22, 33), "of what?"),
        (
            "expect.answer.size = { about = 1, within = -1 }",
            (22, 44),
            "at least 0",
        ),
        (
            "expect.answer.top = { about = \"cat\", within = 1 }",
            (22, 31),
            "expected a number",
        ),
        ("expect.answer.top = {}", (22, 21), "expects nothing"),
        (
            "expect.answer.\"top[x]\" = 1",
            (22, 15),
            "no place of an answer",
        ),
        (
            "expect.answer.top.label = \"cat\"",
            (22, 19),
            "a place of its own, \"top.label\"",
        ),
        (
            "expect = { status = 200, error = \"busy\" }",
            (22, 34),
            "is no error",
        ),
        (
            "expect = { ran = [\"show\"], skipped = [\"show\"] }",
            (22, 39),
            "to run and to be skipped",
        ),
        (
            "mock.first = {}\nfail.first = \"busy\"",
            (23, 6),
            "has a mock and is to fail",
        ),
        ("picture = 3", (22, 11), "expected a string"),
    ] {
        mistake(&format!("{word}{test}"), place, &[said]);
    }
    // A request that would be refused, where the test is not about that.
    mistake(
        "request.word = \"far too long\"",
        (21, 16),
        &["is refused: word: 12 characters"],
    );
    mistake(
        "request.count = 1",
        (20, 8),
        &["lacks `word`, which is required"],
    );
    mistake(
        "request = { word = \"a\", file = 3 }",
        (21, 32),
        &["for it is a file"],
    );
    mistake(
        "request = { word = \"a\", said = \"png\" }",
        (21, 32),
        &["expected a media type"],
    );
}

#[test]
fn a_test_has_a_name_of_its_own_and_a_file_not_too_many_of_them() {
    let twice = "request.word = \"a\"\n[[test]]\nname = \"t\"\nrequest.word = \"b\"";
    mistake(
        twice,
        (23, 8),
        &["two tests are called \"t\", the other at line 20"],
    );
    let table = format!("{PIPELINE}[test]\nname = \"t\"\n");
    let mistakes = bind(&registry(kinds()), &table).unwrap_err();
    assert!(
        mistakes.to_string().contains("written [[test]]"),
        "{mistakes}"
    );
    let nameless = format!("{PIPELINE}[[test]]\nrequest.word = \"a\"\n");
    let mistakes = bind(&registry(kinds()), &nameless).unwrap_err();
    assert!(
        mistakes.to_string().contains("a test has no `name`"),
        "{mistakes}"
    );
    let many = format!("{PIPELINE}{}", "[[test]]\n".repeat(257));
    let mistakes = bind(&registry(kinds()), &many).unwrap_err();
    assert!(
        mistakes.to_string().contains("257 tests: at most 256"),
        "{mistakes}"
    );
    let file = "request.word = \"a\"\npicture = \"builtin:dot.png\"\nrequest.file = \"x\"";
    mistake(
        file,
        (22, 11),
        &["the field `file` is given in `request` too"],
    );
}

#[test]
fn tests_are_not_inherited() {
    let base = with("request.word = \"yes\"\nexpect.answer.seen = \"one\"");
    let over = "extends = \"base.toml\"\n[[stage]]\nname = \"show\"\nif = \"false\"\n";
    let files = [("over.toml", over), ("base.toml", &*base)];
    let graph = bind_layers(&registry(kinds()), &files).unwrap();
    assert_eq!(graph.file.cases.len(), 0);
    let own = format!("{over}[[test]]\nname = \"mine\"\nrequest.word = \"yes\"\n");
    let files = [("over.toml", &*own), ("base.toml", &*base)];
    let graph = bind_layers(&registry(kinds()), &files).unwrap();
    let names = graph.file.cases.iter().map(|case| case.name.get_ref());
    assert_eq!(names.collect::<Vec<_>>(), ["mine"]);
    // Mistakes in them are those of the file below alone.
    let wrong = base.replace("expect.", "expct.");
    let files = [("over.toml", over), ("base.toml", &*wrong)];
    assert!(bind_layers(&registry(kinds()), &files).is_ok());
}

#[test]
fn no_stage_has_a_key_in_a_trial() {
    let toml = format!(
        "{PIPELINE}[[stage]]\nuses = \"asks\"\nwith = {{ api_key = \"sk-1\" }}\n\
         [[test]]\nname = \"t\"\nrequest.word = \"a\"\n"
    );
    let graph = bind(&registry(kinds()), &toml).unwrap();
    let prepared = trial::prepared(&graph, &graph.file.cases[0]);
    let key = |graph: &Graph| graph.file.stages[3].options.value("api_key").clone();
    assert_eq!((key(&graph), key(&prepared)), (json!("sk-1"), json!("")));
}
