//! What a client sees of what the stages gave: the fields of the response, or what the file says
//! that an answer and an error look like.

use serde_json::{Map, Value as Json, json};

use super::config::ErrorForm;
use super::graph::Graph;
use super::run::{Ended, StageFailure};
use super::template::{ERROR, INDEX, REQUEST_ID, Values};

/// The answer to one run.
#[must_use]
pub fn of_run(graph: &Graph, fields: Map<String, Json>, request_id: &str) -> Json {
    match &graph.file.answer.template {
        Some(template) => {
            let mut values = values(Some(&fields), request_id);
            template.get_ref().fill(&mut values)
        }
        None => Json::Object(fields),
    }
}

/// The answer to a request of several values.
#[must_use]
pub fn of_each(graph: &Graph, items: Vec<Ended>, request_id: &str) -> Json {
    let form = &graph.file.answer;
    let mut each = Vec::with_capacity(items.len());
    // What the whole answer says is that of the first item that went well.
    let mut first: Option<Map<String, Json>> = None;
    for (index, item) in items.into_iter().enumerate() {
        each.push(match item {
            Ok(fields) => {
                let body = match &form.each {
                    Some(template) => {
                        let mut values = values(Some(&fields), request_id);
                        values.own.insert(INDEX.into(), index.into());
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
                    Some(form) => of_error(form, told(&failure), request_id, Some(index)),
                    None => told(&failure),
                }
            }
        });
    }
    let first = first.unwrap_or_else(|| {
        let fields = graph.response.iter();
        let neutral = fields.map(|field| (field.name.clone(), field.neutral.clone()));
        neutral.collect()
    });
    let mut values = values(Some(&first), request_id);
    values.each = Some(each);
    match &form.template {
        Some(template) => template.get_ref().fill(&mut values),
        None => Json::from(values.each.unwrap_or_default()),
    }
}

/// An error in a form of the file; `told` is what the form may name of it.
#[must_use]
pub fn of_error(form: &ErrorForm, told: Json, request_id: &str, index: Option<usize>) -> Json {
    let mut values = values(None, request_id);
    values.own.insert(ERROR.into(), told);
    if let Some(index) = index {
        values.own.insert(INDEX.into(), index.into());
    }
    form.template.fill(&mut values)
}

/// What the form of an error may name.
#[must_use]
pub fn told(failure: &StageFailure) -> Json {
    let error = &failure.error;
    json!({
        "status": error.kind().status(), "code": error.code(), "detail": error.message(),
        "stage": failure.stage,
    })
}

fn values<'v>(fields: Option<&'v Map<String, Json>>, request_id: &str) -> Values<'v> {
    let mut values = Values {
        fields,
        ..Values::default()
    };
    values.own.insert(REQUEST_ID.into(), request_id.into());
    values
}
