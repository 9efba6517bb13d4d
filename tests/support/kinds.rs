//! Kinds of stages made for tests: ports and behaviour as values.

use std::borrow::Cow;
use std::sync::Arc;

use engine::pipeline::all::{bind_all, bind_each};
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::layers::Layers;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::{
    AsyncStage, Call, Error, Input, Inputs, Kind, Observed, OptionSpec, Options, Output, Outputs,
    PortType, Ports, Runner, Stage, StageKind, StageSpec, Value,
};
use tokio::sync::Semaphore;

/// A kind whose instances all do the same.
pub(crate) struct TestKind {
    spec: StageSpec,
    ports: Ports,
    runner: Runner,
}

impl TestKind {
    pub(crate) fn new(
        name: &'static str,
        inputs: Vec<Input>,
        outputs: Vec<Output>,
        runner: Runner,
    ) -> Self {
        Self {
            spec: StageSpec {
                name: Cow::Borrowed(name),
                doc: Cow::Borrowed("a stage of a test"),
                options: Vec::new(),
                feature: None,
                is_pure: false,
            },
            ports: Ports::new(inputs, outputs),
            runner,
        }
    }

    pub(crate) fn pure(mut self) -> Self {
        self.spec.is_pure = true;
        self
    }

    pub(crate) fn with_options(mut self, options: Vec<OptionSpec>) -> Self {
        self.spec.options = options;
        self
    }
}

impl StageKind for TestKind {
    fn spec(&self) -> &StageSpec {
        &self.spec
    }

    fn ports(&self, _options: &Options) -> Ports {
        self.ports.clone()
    }

    async fn build(&self, _options: &Options) -> Result<Runner, Error> {
        Ok(self.runner.clone())
    }
}

type Behaviour = dyn Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync;

struct Function(Box<Behaviour>);

impl Observed for Function {}

impl Stage for Function {
    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        (self.0)(inputs, call)
    }
}

pub(crate) fn inline(
    behaviour: impl Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync + 'static,
) -> Runner {
    Runner::inline(Function(Box::new(behaviour)))
}

pub(crate) fn compute(
    behaviour: impl Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync + 'static,
) -> Runner {
    Runner::compute(Function(Box::new(behaviour)))
}

struct AsyncFunction<B>(B);

impl<B: Send + Sync> Observed for AsyncFunction<B> {}

impl<B, F> AsyncStage for AsyncFunction<B>
where
    B: Fn(Inputs, Call) -> F + Send + Sync,
    F: Future<Output = Result<Outputs, Error>> + Send,
{
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        (self.0)(inputs, call.clone()).await
    }
}

pub(crate) fn waiting<F>(behaviour: impl Fn(Inputs, Call) -> F + Send + Sync + 'static) -> Runner
where
    F: Future<Output = Result<Outputs, Error>> + Send + 'static,
{
    Runner::waits(AsyncFunction(behaviour))
}

/// The string at a port that must have one.
#[track_caller]
pub(crate) fn text(inputs: &Inputs, name: &str) -> Arc<str> {
    match inputs.value(name) {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("the input `{name}` is {other:?}"),
    }
}

/// The number at a port that must have one.
#[track_caller]
pub(crate) fn number(inputs: &Inputs, name: &str) -> f64 {
    match inputs.value(name) {
        Some(Value::Number(number)) => *number,
        other => panic!("the input `{name}` is {other:?}"),
    }
}

/// Gives `port` the value of `text` when it runs.
pub(crate) fn gives(name: &'static str, port: &'static str, text: &'static str) -> TestKind {
    TestKind::new(
        name,
        vec![],
        vec![Output::new(port, PortType::Text, "text").published(serde_json::Value::Null)],
        inline(move |_, _| Ok(Outputs::new().put(port, text))),
    )
}

/// Publishes what it sees at `port` as `seen`.
pub(crate) fn shows(name: &'static str, port: &'static str) -> TestKind {
    let seen = Output::new("seen", PortType::Text, "what it saw");
    TestKind::new(
        name,
        vec![Input::required(port, PortType::Text, "text")],
        vec![seen.published(serde_json::json!("neutral"))],
        inline(move |inputs, _| Ok(Outputs::new().put("seen", text(inputs, port)))),
    )
}

pub(crate) fn registry(kinds: Vec<TestKind>) -> Registry {
    Registry::new(
        kinds
            .into_iter()
            .map(|kind| Arc::new(kind) as Arc<dyn Kind>),
    )
    .unwrap()
}

pub(crate) fn bind(registry: &Registry, toml: &str) -> Result<Graph, Diagnostics> {
    let source = SourceText::new("test.toml", toml);
    let mut graphs = bind_all(&[source], registry, &|_| None)?;
    Ok(graphs.remove(0))
}

/// Binds the first of these files, each a name and a text; it may extend any of them.
pub(crate) fn bind_layers(
    registry: &Registry,
    files: &[(&str, &str)],
) -> Result<Graph, Diagnostics> {
    let find = |wanted: &str, _by: &str| {
        let found = files.iter().find(|(name, _)| *name == wanted);
        let found = found.map(|(name, text)| SourceText::new(*name, *text));
        found.ok_or_else(|| format!("there is no {wanted}"))
    };
    let (name, text) = files[0];
    let source = SourceText::new(name, text);
    let (layers, mistakes) = Layers::parse(&source, &|_| None, &find);
    let layers = layers.iter().map(|layers| (layers, registry));
    let mut graphs = bind_each(layers, &|_| None, mistakes)?;
    Ok(graphs.remove(0))
}

/// The file, line and column of each mistake, in their order.
pub(crate) fn places(mistakes: &Diagnostics) -> Vec<(&str, usize, usize)> {
    let places = mistakes.iter().map(|mistake| mistake.place());
    places
        .map(|place| (&**place.file, place.line, place.column))
        .collect()
}

/// A pipeline of that text, over these kinds, with two places for computing stages.
pub(crate) async fn pipeline(kinds: Vec<TestKind>, toml: &str) -> Pipeline {
    let graph = bind(&registry(kinds), toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Pipeline::build(graph, Arc::new(Semaphore::new(2)))
        .await
        .unwrap()
}
