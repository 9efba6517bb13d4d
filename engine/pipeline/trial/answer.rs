//! The answer of a test: what a client would see.

use serde_json::{Map, Value as Json, json};

use super::REQUEST_ID;
use crate::pipeline::answer::{of_each, of_error, of_run, told};
use crate::pipeline::case::ANSWERED;
use crate::pipeline::config::PipelineFile;
use crate::pipeline::graph::Graph;
use crate::pipeline::run::StageFailure;

/// What stages gave: the fields of the response.
type Fields = Map<String, Json>;

/// What came of a request whose stages ran.
pub(super) enum Came {
    One(Fields),
    /// Of each of its values.
    Each(Vec<Result<Fields, StageFailure>>),
}

/// An answer, or an error.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Json,
    /// Why it is an error, where it is one.
    pub(super) failure: Option<StageFailure>,
}

/// The answer to what came of a request.
pub(super) fn answer(graph: &Graph, result: Result<Came, StageFailure>) -> Answered {
    let body = match result {
        Ok(Came::One(fields)) => of_run(graph, fields, REQUEST_ID),
        Ok(Came::Each(items)) => of_each(graph, items, REQUEST_ID),
        Err(failure) => return failed(&graph.file, failure),
    };
    Answered {
        status: ANSWERED,
        body,
        failure: None,
    }
}

fn failed(file: &PipelineFile, failure: StageFailure) -> Answered {
    let error = &failure.error;
    let status = error.kind().status();
    let (status, body) = match file.answer.of_request(status, error.code()) {
        Some(form) => {
            let body = of_error(form, told(&failure), REQUEST_ID, None);
            (form.status.unwrap_or(status), body)
        }
        None => {
            let body = json!({
                "detail": error.message(), "code": error.code(), "stage": failure.stage,
            });
            (status, body)
        }
    };
    Answered {
        status,
        body,
        failure: Some(failure),
    }
}
