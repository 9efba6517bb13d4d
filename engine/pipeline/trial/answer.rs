//! What a client would see of what the stages gave: the fields of the response, or what the file
//! says that an answer and an error look like.

use serde_json::{Map, Value as Json, json};

use super::REQUEST_ID;
use crate::pipeline::case::ANSWERED;
use crate::pipeline::config::{ErrorForm, PipelineFile};
use crate::pipeline::graph::Graph;
use crate::pipeline::run::StageFailure;
use crate::pipeline::template::{self, Values};

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
        Ok(Came::One(fields)) => match &graph.file.answer.template {
            Some(template) => template.get_ref().fill(&mut values(Some(&fields))),
            None => Json::Object(fields),
        },
        Ok(Came::Each(items)) => answer_each(graph, items),
        Err(failure) => return failed(&graph.file, failure),
    };
    Answered {
        status: ANSWERED,
        body,
        failure: None,
    }
}

fn answer_each(graph: &Graph, items: Vec<Result<Fields, StageFailure>>) -> Json {
    let form = &graph.file.answer;
    let mut each = Vec::with_capacity(items.len());
    // What the whole answer says is that of the first item that went well.
    let mut first: Option<Fields> = None;
    for (index, item) in items.into_iter().enumerate() {
        each.push(match item {
            Ok(fields) => {
                let body = match &form.each {
                    Some(template) => {
                        let mut values = values(Some(&fields));
                        values.own.insert(template::INDEX.into(), index.into());
                        template.get_ref().fill(&mut values)
                    }
                    None => Json::Object(fields.clone()),
                };
                first.get_or_insert(fields);
                body
            }
            Err(failure) => {
                let (status, code) = (failure.error.kind().status(), failure.error.code());
                match form.of_item(status, code) {
                    Some(form) => filled(form, &failure, Some(index)),
                    None => error_values(&failure),
                }
            }
        });
    }
    let first = first.unwrap_or_else(|| {
        let fields = graph.response.iter();
        let neutral = fields.map(|field| (field.name.clone(), field.neutral.clone()));
        neutral.collect()
    });
    let mut values = values(Some(&first));
    values.each = Some(each);
    match &form.template {
        Some(template) => template.get_ref().fill(&mut values),
        None => Json::from(values.each.unwrap_or_default()),
    }
}

fn values(fields: Option<&Fields>) -> Values<'_> {
    let mut values = Values {
        fields,
        ..Values::default()
    };
    values
        .own
        .insert(template::REQUEST_ID.into(), REQUEST_ID.into());
    values
}

/// What a template of an error may name.
fn error_values(failure: &StageFailure) -> Json {
    let error = &failure.error;
    json!({
        "status": error.kind().status(), "code": error.code(), "detail": error.message(),
        "stage": failure.stage,
    })
}

fn filled(form: &ErrorForm, failure: &StageFailure, index: Option<usize>) -> Json {
    let mut values = values(None);
    values
        .own
        .insert(template::ERROR.into(), error_values(failure));
    if let Some(index) = index {
        values.own.insert(template::INDEX.into(), index.into());
    }
    form.template.fill(&mut values)
}

fn failed(file: &PipelineFile, failure: StageFailure) -> Answered {
    let error = &failure.error;
    let status = error.kind().status();
    let (status, body) = match file.answer.of_request(status, error.code()) {
        Some(form) => (form.status.unwrap_or(status), filled(form, &failure, None)),
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
