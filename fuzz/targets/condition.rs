//! A condition over what a client sent: the first line is the expression, the rest JSON. What passes
//! the check never fails a request, holds or not for good, and not together with its opposite.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::SourceText;
use engine::pipeline::graph::Graph;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::{
    Call, Error, Inputs, Observed, Options, Output, Outputs, PortType, Ports, Runner, Stage,
    StageKind, StageSpec, Value,
};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// The fields of the request, and of what type each is.
const FIELDS: [(&str, PortType); 6] = [
    ("j", PortType::Json),
    ("t", PortType::Text),
    ("n", PortType::Number),
    ("i", PortType::Integer),
    ("b", PortType::Bool),
    ("l", PortType::TextList),
];

/// Says that it ran.
struct Mark {
    spec: StageSpec,
}

struct Marking;

impl Observed for Marking {}

impl Stage for Marking {
    fn run(&self, _: &Inputs, _: &Call) -> Result<Outputs, Error> {
        Ok(Outputs::new().put("mark", true))
    }
}

impl StageKind for Mark {
    fn spec(&self) -> &StageSpec {
        &self.spec
    }

    fn ports(&self, _: &Options) -> Ports {
        let mark = Output::new("mark", PortType::Bool, "that it ran");
        Ports::new([], [mark.published(json!(false))])
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Ok(Runner::inline(Marking))
    }
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let spec = StageSpec::new("mark", "says that it ran", []);
        Registry::new([Arc::new(Mark { spec }) as _]).expect("one name")
    })
}

fn environment(name: &str) -> Option<String> {
    (name.len() < 3).then(|| format!("'{name}' || true"))
}

pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let (expression, sent) = text.split_once('\n').unwrap_or((text, ""));
    let graph = match bind(&[expression]) {
        Ok(graph) => graph,
        Err(shown) => {
            super::check_message(&shown, 64 << 10);
            return false;
        }
    };
    let sent: Json = serde_json::from_str(sent).unwrap_or(Json::Null);
    let holds = answer(graph, &sent, &["a"]);
    let opposite = format!("!({expression})");
    // Longer than a condition may be, or deeper, or half of it is a comment.
    if let Ok(graph) = bind(&[expression, &opposite]) {
        let both = answer(graph, &sent, &["a", "b"]);
        assert_eq!(both[0], holds[0], "it held once of two times");
        assert!(!(both[0] && both[1]), "it holds, and so does its opposite");
    }
    true
}

/// A pipeline with a stage for each condition; else what is wrong, as people see it.
fn bind(conditions: &[&str]) -> Result<Graph, String> {
    let mut text = "[pipeline]\nname = \"fuzzed\"\n[request]\n".to_owned();
    for (name, ty) in FIELDS {
        text.push_str(&format!("{name} = {{ type = \"{ty}\" }}\n"));
    }
    for (condition, name) in conditions.iter().zip(["a", "b"]) {
        let condition = toml::Value::from(*condition);
        text.push_str(&format!(
            "[[stage]]\nuses = \"mark\"\nname = \"{name}\"\npublish = {{ mark = \"{name}\" }}\nif = {condition}\n"
        ));
    }
    let source = SourceText::new("fuzzed.toml", text);
    let graphs = bind_all(&[source], registry(), &environment);
    graphs
        .map(|mut graphs| graphs.remove(0))
        .map_err(|mistakes| mistakes.to_string())
}

/// Which of the stages ran.
fn answer(graph: Graph, sent: &Json, names: &[&str]) -> Vec<bool> {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let compute = Arc::new(Semaphore::new(1));
            let pipeline = Pipeline::build(graph, compute)
                .await
                .expect("nothing to build");
            let of_type = |name: &str| -> Option<Value> {
                let (_, ty) = FIELDS.iter().find(|(field, _)| *field == name)?;
                match ty {
                    PortType::Json => (!sent.is_null()).then(|| Value::from(sent.clone())),
                    ty => ty.value_of(sent.get(name)?),
                }
            };
            let values = pipeline.request_values(of_type);
            let deadline = Instant::now() + Duration::from_secs(60);
            let finished = pipeline.run(values, "fuzzed".into(), deadline).await;
            let answer = finished
                .result
                .unwrap_or_else(|failure| panic!("a condition failed a request: {failure:?}"));
            let ran = |name: &&str| match answer.get(*name) {
                Some(Json::Bool(ran)) => *ran,
                other => panic!("`{name}` is {other:?}"),
            };
            names.iter().map(ran).collect()
        })
    })
}
