//! What the program answers itself.

use serde_json::{Map, Value as Json, json};

use super::{ADMINISTRATION, About, Audience, SERVICE, errors, finish, of_group, sample, schema};
use crate::pipeline::config::OwnRoute;

/// The operation of a route of the program; none for what only a page of its own asks for.
pub(super) fn operation(own: OwnRoute, about: &About) -> Option<Json> {
    let (method, path) = (own.method(), own.path());
    let Shown {
        id,
        description,
        answer,
        more,
    } = shown(own)?;
    let audience = if own.is_for_admins() {
        Audience::Administrators
    } else if own.is_open() {
        Audience::Everybody
    } else {
        Audience::Clients
    };
    let group = match audience {
        Audience::Administrators => ADMINISTRATION,
        Audience::Everybody | Audience::Clients => SERVICE,
    };
    let mut operation = Map::new();
    operation.insert("operationId".into(), id.into());
    operation.extend(of_group(group));
    operation.insert("summary".into(), capitalised(own.shows()).into());
    if !description.is_empty() {
        operation.insert("description".into(), description.into());
    }
    let mut responses = Map::new();
    responses.insert("200".into(), answer);
    for (status, answer) in more {
        responses.insert(status.to_string(), answer);
    }
    finish(&mut operation, responses, audience, about);
    let sample = if method == "GET" {
        sample::get(path, audience, about)
    } else {
        sample::post(path, audience, about)
    };
    let samples = json!([{ "lang": "Shell", "label": "curl", "source": sample }]);
    operation.insert("x-codeSamples".into(), samples);
    Some(Json::Object(operation))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase());
    first.into_iter().flatten().chain(chars).collect()
}

/// What is said of a route of the program.
struct Shown {
    id: String,
    description: &'static str,
    /// The answer that goes well.
    answer: Json,
    /// Other answers that not every request can have.
    more: Vec<(u16, Json)>,
}

impl Shown {
    fn json(id: &str, description: &'static str, what: &str, body: &Json) -> Self {
        Self {
            id: id.to_owned(),
            description,
            answer: errors::ok(what, body),
            more: Vec::new(),
        }
    }

    fn and(mut self, status: u16, answer: Json) -> Self {
        self.more.push((status, answer));
        self
    }
}

fn shown(own: OwnRoute) -> Option<Shown> {
    let bool = || json!({ "type": "boolean" });
    let text = || json!({ "type": "string" });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let object = || json!({ "type": "object" });
    Some(match own.path() {
        "/health" => {
            let states = json!({ "enum": ["ready", "failing", "starting", "degraded"] });
            let body = schema::summary(&[("ok", bool()), ("status", states)]);
            let description = "Always 200 while the process answers; beside `ok` and `status`, facts \
                               that stages tell.";
            Shown::json("health", description, "how the service is", &body)
        }
        "/health/live" => {
            let body = schema::summary(&[("ok", json!({ "const": true }))]);
            Shown::json("health_live", "", "the process answers", &body)
        }
        "/health/ready" => {
            let reason =
                schema::summary(&[("pipeline", text()), ("stage", text()), ("reason", text())]);
            let reasons = || schema::list(reason.clone());
            let body = schema::summary(&[
                ("ready", bool()),
                ("shutting_down", bool()),
                ("failing", reasons()),
                ("starting", reasons()),
                ("degraded", reasons()),
            ]);
            let either = json!({ "anyOf": [body, errors::body()] });
            let not_ready = errors::ok("a stage cannot serve yet, or the service ends", &either);
            Shown::json("health_ready", "", "every stage can serve", &body).and(503, not_ready)
        }
        "/pipelines" => {
            let body = schema::summary(&[
                ("ok", json!({ "const": true })),
                ("budgets", object()),
                ("pipelines", schema::list(pipeline())),
            ]);
            Shown::json("pipelines", "", "the live pipelines", &body)
        }
        "/openapi.json" => {
            let body = schema::summary(&[
                ("openapi", json!({ "const": super::VERSION })),
                ("info", object()),
                ("paths", object()),
            ]);
            Shown::json("openapi", "", "this document", &body)
        }
        "/metrics" => {
            let mut shown = Shown::json("metrics", "", "", &json!({}));
            let what = "numbers in the format of Prometheus";
            shown.answer = errors::content(what, "text/plain", &text());
            let other = json!({ "schema": text() });
            shown.answer["content"]["application/openmetrics-text"] = other;
            shown
        }
        "/docs" => page("docs"),
        "/" => page("page"),
        "/admin/pipelines" => {
            let failed = schema::or_null(schema::summary(&[
                ("at", json!({ "type": "string", "format": "date-time" })),
                ("detail", text()),
                ("mistakes", schema::list(mistake())),
            ]));
            let reloads = schema::summary(&[
                ("fine", count()),
                ("failed", count()),
                ("last_failed", failed),
            ]);
            let body = schema::summary(&[
                ("ok", json!({ "const": true })),
                ("generation", count()),
                ("since", json!({ "type": "string", "format": "date-time" })),
                ("sha256", text()),
                ("generations", count()),
                ("reloads", reloads),
                ("pipelines", schema::list(pipeline())),
            ]);
            let description = "`sha256` is the same wherever the same files are live. Options of \
                               stages are shown, but for keys and passwords.";
            Shown::json("admin_pipelines", description, "what is live", &body)
        }
        "/admin/reload" => {
            let body = schema::summary(&[
                ("ok", json!({ "const": true })),
                ("generation", count()),
                ("sha256", text()),
                ("pipelines", schema::list(text())),
                ("warnings", schema::list(mistake())),
            ]);
            let mut refused = errors::body();
            let mistakes = schema::summary(&[("mistakes", schema::list(mistake()))]);
            refused = json!({ "allOf": [refused, mistakes] });
            let what = "the files have mistakes: nothing was changed; code `not_reloaded`";
            let refused = errors::ok(what, &refused);
            let description = "Answered once the new pipelines are live, or once it is known why \
                               they are not. Those that come while one is under way share the next.";
            Shown::json(
                "admin_reload",
                description,
                "the new pipelines are live",
                &body,
            )
            .and(422, refused)
            .and(504, errors::reference(504))
        }
        // What only a page asks for.
        path if path.matches('/').count() > 1 => return None,
        path => Shown::json(
            &super::identifier(path.trim_matches('/')),
            "",
            "",
            &json!({}),
        ),
    })
}

/// A page of the program.
fn page(id: &str) -> Shown {
    let mut shown = Shown::json(id, "", "", &json!({}));
    shown.answer = errors::content("a page", "text/html", &json!({ "type": "string" }));
    shown
}

/// A pipeline with its stages.
fn pipeline() -> Json {
    let object = || json!({ "type": "object" });
    schema::summary(&[
        ("pipeline", json!({ "type": "string" })),
        ("route", json!({ "type": ["string", "null"] })),
        ("request", object()),
        ("limits", object()),
        ("stages", schema::list(object())),
        ("response", object()),
    ])
}

/// What is wrong with a file, or may not be meant.
fn mistake() -> Json {
    let text = || json!({ "type": "string" });
    let place = || json!({ "type": "integer", "minimum": 1 });
    schema::summary(&[
        ("file", text()),
        ("line", place()),
        ("column", place()),
        ("text", text()),
    ])
}
