//! A pipeline tried by the tests of its own file: a request is made of what a test says and sent
//! through the stages as a client's would be, and what came of it is held against what the test
//! expects.
//!
//! A stage that a test mocks is another kind of the same ports in the same place ([`prepared`]):
//! when it runs is for the pipeline to say, what it gives for the test. No stage is known by its
//! name here, and nothing is opened but what the stages open that run.

mod answer;
mod files;
mod mock;
mod request;
mod verdict;

use std::time::Instant;

use serde_json::Value as Json;

pub use self::files::{MAX_PICTURE_LEN, Samples, inspect};
pub use self::mock::prepared;
pub use self::verdict::Verdict;

use self::answer::{Came, answer};
use self::request::{Ports, Runs};
use super::build::Pipeline;
use super::case::Case;
use super::run::{Finished, StageFailure};

/// What logs call the request of a test.
const REQUEST_ID: &str = "test";

/// Tries a pipeline that was built of a graph that was [`prepared`] for this test.
pub async fn run(pipeline: &Pipeline, case: &Case, samples: Samples<'_>) -> Verdict {
    let file = &pipeline.graph.file;
    let mut traces = Vec::new();
    let deadline = Instant::now() + file.deadline;
    let values = |ports: &Ports| pipeline.request_values(|port| ports.get(port).cloned());
    let result = match request::read(file, case, samples) {
        Err(fault) => {
            return Verdict {
                faults: vec![*fault],
                status: None,
                answer: Json::Null,
                traces,
            };
        }
        Ok(Err(error)) => Err(StageFailure { stage: None, error }),
        Ok(Ok(Runs::One(ports))) => {
            let run = pipeline.run(values(&ports), REQUEST_ID.into(), deadline);
            let Finished { result, trace } = run.await;
            traces.push(trace);
            result.map(Came::One)
        }
        Ok(Ok(Runs::Each(items))) => {
            let items = items
                .into_iter()
                .map(|item| item.map(|ports| values(&ports)));
            let run = pipeline.run_each(items.collect(), REQUEST_ID.into(), deadline);
            let finished = run.await;
            traces = finished.traces;
            finished.result.map(Came::Each)
        }
    };
    let answered = answer(&pipeline.graph, result);
    verdict::of(&pipeline.graph, case, answered, traces)
}
