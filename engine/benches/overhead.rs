//! What the engine itself costs: a request through nine stages that do nothing, without and with
//! conditions.
//!
//! `cargo bench --bench overhead`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::SourceText;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::typed::{In, Out};
use omnizap_contract::{
    AsyncStage, Call, Error, Inputs, Kind, Observed, Options, Outputs, Ports, Runner, Stage,
    StageKind, StageSpec,
};
use tokio::sync::Semaphore;

const VALUE: In<f64> = In::required("value", "a number");
const VALUE_OUT: Out<f64> = Out::new("value", "a number").published("null").rounded(6);

/// Passes a number on.
struct Noop;

impl Observed for Noop {}

impl Stage for Noop {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        Ok(Outputs::new().with(VALUE_OUT, inputs.get(VALUE)?))
    }
}

impl AsyncStage for Noop {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        Stage::run(self, &inputs, call)
    }
}

struct NoopKind {
    spec: StageSpec,
    runner: Runner,
}

impl StageKind for NoopKind {
    fn spec(&self) -> &StageSpec {
        &self.spec
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new([VALUE.port()], [VALUE_OUT.port()])
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Ok(self.runner.clone())
    }
}

fn pipeline(runtime: &tokio::runtime::Runtime, runner: Runner, condition: &str) -> Pipeline {
    let spec = StageSpec::new("noop", "nothing", []);
    let kind: Arc<dyn Kind> = Arc::new(NoopKind { spec, runner });
    let registry = Registry::new([kind]).expect("one kind");
    let mut toml =
        "[pipeline]\nname = \"nine\"\n[request]\nvalue = { type = \"number\", default = 1.0 }\n"
            .to_owned();
    for stage in 0..9 {
        toml.push_str(&format!(
            "[[stage]]\nuses = \"noop\"\nname = \"stage-{stage}\"\n{condition}\n"
        ));
    }
    let source = SourceText::new("nine.toml", toml);
    let graph = bind_all(&[source], &registry, &|_| None)
        .expect("well-formed")
        .remove(0);
    let built = Pipeline::build(graph, Arc::new(Semaphore::new(1)));
    runtime.block_on(built).expect("nothing to fail")
}

fn overhead(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let gate = "if = \"value != null && value >= 0.5 && value <= 1.5\"";
    for (name, runner, condition) in [
        ("nine inline stages", Runner::inline(Noop), ""),
        ("nine async stages", Runner::waits(Noop), ""),
        (
            "nine inline stages with conditions",
            Runner::inline(Noop),
            gate,
        ),
    ] {
        let pipeline = pipeline(&runtime, runner, condition);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let values = pipeline.request_values(|_| None);
                let deadline = Instant::now() + Duration::from_secs(1);
                runtime.block_on(pipeline.run(black_box(values), "bench".into(), deadline))
            });
        });
    }
}

criterion_group!(benches, overhead);
criterion_main!(benches);
