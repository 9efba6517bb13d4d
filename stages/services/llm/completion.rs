//! What a server's answer says: of a good one nothing is read but `choices[0].message.content`, of
//! one that says no the reason.

use serde_json::Value as Json;

use super::json;

/// What servers call a part of a message that is a thought.
const THOUGHTS: [&str; 5] = [
    "thinking",
    "redacted_thinking",
    "thought",
    "reasoning",
    "reasoning_content",
];

/// Why an answer has no content.
#[derive(Debug)]
pub(super) enum NoContent {
    /// It is not JSON.
    NotJson(serde_json::Error),
    /// It says that something failed.
    Failed(String),
    /// There is a message, and no text in it. Some answer so what they do not understand.
    Empty,
    /// There is none.
    Missing,
}

/// The text of the answer's first choice. Whatever else the answer holds, and of whatever type, is
/// not looked at: every server has fields of its own there.
///
/// # Errors
/// [`NoContent`].
pub(super) fn content(body: &[u8]) -> Result<String, NoContent> {
    let body = json::read_bytes(body).map_err(NoContent::NotJson)?;
    let choice = &body["choices"][0];
    let text = match &choice["message"]["content"] {
        Json::String(text) => text.clone(),
        // Parts: those of thoughts are none of the answer.
        Json::Array(parts) => parts.iter().filter_map(text_of_part).collect(),
        // What was to be a text, as it is.
        object @ Json::Object(_) => object.to_string(),
        _ => String::new(),
    };
    if !text.trim().is_empty() {
        return Ok(text);
    }
    // Those that pass questions on say here what became of one.
    let failed = [&body, choice]
        .into_iter()
        .find(|of| !of["error"].is_null());
    Err(match failed {
        Some(failed) => NoContent::Failed(told(failed).unwrap_or_default()),
        None if is_silent(choice) => NoContent::Empty,
        None => NoContent::Missing,
    })
}

/// True for a message that says nothing, not even why.
fn is_silent(choice: &Json) -> bool {
    let message = &choice["message"];
    let refuses = message["refusal"]
        .as_str()
        .is_some_and(|why| !why.is_empty());
    message.is_object() && !refuses && choice["finish_reason"] != "content_filter"
}

fn text_of_part(part: &Json) -> Option<&str> {
    let kind = part["type"].as_str().unwrap_or_default();
    if THOUGHTS.contains(&kind) || part["thought"] == true {
        return None;
    }
    part.as_str().or_else(|| part["text"].as_str())
}

/// Why a server says no: what its answer says where that is JSON of a known form, else its
/// beginning. On one line.
pub(super) fn reason(body: &[u8]) -> String {
    let text = json::decoded(body);
    let told = json::read(&text).ok().and_then(|body| told(&body));
    let reason = told.as_deref().unwrap_or(&text).trim();
    let to_blank = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().map(to_blank).collect()
}

/// The message of an error, and its code.
fn told(body: &Json) -> Option<String> {
    // One server sends a list of one.
    let body = body.get(0).unwrap_or(body);
    let error = match &body["error"] {
        Json::Null => body,
        error => error,
    };
    let named = ["message", "msg", "detail", "error"];
    let message = match error {
        Json::String(_) => error,
        _ => named
            .iter()
            .map(|name| &error[*name])
            .find(|message| !message.is_null())?,
    };
    let mut told = plain(message);
    let code = &error["code"];
    if !code.is_null() {
        told.push_str(&[" (", &plain(code), ")"].concat());
    }
    Some(told)
}

fn plain(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_choice_is_read_and_nothing_else() {
        for (body, expected) in [
            (r#"{"choices": [{"message": {"content": "a"}}]}"#, "a"),
            (
                r#"{"service_tier": 7, "usage": [], "id": {}, "error": null,
                    "choices": [{"message": {"content": "a", "role": 1}, "index": "x"}, 3]}"#,
                "a",
            ),
            (
                r#"{"choices": [{"message": {"content":
                    [{"type": "thinking", "thinking": []}, {"text": "a"}, "b", {"text": null}]}}]}"#,
                "ab",
            ),
            (
                r#"{"choices": [{"message": {"content": [
                    {"type": "reasoning", "text": "no"}, {"text": "no", "thought": true},
                    {"type": "text", "text": "a", "thought": false}]}}]}"#,
                "a",
            ),
            (
                r#"{"choices": [{"message": {"content": {"subtags": ["a"]}}}]}"#,
                r#"{"subtags":["a"]}"#,
            ),
        ] {
            assert_eq!(content(body.as_bytes()).unwrap(), expected, "{body}");
        }
        for message in [
            r#""message": {"content": ""}"#,
            r#""message": {"content": " \n", "refusal": null}"#,
            r#""message": {"content": null, "reasoning_content": "hm"}, "finish_reason": "length""#,
            r#""message": {"role": "assistant"}"#,
            r#""message": {"content": [{"type": "thinking", "text": "a"}], "refusal": ""}"#,
        ] {
            let empty = content(format!(r#"{{"choices": [{{{message}}}]}}"#).as_bytes());
            assert!(
                matches!(empty, Err(NoContent::Empty)),
                "{message}: {empty:?}"
            );
        }
        for body in [
            r#"{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}"#,
            "{}",
            "[]",
            "3",
            "null",
            r#"{"choices": null}"#,
            r#"{"choices": []}"#,
            r#"{"choices": [{"text": "a"}]}"#,
            r#"{"choices": [{"message": {"content": null, "refusal": "no"}}]}"#,
        ] {
            let missing = content(body.as_bytes());
            assert!(
                matches!(missing, Err(NoContent::Missing)),
                "{body}: {missing:?}"
            );
        }
        for body in [
            r#"{"error": {"message": "overloaded", "code": 502}}"#,
            r#"{"choices": [{"error": {"message": "overloaded", "code": 502},
                "message": {"content": ""}}]}"#,
        ] {
            let failed = content(body.as_bytes());
            let Err(NoContent::Failed(told)) = failed else {
                panic!("{failed:?}");
            };
            assert_eq!(told, "overloaded (502)");
        }
        assert!(matches!(content(b"<html>"), Err(NoContent::NotJson(_))));
    }

    #[test]
    fn a_reason_is_found_where_servers_put_it() {
        for (body, expected) in [
            (r#"{"error": {"message": "no", "code": "bad"}}"#, "no (bad)"),
            (r#"{"error": {"message": "no", "code": null}}"#, "no"),
            (r#"{"error": "no"}"#, "no"),
            (r#"[{"error": {"code": 400, "message": "no"}}]"#, "no (400)"),
            (
                r#"{"object": "error", "message": "no", "code": 40}"#,
                "no (40)",
            ),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            (
                r#"{"detail": [{"loc": ["body"]}]}"#,
                r#"[{"loc":["body"]}]"#,
            ),
            (r#"{"other": 1}"#, r#"{"other": 1}"#),
            ("<html>\r\n\u{1b}[31mno", "<html>   [31mno"),
            ("\n", ""),
        ] {
            assert_eq!(reason(body.as_bytes()), expected, "{body}");
        }
    }
}
