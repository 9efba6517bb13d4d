//! What a test expects at a place of the answer, and what is wrong with what is there.

use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::Spanned;

use super::AnswerPath;
use crate::pipeline::diagnostic::shortened;

/// Most characters of a value in a message.
const MAX_SHOWN: usize = 200;

/// What is expected at one place of the answer.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The place.
    pub path: Spanned<AnswerPath>,
    /// All of which must hold, each with where the file says so.
    pub checks: Vec<Spanned<Check>>,
}

/// One thing that must hold of what is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// It is this value. Of numbers it does not matter whether they are written as whole ones.
    Equals(Json),
    /// It is this value, but for its numbers, which may be so far off.
    About(Json, f64),
    /// It is a number of at least that.
    AtLeast(f64),
    /// It is a number of at most that.
    AtMost(f64),
    /// A text holds this one; a list has this item, of objects one with these members; an object
    /// has a member of this name, or these members.
    Contains(Json),
    /// A text has so many characters, a list so many items, an object so many members.
    Size(usize),
    /// Nothing is there, not even null; or where false, whatever it is.
    Absent(bool),
    /// It is null; or where false, it is there and is not.
    Null(bool),
}

impl Wanted {
    /// True where it may be about a field that no answer has.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| *check.get_ref() == Check::Absent(true))
    }

    /// What of it does not hold of an answer: where it is said, and what is wrong.
    #[must_use]
    pub fn faults(&self, answer: &Json) -> Vec<(Range<usize>, String)> {
        let path = self.path.get_ref();
        let found = path.find(answer);
        let faults = self.checks.iter().filter_map(|check| {
            let fault = check.get_ref().fault(found.as_ref())?;
            Some((check.span(), format!("`{path}`: {fault}")))
        });
        faults.collect()
    }
}

impl Check {
    /// What is wrong with what was found, or with why nothing was.
    fn fault(&self, found: Result<&&Json, &String>) -> Option<String> {
        let found = match (found, self) {
            (Ok(found), Self::Absent(true)) => {
                return Some(format!("expected nothing there, found {}", shown(found)));
            }
            (Ok(_), Self::Absent(false)) | (Err(_), Self::Absent(true)) => return None,
            (Ok(found), _) => *found,
            (Err(why), _) => return Some(format!("expected {}, and {why}", self.expected())),
        };
        let holds = match self {
            Self::Equals(value) => is_same(value, found, 0.0),
            Self::About(value, within) => is_same(value, found, *within),
            Self::AtLeast(least) => found.as_f64().is_some_and(|found| found >= *least),
            Self::AtMost(most) => found.as_f64().is_some_and(|found| found <= *most),
            Self::Contains(part) => contains(part, found),
            Self::Size(size) => size_of(found) == Some(*size),
            Self::Absent(_) => true,
            Self::Null(is_null) => found.is_null() == *is_null,
        };
        if holds {
            return None;
        }
        let (expected, found) = (self.expected(), shown(found));
        Some(format!("expected {expected}, found {found}"))
    }

    fn expected(&self) -> String {
        match self {
            Self::Equals(value) => shown(value),
            Self::About(value, within) => format!("{} within {within}", shown(value)),
            Self::AtLeast(least) => format!("at least {least}"),
            Self::AtMost(most) => format!("at most {most}"),
            Self::Contains(part) => format!("something that contains {}", shown(part)),
            Self::Size(size) => format!("a size of {size}"),
            Self::Absent(_) => "something".to_owned(),
            Self::Null(true) => "null".to_owned(),
            Self::Null(false) => "something that is not null".to_owned(),
        }
    }
}

fn shown(json: &Json) -> String {
    shortened(&json.to_string(), MAX_SHOWN).into_owned()
}

/// What a value of JSON is, for messages.
pub(super) fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a bool",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// Whether both are the same value, where numbers may be so far off.
fn is_same(expected: &Json, found: &Json, within: f64) -> bool {
    match (expected, found) {
        (Json::Number(expected), Json::Number(found)) => {
            if let (Some(expected), Some(found)) = (expected.as_i64(), found.as_i64())
                && within <= 0.0
            {
                return expected == found;
            }
            let (Some(expected), Some(found)) = (expected.as_f64(), found.as_f64()) else {
                return false;
            };
            let off = (expected - found).abs();
            // 0.35 is within 0.05 of 0.3, whatever binary fractions make of that.
            let slack = if within > 0.0 {
                expected.abs().max(found.abs()) * f64::EPSILON
            } else {
                0.0
            };
            off <= within + slack
        }
        (Json::Array(expected), Json::Array(found)) => {
            let mut pairs = expected.iter().zip(found);
            expected.len() == found.len()
                && pairs.all(|(expected, found)| is_same(expected, found, within))
        }
        (Json::Object(expected), Json::Object(found)) => {
            expected.len() == found.len() && has_members(expected, found, within)
        }
        (expected, found) => expected == found,
    }
}

