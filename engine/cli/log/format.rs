//! The form of a line of the log: text for people, JSON for what collects logs.

use std::backtrace::Backtrace;

use omnizap_contract::common::names::nearest;
use serde_json::{Map, Value as Json};

use super::line::{self, Keeps, clean};

/// Longest line in JSON, in bytes; of a longer one the texts are cut.
const MAX_BYTES: usize = 64 << 10;

/// Longest text in such a line.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// What is kept of a line that is too long all the same.
const KEPT: [&str; 3] = ["timestamp", "level", "message"];

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Format {
    #[default]
    Text,
    Json,
}

/// Reads a form.
///
/// # Errors
/// What was expected.
pub(in crate::cli) fn log_format(text: &str) -> Result<Format, String> {
    match text.trim().to_lowercase().as_str() {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        other => {
            let meant = nearest(other, ["text", "json"]);
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            Err(format!("expected text or json{meant}"))
        }
    }
}

impl Format {
    /// The text of an event, as the subscriber gives it, as one line.
    pub(super) fn event(self, text: &str, keeps: Keeps) -> String {
        match self {
            Self::Text => clean(text, keeps),
            Self::Json => one_object(text),
        }
    }

    /// A line like those of events, for what does not come through the subscriber.
    pub(super) fn line(self, level: &str, text: &str, backtrace: Option<&Backtrace>) -> String {
        match self {
            Self::Text => {
                let mut line = line::stamped(level, &clean(text, Keeps::default()));
                if let Some(backtrace) = backtrace {
                    line.push_str(&backtrace.to_string());
                    line.push('\n');
                }
                line
            }
            Self::Json => {
                let mut fields = Map::new();
                fields.insert("timestamp".into(), line::now().into());
                fields.insert("level".into(), level.into());
                fields.insert("message".into(), text.trim_end().into());
                if let Some(backtrace) = backtrace {
                    fields.insert("backtrace".into(), backtrace.to_string().into());
                }
                one_object(&Json::Object(fields).to_string())
            }
        }
    }
}

/// The text of an object as one line of bounded length. What is left of control characters, and the
/// new lines of some viewers, can only be inside of texts.
fn one_object(text: &str) -> String {
    let text = text.trim_end();
    let cut = (text.len() > MAX_BYTES).then(|| shortened(text));
    let text = cut.as_deref().unwrap_or(text);
    let mut line = String::with_capacity(text.len() + 1);
    for char in text.chars() {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            line.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            line.push(char);
        }
    }
    line.push('\n');
    line
}

/// An object with the ends of its long texts left out; where it is no object, one that says so.
fn shortened(text: &str) -> String {
    let Ok(Json::Object(mut fields)) = serde_json::from_str(text) else {
        let mut message = Json::from(text);
        shorten(&mut message);
        return Json::Object(Map::from_iter([("message".to_owned(), message)])).to_string();
    };
    fields.values_mut().for_each(shorten);
    let short = Json::Object(fields.clone()).to_string();
    if short.len() <= MAX_BYTES {
        return short;
    }
    fields.retain(|name, _| KEPT.contains(&name.as_str()));
    Json::Object(fields).to_string()
}

fn shorten(value: &mut Json) {
    match value {
        Json::String(text) if text.len() > MAX_TEXT_BYTES => {
            let end = text.floor_char_boundary(MAX_TEXT_BYTES);
            let more = text.len() - end;
            text.truncate(end);
            text.push_str(&format!("... ({more} bytes more)"));
        }
        Json::Array(list) => list.iter_mut().for_each(shorten),
        Json::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_read_as_people_write_it() {
        assert_eq!(log_format(" JSON\r"), Ok(Format::Json));
        assert_eq!(log_format("text"), Ok(Format::Text));
        let error = log_format("jsn").unwrap_err();
        assert!(error.contains("did you mean `json`?"), "{error}");
        assert!(log_format("").is_err());
    }

    #[test]
    fn whatever_is_said_a_line_is_one_object() {
        let said = "a\n\u{1b}[31m\u{7f}\u{9b}\u{2028}\"é\\";
        for line in [
            Format::Json.line("WARN", said, None),
            Format::Json.event(
                &json!({ "level": "WARN", "message": said }).to_string(),
                Keeps::default(),
            ),
        ] {
            let inner = line.strip_suffix('\n').unwrap();
            let odd = |c: char| c.is_control() || c == '\u{2028}';
            assert!(!inner.chars().any(odd), "{inner:?}");
            let read: Json = serde_json::from_str(inner).unwrap();
            assert_eq!(read["message"], said);
            assert_eq!(read["level"], "WARN");
        }
    }

    #[test]
    fn a_long_line_is_still_an_object() {
        let long = "é".repeat(MAX_BYTES);
        let line = Format::Json.line("ERROR", &long, None);
        assert!(line.len() < MAX_BYTES, "{}", line.len());
        let read: Json = serde_json::from_str(&line).unwrap();
        let message = read["message"].as_str().unwrap();
        assert!(message.ends_with("bytes more)"), "{message}");
        let many: Map<String, Json> = (0..20_000).map(|n| (format!("f{n}"), n.into())).collect();
        let mut many = Json::Object(many);
        many["message"] = "m".into();
        let line = Format::Json.event(&many.to_string(), Keeps::default());
        assert_eq!(line, "{\"message\":\"m\"}\n");
        let line = Format::Json.event(&"x".repeat(2 * MAX_BYTES), Keeps::default());
        assert!(serde_json::from_str::<Json>(&line).is_ok(), "{line}");
    }

    #[test]
    fn text_is_stamped_as_ever() {
        let line = Format::Text.line("WARN", "gone\n", None);
        assert!(line.ends_with(" WARN gone\n"), "{line}");
    }
}
