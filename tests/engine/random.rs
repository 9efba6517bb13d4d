//! Random pipelines and random requests. What passes the check never answers 500 and never lacks
//! what it must have; what is broken on purpose is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::request::Field;
use engine::pipeline::{Pipeline, Registry};
use fastrand::Rng;
use omnizap_contract::{Error, ErrorKind, Input, Output, Outputs, PortType, Value};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use crate::support::kinds::{TestKind, inline, registry};

const PIPELINES: usize = 20_000;
const REQUESTS: usize = 3;
const SEED: u64 = 2026;

/// What the response shows of a stage that gave nothing; no stage gives it.
const NEUTRAL: &str = "nothing of it";

fn text_input(name: &'static str) -> Input {
    Input::optional(name, PortType::Text, "text")
}

fn shown(name: &'static str) -> Output {
    Output::new(name, PortType::Text, "text").published(json!(NEUTRAL))
}

fn kinds() -> Vec<TestKind> {
    let words = inline(|inputs, _| {
        let theme = inputs.value("theme").map(Value::to_json);
        let words = theme.map_or("none".to_owned(), |theme| theme.to_string());
        Ok(Outputs::new().put("words", words))
    });
    let need = inline(|_, _| Ok(Outputs::new().put("needed", "given")));
    let flag = inline(|inputs, _| {
        let flag = matches!(inputs.value("n"), Some(Value::Number(n)) if *n > 0.5);
        Ok(Outputs::new().put("flag", flag))
    });
    let measure = inline(|inputs, _| {
        let Some(Value::Number(n)) = inputs.value("n") else {
            return Ok(Outputs::new());
        };
        Ok(Outputs::new().put("score", *n))
    });
    let items = inline(|inputs, _| {
        let at = inputs.value("i").map(Value::to_json);
        let items = json!([{"name": "a", "at": at}, {"name": "b", "at": null}]);
        Ok(Outputs::new().put("items", Value::from(items)))
    });
    let tone = inline(|inputs, _| {
        let labels = match inputs.value("labels") {
            Some(Value::TextList(labels)) => labels.clone(),
            _ => Arc::from([Arc::from("own")]),
        };
        let tone = labels.join(" ");
        let labels = Value::TextList(labels);
        Ok(Outputs::new().put("labels", labels).put("tone", tone))
    });
    let shaky = inline(|inputs, _| {
        let kind = match inputs.value("i") {
            Some(Value::Integer(i)) => match i.rem_euclid(5) {
                1 => ErrorKind::Unavailable,
                2 => ErrorKind::Invalid,
                3 => ErrorKind::Deadline,
                4 => ErrorKind::Busy,
                _ => return Ok(Outputs::new().put("steady", "steady")),
            },
            _ => return Ok(Outputs::new().put("steady", "steady")),
        };
        Err(Error::new(kind, "shaken").with_retry_after(Duration::from_secs(9)))
    });
    let mut shaped = Output::new("items", PortType::Json, "items").published(json!([]));
    shaped.shape = r#"[{"name": "text", "at": "integer?"}]"#.parse().unwrap();
    let mut echo = Output::new("labels", PortType::TextList, "labels").published(json!([]));
    echo.is_echo = true;
    let number = || Input::optional("n", PortType::Number, "number");
    let integer = || Input::optional("i", PortType::Integer, "integer");
    let score = Output::new("score", PortType::Number, "score").published(json!(-1.0));
    vec![
        TestKind::new(
            "words",
            vec![text_input("theme")],
            vec![shown("words")],
            words,
        ),
        TestKind::new(
            "need",
            vec![Input::required("words", PortType::Text, "text")],
            vec![shown("needed")],
            need,
        ),
        TestKind::new(
            "flag",
            vec![number()],
            vec![Output::new("flag", PortType::Bool, "flag").published(json!(NEUTRAL))],
            flag,
        ),
        TestKind::new("measure", vec![number()], vec![score.optional()], measure),
        TestKind::new("items", vec![integer()], vec![shaped], items),
        TestKind::new(
            "tone",
            vec![Input::optional("labels", PortType::TextList, "labels")],
            vec![echo, shown("tone")],
            tone,
        ),
        TestKind::new("shaky", vec![integer()], vec![shown("steady")], shaky),
    ]
}

