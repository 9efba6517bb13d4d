//! Kinds of stages made for tests: ports and behaviour as values.

use std::borrow::Cow;
use std::sync::Arc;

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, Input, Inputs, OptionSpec, Options, Output, Outputs,
    PortType, Ports, Runner, Stage, StageKind, StageSpec,
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
            },
            ports: Ports { inputs, outputs },
            runner,
        }
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

    fn build<'a>(&'a self, _options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async { Ok(self.runner.clone()) })
    }
}

type Behaviour = dyn Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync;

struct Function(Box<Behaviour>);

impl Stage for Function {
    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        (self.0)(inputs, call)
    }
}

pub(crate) fn inline(
    behaviour: impl Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync + 'static,
) -> Runner {
    Runner::Inline(Arc::new(Function(Box::new(behaviour))))
}

pub(crate) fn compute(
    behaviour: impl Fn(&Inputs, &Call) -> Result<Outputs, Error> + Send + Sync + 'static,
) -> Runner {
    Runner::Compute(Arc::new(Function(Box::new(behaviour))))
}

type AsyncBehaviour =
    dyn Fn(Inputs, Call) -> BoxFuture<'static, Result<Outputs, Error>> + Send + Sync;

struct AsyncFunction(Box<AsyncBehaviour>);

impl AsyncStage for AsyncFunction {
    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        (self.0)(inputs.clone(), call.clone())
    }
}

pub(crate) fn waiting<F>(behaviour: impl Fn(Inputs, Call) -> F + Send + Sync + 'static) -> Runner
where
    F: Future<Output = Result<Outputs, Error>> + Send + 'static,
{
    let boxed = move |inputs, call| -> BoxFuture<'static, _> { Box::pin(behaviour(inputs, call)) };
    Runner::Async(Arc::new(AsyncFunction(Box::new(boxed))))
}

/// Gives `port` the value of `text` when it runs.
pub(crate) fn gives(name: &'static str, port: &'static str, text: &'static str) -> TestKind {
    TestKind::new(
        name,
        vec![],
        vec![Output::new(port, PortType::Text, "text").published(serde_json::Value::Null)],
        inline(move |_, _| Ok(Outputs::new().with(port, text))),
    )
}

/// Publishes what it sees at `port` as `seen`.
pub(crate) fn shows(name: &'static str, port: &'static str) -> TestKind {
    let text = Output::new("seen", PortType::Text, "what it saw");
    TestKind::new(
        name,
        vec![Input::required(port, PortType::Text, "text")],
        vec![text.published(serde_json::json!("neutral"))],
        inline(move |inputs, _| Ok(Outputs::new().with("seen", inputs.text(port)?.clone()))),
    )
}

pub(crate) fn registry(kinds: Vec<TestKind>) -> Registry {
    Registry::new(
        kinds
            .into_iter()
            .map(|kind| Arc::new(kind) as Arc<dyn StageKind>),
    )
    .unwrap()
}

pub(crate) fn bind(registry: &Registry, toml: &str) -> Result<Graph, Diagnostics> {
    let source = SourceText::new("test.toml", toml);
    let mut graphs = bind_all(&[source], registry, &|_| None)?;
    Ok(graphs.remove(0))
}

/// A pipeline of that text, over these kinds, with two places for computing stages.
pub(crate) async fn pipeline(kinds: Vec<TestKind>, toml: &str) -> Pipeline {
    let graph = bind(&registry(kinds), toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Pipeline::build(graph, Arc::new(Semaphore::new(2)))
        .await
        .unwrap()
}
