//! In which form a server takes a question: what it asks for an answer's form, and what it calls
//! the longest answer. Servers say no to what they do not know.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;

use super::json;

/// Most models of servers whose dialect is remembered.
const MAX_REMEMBERED: usize = 256;

/// What servers say where it is the form of the answer that they do not take.
const OF_THE_FORM: [&str; 13] = [
    "response_format",
    "response format",
    "responseformat",
    "response_schema",
    "json_object",
    "json object",
    "json_mode",
    "json mode",
    "json_schema",
    "json schema",
    "structured output",
    "structured_output",
    "grammar",
];
/// What they say where it is the longest answer.
const OF_THE_LIMIT: [&str; 9] = [
    "max_completion_tokens",
    "max_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "maxtokens",
    "max tokens",
    "context length",
    "context_length",
    "context window",
];

/// What they say where it is a parameter, and not which one.
const OF_PARAMETERS: [&str; 20] = [
    "requested parameter",
    "unsupported parameter",
    "unsupported_parameter",
    "unknown parameter",
    "unknown_parameter",
    "unrecognized parameter",
    "unrecognized_parameter",
    "unrecognized request argument",
    "unexpected keyword",
    "unexpected field",
    "unknown field",
    "unknown_field",
    "extra inputs",
    "extra fields",
    "extra_forbidden",
    "additional properties",
    "additionalproperties",
    "not implemented",
    "not_implemented",
    "unimplemented",
];

/// How a question is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) form: Form,
    pub(super) limit: Limit,
}

/// How the form of the answer is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// By a JSON schema.
    #[default]
    Schema,
    /// As any JSON object; the instructions say which.
    Object,
    /// By the instructions alone.
    Plain,
}