/// What a stage of that kind gives.
fn given(kind: &str) -> &'static str {
    match kind {
        "words" => "words",
        "need" => "needed",
        "flag" => "flag",
        "measure" => "score",
        "items" => "items",
        "tone" => "tone",
        _ => "steady",
    }
}

const FIELDS: [(&str, &str); 6] = [
    ("theme", "text"),
    ("n", "number"),
    ("i", "integer"),
    ("b", "bool"),
    ("labels", "text_list"),
    ("j", "json"),
];

struct Maker {
    rng: Rng,
}

/// A pipeline file, and where its parts begin.
struct Made {
    text: String,
    require: String,
    stages: Vec<&'static str>,
}

impl Maker {
    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.rng.usize(..of.len())]
    }

    fn flip(&mut self, one_in: usize) -> bool {
        self.rng.usize(..one_in) == 0
    }

    fn pipeline(&mut self) -> Made {
        let mut text = String::from("[pipeline]\nname = \"t\"\n[request]\n");
        for (name, ty) in FIELDS {
            if self.flip(5) {
                continue;
            }
            let default = match ty {
                "text" => "'a'",
                "number" => "0.6",
                "integer" => "5",
                "bool" => "true",
                "text_list" => "['a', 'b']",
                _ => "",
            };
            let more = match self.rng.usize(..4) {
                0 => ", required = true".to_owned(),
                1 if ty != "json" => format!(", default = {default}"),
                _ => String::new(),
            };
            text.push_str(&format!("{name} = {{ type = \"{ty}\"{more} }}\n"));
        }
        let kinds = ["words", "need", "flag", "measure", "items", "tone", "shaky"];
        let count = 2 + self.rng.usize(..5);
        let mut stages = Vec::new();
        let mut body = String::new();
        for index in 0..count {
            let kind = kinds[self.rng.usize(..kinds.len())];
            body.push_str(&format!(
                "[[stage]]\nuses = \"{kind}\"\nname = \"s{index}\"\n"
            ));
            if self.flip(4) {
                let enabled = ["false", "true", "\"${ON:-true}\"", "\"${OFF:-true}\""];
                body.push_str(&format!("enabled = {}\n", self.one(&enabled)));
            }
            if self.flip(2) {
                let condition = self.condition(&stages, 2);
                body.push_str(&format!("if = \"\"\"{condition}\"\"\"\n"));
            }
            if self.flip(3) {
                let on_error = self.one(&["fail", "skip", "skip all"]);
                body.push_str(&format!("on_error = \"{on_error}\"\n"));
            }
            if self.flip(6) {
                body.push_str("run = \"on demand\"\n");
            }
            if self.flip(6) {
                body.push_str("retry = 2\ntimeout_ms = 1000\n");
            }
            if self.flip(5) {
                body.push_str(&format!("publish = {{ {} = \"p{index}\" }}\n", given(kind)));
            }
            if kind == "need" && self.flip(4) {
                let from = stages.iter().rposition(|kind| *kind == "words");
                let from = from.map_or("s9.words".to_owned(), |from| format!("s{from}.words"));
                body.push_str(&format!("inputs = {{ words = \"{from}\" }}\n"));
            }
            if kind == "tone" && self.flip(4) {
                body.push_str("inputs = { labels = \"none\" }\n");
            }
            stages.push(kind);
        }
        let mut require = Vec::new();
        for (index, kind) in stages.iter().enumerate() {
            if self.flip(4) {
                let renamed = body.contains(&format!("\"p{index}\""));
                let field = given(kind);
                require.push(if renamed {
                    format!("\"p{index}\"")
                } else {
                    format!("\"{field}\"")
                });
            }
        }
        let require = format!("[response]\nrequire = [{}]\n", require.join(", "));
        Made {
            text: format!("{text}{body}"),
            require,
            stages,
        }
    }

    fn condition(&mut self, before: &[&str], depth: usize) -> String {
        if depth > 0 && !self.flip(3) {
            let (a, b) = (
                self.condition(before, depth - 1),
                self.condition(before, depth - 1),
            );
            return match self.rng.usize(..4) {
                0 => format!("({a} && {b})"),
                1 => format!("({a} || {b})"),
                2 => format!("!({a})"),
                _ => format!("({a} ? {b} : {a})"),
            };
        }
        if !before.is_empty() && self.flip(2) {
            let index = self.rng.usize(..before.len());
            let (stage, port) = (format!("s{index}"), given(before[index]));
            return match (before[index], self.rng.usize(..4)) {
                (_, 0) => format!("{stage}.ran"),
                ("flag", 1) => format!("({stage}.ran && !{stage}.flag)"),
                ("flag", 2) => "flag == false".to_owned(),
                ("flag", _) => "!flag".to_owned(),
                ("measure", 1) => "score != null && score > 0.5".to_owned(),
                ("measure", 2) => "score.orValue(0.0) < 0.5".to_owned(),
                ("measure", _) => "score > 0.5".to_owned(),
                ("items", 1) => "items.orValue([]).exists(x, x.at == i)".to_owned(),
                ("items", 2) => format!("{stage}.ran && {stage}.items[0].name == 'a'"),
                ("items", _) => "items[3].at > 1".to_owned(),
                (_, 1) => format!("{port}.contains('a')"),
                (_, 2) => format!("has({port}) && {port}.startsWith('a')"),
                _ => format!("{stage}.{port} == 'a'"),
            };
        }
        let simple = [
            "theme == 'a'",
            "theme != null && theme.contains('a')",
            "theme.startsWith('a')",
            "n > 0.5",
            "n != null && n / 2.0 > 0.1",
            "i + 1 > 0",
            "i != null && 10 / i > 1",
            "i.orValue(0) * 2 > i.orValue(1)",
            "b",
            "b == true",
            "'a' in labels",
            "labels != null && labels.exists(l, l == 'a')",
            "labels[1] == 'b'",
            "j.a == 1",
            "has(j.a) && j.a > 1",
            "j.list.exists(x, x == j.b)",
            "request.theme == '${KEY}'",
            "n.orValue(0.0) < ${LIMIT:-0.5}",
        ];
        self.one(&simple).to_owned()
    }

    fn raw(&mut self, field: &Field) -> Option<&'static str> {
        if self.flip(3) {
            return None;
        }
        let values: &[&str] = match field.ty {
            PortType::Text => &["a", "ab", "zebra", " ", "'"],
            PortType::Number => &["0.1", "0.6", "1e308", "-0.0", "x", "nan"],
            PortType::Integer => &[
                "0",
                "1",
                "2",
                "3",
                "4",
                "5",
                "9223372036854775807",
                "-9223372036854775808",
                "1.5",
            ],
            PortType::Bool => &["true", "false", "maybe"],
            PortType::TextList => &["a", "a,b", "[]", "[\"b\"]", "["],
            _ => &[
                "{}",
                "{\"a\": 1}",
                "{\"a\": \"x\"}",
                "[1]",
                "null",
                "{\"list\": [1, 2], \"b\": 2}",
            ],
        };
        Some(values[self.rng.usize(..values.len())])
    }

    /// The values of a random request; [`None`] for one that is refused as it is.
    fn request(&mut self, graph: &Graph) -> Option<Vec<Option<Value>>> {
        let mut values = Vec::new();
        for field in &graph.file.request {
            let value = match self.raw(field) {
                None => None,
                Some(text) => match field.value_of_text(text) {
                    Ok(value) => value,
                    Err(error) => {
                        assert!(error.kind().is_of_client(), "{text}: {error}");
                        return None;
                    }
                },
            };
            let value = value.or_else(|| field.default.clone());
            if value.is_none() && field.required {
                return None;
            }
            values.push(value);
        }
        Some(values)
    }
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "OFF" => "false",
        "KEY" => "it's || true",
        _ => return None,
    };
    Some(value.to_owned())
}

