//! Answers and the bodies of errors by their status, which operations refer to.

use serde_json::{Map, Value as Json, json};

use super::traced;

/// Statuses of errors that any request can meet: of what is no request, of whom the service does
/// not answer, of a connection that there is no place for.
pub(super) const OF_ALL: [u16; 5] = [400, 403, 414, 431, 503];

/// Statuses of errors of a run, beside those.
pub(super) const OF_PIPELINES: [u16; 8] = [408, 413, 415, 422, 429, 500, 503, 504];

/// The errors of one status.
struct Failing {
    status: u16,
    name: &'static str,
    means: &'static str,
    /// Those that the program itself gives; stages have others.
    codes: &'static [&'static str],
    /// A header that comes with it, and whether it always does.
    header: Option<(&'static str, &'static str, bool)>,
}

/// All of them.
const ALL: [Failing; 15] = [
    Failing {
        status: 400,
        name: "Malformed",
        means: "the request is not well-formed",
        codes: &["malformed_request", "malformed_json", "malformed_multipart"],
        header: None,
    },
    Failing {
        status: 401,
        name: "Unauthorized",
        means: "the request brings no key, or one that is not known",
        codes: &["unauthorized"],
        header: Some(("WWW-Authenticate", "WwwAuthenticate", true)),
    },
    Failing {
        status: 403,
        name: "Forbidden",
        means: "the service does not answer whoever asks: a page of another site, a name that is \
                not its own, a key that is not one of administrators",
        codes: &[
            "foreign_host",
            "foreign_origin",
            "admin_key_required",
            "no_admin_key",
        ],
        header: None,
    },
    Failing {
        status: 404,
        name: "NotFound",
        means: "nothing is served at this path",
        codes: &["not_found"],
        header: None,
    },
    Failing {
        status: 405,
        name: "MethodNotAllowed",
        means: "the path is served to other methods",
        codes: &["method_not_allowed"],
        header: Some(("Allow", "Allow", true)),
    },
    Failing {
        status: 408,
        name: "BodyTimeout",
        means: "the request body did not come in time",
        codes: &["body_timeout"],
        header: None,
    },
    Failing {
        status: 413,
        name: "TooLarge",
        means: "the request is over a limit of size",
        codes: &["body_too_large", "field_too_large", "too_many_items"],
        header: None,
    },
    Failing {
        status: 414,
        name: "UriTooLong",
        means: "the path or the query is too long",
        codes: &["query_too_long", "uri_too_long"],
        header: None,
    },
    Failing {
        status: 415,
        name: "UnsupportedType",
        means: "the body, or a file in it, is of a type that is not taken",
        codes: &[
            "unsupported_body",
            "unsupported_encoding",
            "unsupported_file_type",
        ],
        header: Some(("Accept-Encoding", "AcceptEncoding", false)),
    },
    Failing {
        status: 422,
        name: "Invalid",
        means: "the request is well-formed and what it says is wrong: the same one never passes",
        codes: &[
            "invalid_field",
            "missing_field",
            "repeated_field",
            "unknown_field",
            "too_many_fields",
            "too_many_parts",
            "invalid_value",
        ],
        header: None,
    },
    Failing {
        status: 429,
        name: "Busy",
        means: "too much is in flight: the same request may pass later",
        codes: &["busy", "overloaded"],
        header: Some(("Retry-After", "RetryAfter", true)),
    },
    Failing {
        status: 431,
        name: "HeadTooLarge",
        means: "the head of the request is too large",
        codes: &["headers_too_large"],
        header: None,
    },
    Failing {
        status: 500,
        name: "Internal",
        means: "a fault of the service, which its log tells",
        codes: &["internal"],
        header: None,
    },
    Failing {
        status: 503,
        name: "Unavailable",
        means: "something that the service needs is away, or it has no room: the same request may \
                pass later",
        codes: &[
            "unavailable",
            "no_room",
            "too_many_connections",
            "incomplete_answer",
            "shutting_down",
            "misconfigured",
        ],
        header: Some(("Retry-After", "RetryAfter", true)),
    },
    Failing {
        status: 504,
        name: "Deadline",
        means: "the time for the request ran out",
        codes: &["deadline_exceeded"],
        header: None,
    },
];

/// What an operation says of a status.
pub(super) fn reference(status: u16) -> Json {
    let known = ALL.iter().find(|failing| failing.status == status);
    let name = known.map_or("Internal", |failing| failing.name);
    json!({ "$ref": format!("#/components/responses/{name}") })
}

