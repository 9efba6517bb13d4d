//! Answers and errors that look as the pipeline's file says.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::sure::Sure;
use super::{answer, errors, schema, traced};
use crate::pipeline::config::{ErrorForm, Of};
use crate::pipeline::graph::Graph;
use crate::pipeline::template::{EACH, INDEX, NULL, REQUEST_ID, Template};

/// Statuses of errors that may be told before it is known which pipeline is meant, or in which the
/// service ends before it answers.
const BEFORE: [u16; 5] = errors::OF_ALL;

/// The body of an answer of a run.
pub(super) fn body(graph: &Graph) -> Json {
    let sure = Sure::of(graph);
    let form = &graph.file.answer;
    let has_each = graph.file.request.iter().any(|field| field.each.is_some());
    let Some(template) = &form.template else {
        return answer::fields(graph, &sure);
    };
    let items = || {
        let one = match &form.each {
            Some(each) => of(each.get_ref(), &|name| value(graph, &sure, name, false)),
            None => answer::fields(graph, &sure),
        };
        let errors = form.errors_of_each.iter();
        let errors = errors.map(|form| of(&form.template, &of_error));
        any(std::iter::once(one).chain(errors))
    };
    of(template.get_ref(), &|name| match name {
        EACH => schema::list(items()),
        _ => value(graph, &sure, name, has_each),
    })
}

/// What stands in the place of a name. Where there may be no run, it may be what stands for nothing.
fn value(graph: &Graph, sure: &Sure<'_>, name: &str, may_not_run: bool) -> Json {
    match name {
        REQUEST_ID => return json!({ "type": "string" }),
        INDEX => return json!({ "type": "integer", "minimum": 0 }),
        NULL => return json!({ "type": "null" }),
        _ => {}
    }
    let Some((field, shape, is_member)) = graph.placed_shape(name) else {
        return json!({});
    };
    let schema = if is_member {
        schema::of_shape(&shape)
    } else {
        answer::of_field(graph, field, sure)
    };
    match (sure.is_filled(field) && !may_not_run, is_member) {
        (true, _) => schema,
        (false, true) => schema::or_null(schema),
        (false, false) => schema::or(schema, &field.neutral),
    }
}

fn of_error(name: &str) -> Json {
    match name {
        "error.status" => json!({ "type": "integer" }),
        "error.stage" => json!({ "type": ["string", "null"] }),
        INDEX => json!({ "type": "integer", "minimum": 0 }),
        NULL => json!({ "type": "null" }),
        _ => json!({ "type": "string" }),
    }
}

fn of(template: &Template, value: &dyn Fn(&str) -> Json) -> Json {
    match template {
        Template::Always(json) => json!({ "const": json }),
        Template::Value(placed) => value(&placed.name),
        Template::Text(_) => json!({ "type": "string" }),
        Template::List(items) => {
            let len = items.len();
            let mut list = json!({ "type": "array", "minItems": len, "maxItems": len });
            if len > 0 {
                list["items"] = any(items.iter().map(|item| of(item, value)));
            }
            list
        }
        Template::Object(members) => {
            let members = members.iter();
            let members: Vec<(&str, Json)> = members
                .map(|(name, member)| (name.as_str(), of(member, value)))
                .collect();
            schema::summary(&members)
        }
    }
}

/// One of these.
fn any(schemas: impl Iterator<Item = Json>) -> Json {
    let mut all: Vec<Json> = Vec::new();
    for schema in schemas {
        if !all.contains(&schema) {
            all.push(schema);
        }
    }
    match all.len() {
        1 => all.swap_remove(0),
        _ => json!({ "anyOf": all }),
    }
}

/// Says of an operation's errors what they look like by the file, and which status they have.
pub(super) fn put_errors(graph: &Graph, responses: &mut Map<String, Json>) {
    let forms = &graph.file.answer.errors;
    if forms.is_empty() {
        return;
    }
    let statuses: Vec<u16> = responses
        .keys()
        .filter_map(|status| status.parse().ok())
        .filter(|status| *status >= 400)
        .collect();
    // For each status that is answered, the bodies and whether it is that of other errors too.
    let mut told: BTreeMap<u16, (Vec<Json>, bool)> = BTreeMap::new();
    for status in statuses {
        let (forms, is_sure) = forms_of(forms, status);
        for form in forms {
            let shown = form.status.unwrap_or(status);
            let (bodies, is_of_others) = told.entry(shown).or_default();
            bodies.push(traced::with(of(&form.template, &of_error), &graph.file));
            *is_of_others |= shown != status;
        }
        if !is_sure || BEFORE.contains(&status) {
            told.entry(status).or_default().0.push(errors::body());
        }
        responses.remove(&status.to_string());
    }
    for (status, (bodies, is_of_others)) in told {
        let body = any(bodies.into_iter());
        let response = errors::with_body(status, &body, is_of_others);
        responses.insert(status.to_string(), response);
    }
}

/// The forms that an error of a status may have, and whether one of them is sure to suit.
fn forms_of(forms: &[ErrorForm], status: u16) -> (Vec<&ErrorForm>, bool) {
    let mut found = Vec::new();
    for form in forms {
        if form.of.is_empty() || form.of.contains(&Of::Status(status)) {
            found.push(form);
            return (found, true);
        }
        // Which codes a status has only the stages know.
        if form.of.iter().any(|of| matches!(of, Of::Code(_))) {
            found.push(form);
        }
    }
    (found, false)
}