fn bind(registry: &Registry, text: &str) -> Result<Graph, Diagnostics> {
    let source = SourceText::new("t.toml", text);
    bind_all(&[source], registry, &environment).map(|mut graphs| graphs.remove(0))
}

#[tokio::test]
async fn what_passes_the_check_answers_every_request_with_all_that_it_must_have() {
    let registry = registry(kinds());
    let mut maker = Maker {
        rng: Rng::with_seed(SEED),
    };
    let compute = Arc::new(Semaphore::new(1));
    let (mut passed, mut answered, mut failed) = (0, 0, 0);
    for _ in 0..PIPELINES {
        let made = maker.pipeline();
        // What a file requires may have no stage that gives it.
        let required = format!("{}{}", made.text, made.require);
        let bound = bind(&registry, &required);
        let (text, bound) = match bound {
            Err(_) => (&made.text, bind(&registry, &made.text)),
            bound => (&required, bound),
        };
        let Ok(graph) = bound else {
            continue;
        };
        passed += 1;
        let pipeline = Pipeline::build(graph, compute.clone()).await.unwrap();
        for _ in 0..REQUESTS {
            let Some(values) = maker.request(&pipeline.graph) else {
                continue;
            };
            let sent = format!("{values:?}");
            let deadline = Instant::now() + Duration::from_secs(10);
            let finished = pipeline.run(values, "random".into(), deadline).await;
            match finished.result {
                Err(failure) => {
                    failed += 1;
                    assert_ne!(
                        failure.error.kind(),
                        ErrorKind::Internal,
                        "{text}\n{sent}: {failure:?}"
                    );
                }
                Ok(answer) => {
                    answered += 1;
                    for field in &pipeline.graph.file.require {
                        let value = &answer[field.get_ref().as_str()];
                        let is_neutral = *value == json!(NEUTRAL)
                            || *value == json!(-1.0)
                            || *value == Json::Null;
                        assert!(!is_neutral, "{text}\n{sent}: {answer:?}");
                    }
                }
            }
        }
    }
    assert!(passed > PIPELINES / 8, "{passed} pipelines passed");
    assert!(
        answered > PIPELINES / 8 && failed > 100,
        "{answered} answered, {failed} failed"
    );
}