/// What an operation says of a header.
pub(super) fn header(name: &str) -> Json {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// Adds the headers of what comes of a run, well or not.
pub(super) fn put_run_headers(answer: &mut Json) {
    answer["headers"]["Server-Timing"] = header("ServerTiming");
    answer["headers"]["X-Unknown-Fields"] = header("UnknownFields");
}

/// An answer in JSON that went well.
pub(super) fn ok(description: &str, body: &Json) -> Json {
    content(description, "application/json", body)
}

/// An answer of that media type.
pub(super) fn content(description: &str, media_type: &str, body: &Json) -> Json {
    let mut types = Map::new();
    types.insert(media_type.to_owned(), json!({ "schema": body }));
    json!({
        "description": description,
        "headers": { "X-Request-Id": header("RequestId") },
        "content": types,
    })
}

/// The schema of every error.
pub(super) fn body() -> Json {
    json!({ "$ref": "#/components/schemas/Error" })
}

/// An error of that status with a body of its own; where it is `of_others` too, its headers are not
/// sure to come.
pub(super) fn with_body(status: u16, body: &Json, of_others: bool) -> Json {
    let Some(failing) = ALL.iter().find(|failing| failing.status == status) else {
        return ok("the request failed", body);
    };
    let mut answer = ok(&described(failing), body);
    if let Some((name, reference, _)) = failing.header.filter(|_| !of_others) {
        answer["headers"][name] = header(reference);
    }
    put_run_headers(&mut answer);
    answer
}

/// What operations refer to.
pub(super) fn components() -> Json {
    let responses = ALL.iter().map(|failing| {
        let mut answer = ok(&described(failing), &body());
        if let Some((name, reference, _)) = failing.header {
            answer["headers"][name] = header(reference);
        }
        if failing.status == 400 || OF_PIPELINES.contains(&failing.status) {
            put_run_headers(&mut answer);
        }
        let code = failing.codes.first().copied().unwrap_or_default();
        answer["content"]["application/json"]["example"] = json!({
            "detail": failing.means, "code": code, "stage": null,
            "request_id": "0b54e7f2d1c94a3f8e6b5a4d3c2b1a09",
        });
        (failing.name.to_owned(), answer)
    });
    json!({
        "schemas": { "Trace": traced::component(), "Error": {
            "type": "object",
            "description": "Every error has this body.",
            "required": ["detail", "code", "stage", "request_id"],
            "properties": {
                "detail": {
                    "type": "string",
                    "description": "what was found and what was expected, for people",
                },
                "code": {
                    "type": "string",
                    "description": "what went wrong, for programs: a word that stays",
                },
                "stage": {
                    "type": ["string", "null"],
                    "description": "the stage that failed; null where no stage did",
                },
                "request_id": {
                    "type": "string",
                    "description": "as in X-Request-Id, and in the log",
                },
                "trace": { "anyOf": [
                    { "$ref": "#/components/schemas/Trace" },
                    { "type": "array", "items": { "$ref": "#/components/schemas/Trace" } },
                ] },
            },
        } },
        "responses": responses.collect::<Map<_, _>>(),
        "headers": headers(),
    })
}

fn described(failing: &Failing) -> String {
    let codes: Vec<_> = failing
        .codes
        .iter()
        .map(|code| format!("`{code}`"))
        .collect();
    format!(
        "{}; code {}, or one of a stage",
        failing.means,
        codes.join(", ")
    )
}

fn headers() -> Json {
    let mut headers = json!({
        "RequestId": {
            "description": "the id of the request: the client's where it sent one, else a new one",
            "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        },
        "ServerTiming": {
            "description": "how long each stage ran (W3C Server Timing)",
            "schema": { "type": "string" },
        },
        "UnknownFields": {
            "description": "names in the request that the pipeline takes nothing from",
            "schema": { "type": "string" },
        },
    });
    let described = [
        (
            "RetryAfter",
            "when to try again, in seconds",
            json!({ "type": "integer", "minimum": 1 }),
        ),
        (
            "WwwAuthenticate",
            "the way to bring a key",
            json!({ "type": "string" }),
        ),
        (
            "Allow",
            "the methods that the path is served to",
            json!({ "type": "string" }),
        ),
        (
            "AcceptEncoding",
            "how a body has to come, where it was compressed",
            json!({ "type": "string" }),
        ),
    ];
    for (name, description, schema) in described {
        let is_always = ALL.iter().any(|failing| {
            failing
                .header
                .is_some_and(|(_, known, is_always)| known == name && is_always)
        });
        headers[name] = json!({
            "description": description, "required": is_always, "schema": schema,
        });
    }
    headers
}