fn has_members(expected: &Map<String, Json>, found: &Map<String, Json>, within: f64) -> bool {
    expected.iter().all(|(name, expected)| {
        let found = found.get(name);
        found.is_some_and(|found| is_same(expected, found, within))
    })
}

fn contains(part: &Json, found: &Json) -> bool {
    match (part, found) {
        (Json::String(part), Json::String(found)) => found.contains(part.as_str()),
        (Json::Object(part), Json::Array(items)) => items.iter().any(|item| {
            let item = item.as_object();
            item.is_some_and(|item| has_members(part, item, 0.0))
        }),
        (part, Json::Array(items)) => items.iter().any(|item| is_same(part, item, 0.0)),
        (Json::String(name), Json::Object(found)) => found.contains_key(name),
        (Json::Object(part), Json::Object(found)) => has_members(part, found, 0.0),
        _ => false,
    }
}

fn size_of(json: &Json) -> Option<usize> {
    match json {
        Json::String(text) => Some(text.chars().count()),
        Json::Array(items) => Some(items.len()),
        Json::Object(members) => Some(members.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(path: &str, check: Check) -> Vec<String> {
        let answer = json!({
            "category": "cat", "share": 0.35, "count": 3, "no": null,
            "words": ["cat", "sticker"], "top": [{ "label": "cat", "share": 0.35 }],
        });
        let wanted = Wanted {
            path: Spanned::new(0..1, AnswerPath::parse(path).unwrap()),
            checks: vec![Spanned::new(2..3, check)],
        };
        let faults = wanted.faults(&answer).into_iter();
        faults.map(|(_, fault)| fault).collect()
    }

    #[test]
    fn what_holds_has_no_fault() {
        for (path, check) in [
            ("category", Check::Equals(json!("cat"))),
            ("count", Check::Equals(json!(3.0))),
            ("share", Check::About(json!(0.3), 0.05)),
            (
                "top",
                Check::About(json!([{ "label": "cat", "share": 0.3 }]), 0.1),
            ),
            ("share", Check::AtLeast(0.35)),
            ("share", Check::AtMost(0.35)),
            ("category", Check::Contains(json!("a"))),
            ("words", Check::Contains(json!("cat"))),
            ("top", Check::Contains(json!({ "label": "cat" }))),
            ("top[0]", Check::Contains(json!("label"))),
            ("top[0]", Check::Contains(json!({ "label": "cat" }))),
            ("words", Check::Size(2)),
            ("category", Check::Size(3)),
            ("gone", Check::Absent(true)),
            ("no", Check::Absent(false)),
            ("no", Check::Null(true)),
            ("words", Check::Null(false)),
        ] {
            assert_eq!(faults(path, check.clone()), [""; 0], "{path}: {check:?}");
        }
    }

    #[test]
    fn what_does_not_hold_is_told_with_what_was_found() {
        for (path, check, expected) in [
            (
                "category",
                Check::Equals(json!("dog")),
                r#"expected "dog", found "cat""#,
            ),
            (
                "count",
                Check::Equals(json!("3")),
                r#"expected "3", found 3"#,
            ),
            (
                "share",
                Check::About(json!(0.3), 0.04),
                "expected 0.3 within 0.04, found 0.35",
            ),
            (
                "share",
                Check::AtLeast(0.36),
                "expected at least 0.36, found 0.35",
            ),
            (
                "category",
                Check::AtMost(1.0),
                r#"expected at most 1, found "cat""#,
            ),
            (
                "words",
                Check::Contains(json!("ca")),
                "something that contains \"ca\", found",
            ),
            (
                "top",
                Check::Contains(json!({ "label": "dog" })),
                "contains",
            ),
            ("words", Check::Size(1), "expected a size of 1, found"),
            (
                "no",
                Check::Absent(true),
                "expected nothing there, found null",
            ),
            ("no", Check::Null(false), "not null, found null"),
            (
                "gone",
                Check::Null(true),
                "expected null, and the answer has no `gone`",
            ),
            (
                "words[2]",
                Check::Equals(json!(1)),
                "expected 1, and `words` has 2 items",
            ),
        ] {
            let faults = faults(path, check.clone());
            let is_told = faults.len() == 1 && faults[0].contains(expected);
            assert!(is_told, "{path}: {check:?}: {faults:?}");
        }
    }
}