#[test]
fn what_is_broken_is_refused_wherever_it_is() {
    let registry = registry(kinds());
    let mut maker = Maker {
        rng: Rng::with_seed(SEED + 1),
    };
    let mut refused = 0;
    for _ in 0..PIPELINES / 4 {
        let made = maker.pipeline();
        if bind(&registry, &made.text).is_err() {
            continue;
        }
        let last = made.stages.len() - 1;
        let own = given(made.stages[last]);
        let next = last + 1;
        let stage =
            |more: &str| format!("[[stage]]\nuses = \"words\"\nname = \"s{next}\"\n{more}\n");
        let broken = match maker.rng.usize(..12) {
            0 => stage("if = 'nobody > 1'"),
            1 => stage(&format!("if = 's{next}.ran'")),
            2 => stage(&format!("if = 's{last}.nothing == 1'")),
            3 => stage("if = '1 + 1'"),
            4 => stage("if = 's0.ran && 1.5'"),
            5 => stage("inputs = { theme = \"s0.nothing\" }"),
            6 => stage("inputs = { nothing = \"request.theme\" }"),
            7 => stage("publish = { nothing = \"x\" }"),
            8 => "[response]\nrequire = [\"nobody\"]\n".to_owned(),
            9 => stage("uses = \"nobody\""),
            10 => format!(
                "[[stage]]\nuses = \"need\"\nname = \"s{next}\"\ninputs = {{ words = \"s{last}.{own}\" }}\nif = 's{last}.{own} > true'\n"
            ),
            _ => stage("retry = 99"),
        };
        let text = format!("{}{broken}", made.text);
        assert!(bind(&registry, &text).is_err(), "{text}");
        refused += 1;
    }
    assert!(refused > PIPELINES / 64, "{refused} were refused");
}