/// What the longest answer is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Limit {
    /// `max_completion_tokens`
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`, of old.
    MaxTokens,
    /// Nothing: the server has a limit of its own.
    Unset,
}

/// The dialect of the Python service, which its servers understand.
const OF_THE_PREDECESSOR: Dialect = Dialect {
    form: Form::Object,
    limit: Limit::MaxTokens,
};

impl Dialect {
    /// Another dialect to ask in, where a refusal gives hope that another is understood.
    pub(super) fn after(self, status: StatusCode, body: &[u8]) -> Option<Self> {
        if is_about_the_caller(status) {
            return None;
        }
        let about = About::of(body);
        let next = Self {
            form: if about.form {
                self.form.next()
            } else {
                self.form
            },
            limit: if about.limit {
                self.limit.next()
            } else {
                self.limit
            },
        };
        if next != self {
            return Some(next);
        }
        // Some refuse without a word about what: if only in JSON, they did read the question.
        let is_read = matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
        ) && json::read_bytes(body).is_ok();
        if is_read || about.is_unclear(status) {
            self.simpler()
        } else {
            None
        }
    }

    /// A dialect that asks less of a server which does not say what it would understand: first that
    /// of the Python service, then without a form, then with nothing that it could refuse.
    pub(super) fn simpler(self) -> Option<Self> {
        let of = |form, limit| Some(Self { form, limit });
        match (self.form, self.limit) {
            (Form::Schema, Limit::MaxCompletionTokens) => Some(OF_THE_PREDECESSOR),
            (Form::Schema, limit) => of(Form::Object, limit),
            (Form::Object, limit) => of(Form::Plain, limit),
            (Form::Plain, Limit::MaxCompletionTokens | Limit::MaxTokens) => {
                of(Form::Plain, Limit::Unset)
            }
            (Form::Plain, Limit::Unset) => None,
        }
    }
}

impl Form {
    fn next(self) -> Self {
        match self {
            Self::Schema => Self::Object,
            Self::Object | Self::Plain => Self::Plain,
        }
    }
}

impl Limit {
    fn next(self) -> Self {
        match self {
            Self::MaxCompletionTokens => Self::MaxTokens,
            Self::MaxTokens | Self::Unset => Self::Unset,
        }
    }
}

/// True for an answer that speaks of the form of the question: asked in the same form, the server
/// will say the same again.
pub(super) fn is_about_the_form(status: StatusCode, body: &[u8]) -> bool {
    let about = About::of(body);
    !is_about_the_caller(status) && (about.form || about.limit || about.is_unclear(status))
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct About {
    form: bool,
    limit: bool,
    parameters: bool,
}

impl About {
    fn of(body: &[u8]) -> Self {
        let said = json::decoded(body).to_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| said.contains(word));
        Self {
            form: names(&OF_THE_FORM),
            limit: names(&OF_THE_LIMIT),
            parameters: names(&OF_PARAMETERS),
        }
    }

    /// True where it is about something in the question that has no name.
    fn is_unclear(self, status: StatusCode) -> bool {
        self.parameters || status == StatusCode::NOT_IMPLEMENTED
    }
}

/// True for a status that says who may ask, and when, whatever the text beside it.
fn is_about_the_caller(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
    ) || status.is_redirection()
}

/// The dialects that servers were found to understand. One server may have models that differ.
#[derive(Debug, Default)]
pub(super) struct Dialects(Mutex<HashMap<(String, String), Dialect>>);

impl Dialects {
    /// The one for a model at an address, if it was found.
    pub(super) fn of(&self, base_url: &str, model: &str) -> Option<Dialect> {
        let key = (base_url.to_owned(), model.to_owned());
        self.remembered().get(&key).copied()
    }

    /// Remembers that it was understood there.
    pub(super) fn found(&self, base_url: &str, model: &str, dialect: Dialect) {
        let key = (base_url.to_owned(), model.to_owned());
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED && !remembered.contains_key(&key) {
            // To find one anew costs a question or two.
            remembered.clear();
        }
        remembered.insert(key, dialect);
    }

    /// Forgets what was found there.
    pub(super) fn forget(&self, base_url: &str, model: &str) {
        let key = (base_url.to_owned(), model.to_owned());
        self.remembered().remove(&key);
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<(String, String), Dialect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(dialect: Dialect, status: u16, body: &str) -> Option<Dialect> {
        dialect.after(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    const FIRST: Dialect = Dialect {
        form: Form::Schema,
        limit: Limit::MaxCompletionTokens,
    };

    #[test]
    fn what_a_server_says_it_does_not_take_is_left_out() {
        let form = |form| Some(Dialect { form, ..FIRST });
        let limit = |limit| Some(Dialect { limit, ..FIRST });
        for (status, body, expected) in [
            (
                400,
                "This response_format type is unavailable now",
                form(Form::Object),
            ),
            (
                404,
                "No endpoints that support response format `json_schema`",
                form(Form::Object),
            ),
            (
                422,
                r#"{"loc": ["body", "max_completion_tokens"]}"#,
                limit(Limit::MaxTokens),
            ),
            (501, "Structured outputs are not there", form(Form::Object)),
            (
                422,
                "max_completion_tokens, response_format: extra inputs",
                Some(OF_THE_PREDECESSOR),
            ),
            (400, r#"{"error": "bad request"}"#, Some(OF_THE_PREDECESSOR)),
            (
                501,
                r#"{"error": "not implemented"}"#,
                Some(OF_THE_PREDECESSOR),
            ),
            (501, "", Some(OF_THE_PREDECESSOR)),
            (
                404,
                "No endpoints found that can handle the requested parameters.",
                Some(OF_THE_PREDECESSOR),
            ),
            (
                500,
                "Unrecognized request argument",
                Some(OF_THE_PREDECESSOR),
            ),
            (400, "Unknown field", Some(OF_THE_PREDECESSOR)),
            (422, r#"{"detail": "bad"}"#, Some(OF_THE_PREDECESSOR)),
            (403, r#"{"error": "not implemented"}"#, None),
            (400, "<html>bad request", None),
            (404, r#"{"error": "no such model"}"#, None),
            (500, r#"{"error": "oops"}"#, None),
            (401, "wrong key for max_tokens", None),
            (429, "slow down, response_format", None),
        ] {
            assert_eq!(after(FIRST, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut dialect = FIRST;
        let mut tries = 0;
        while let Some(next) = after(dialect, 400, r#"{"e": "json_schema, max_tokens"}"#) {
            dialect = next;
            tries += 1;
            assert!(tries < 10);
        }
        assert_eq!((dialect.form, dialect.limit), (Form::Plain, Limit::Unset));
        assert_eq!(after(dialect, 400, r#"{"error": "bad request"}"#), None);
    }

    #[test]
    fn less_and_less_is_asked_of_a_server_that_does_not_say_what_it_refuses() {
        for (status, body) in [
            (422, r#"{"detail": "bad"}"#),
            (501, ""),
            (404, "can't handle the requested parameters"),
        ] {
            let mut dialect = FIRST;
            let mut forms = Vec::new();
            while let Some(next) = after(dialect, status, body) {
                dialect = next;
                forms.push((next.form, next.limit));
            }
            let expected = [
                (Form::Object, Limit::MaxTokens),
                (Form::Plain, Limit::MaxTokens),
                (Form::Plain, Limit::Unset),
            ];
            assert_eq!(forms, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_dialect_is_remembered_within_bounds() {
        let dialects = Dialects::default();
        assert_eq!(dialects.of("http://a/v1", "m"), None);
        dialects.found("http://a/v1", "m", OF_THE_PREDECESSOR);
        assert_eq!(dialects.of("http://a/v1", "m"), Some(OF_THE_PREDECESSOR));
        assert_eq!(dialects.of("http://a/v1", "another"), None);
        dialects.forget("http://a/v1", "m");
        assert_eq!(dialects.of("http://a/v1", "m"), None);
        for n in 0..=MAX_REMEMBERED {
            dialects.found("http://a/v1", &n.to_string(), FIRST);
        }
        assert!(dialects.remembered().len() <= MAX_REMEMBERED);
    }
}
