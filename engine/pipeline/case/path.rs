//! A place in an answer, as a test writes it: `top_labels[0].label`, `all_scores["a cat"]`.

use std::fmt;

use omnizap_contract::common::names::nearest;
use serde_json::Value as Json;

use super::wanted::kind_of;

/// A place in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPath {
    text: String,
    steps: Vec<Step>,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl fmt::Display for AnswerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AnswerPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (step, after) = match rest.strip_prefix('[') {
                Some(inner) => in_brackets(inner)?,
                None if steps.is_empty() => name(rest)?,
                None => match rest.strip_prefix('.') {
                    Some(rest) => name(rest)?,
                    None => return Err(format!("expected `.` or `[` before `{rest}`")),
                },
            };
            if steps.is_empty() && matches!(step, Step::Index(_)) {
                return Err("an answer is no list: begin with the name of a field".to_owned());
            }
            steps.push(step);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// The field of the answer that it leads into, and whether it is that field itself.
    #[must_use]
    pub fn field(&self) -> (&str, bool) {
        match self.steps.split_first() {
            Some((Step::Name(name), rest)) => (name, rest.is_empty()),
            _ => ("", false),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// How far it leads, where nothing is there.
    pub fn find<'j>(&self, answer: &'j Json) -> Result<&'j Json, String> {
        let mut found = answer;
        let mut walked = "the answer".to_owned();
        for (at, step) in self.steps.iter().enumerate() {
            let next = match (step, found) {
                (Step::Name(name), Json::Object(members)) => members.get(name).ok_or_else(|| {
                    let near = nearest(name, members.keys().map(String::as_str));
                    let help = near.map(|near| format!(": did you mean `{near}`?"));
                    format!("{walked} has no `{name}`{}", help.unwrap_or_default())
                }),
                (Step::Index(index), Json::Array(items)) => items.get(*index).ok_or_else(|| {
                    let many = items.len();
                    let plural = if many == 1 { "" } else { "s" };
                    format!("{walked} has {many} item{plural}, and items count from 0")
                }),
                (Step::Name(name), other) => {
                    let kind = kind_of(other);
                    Err(format!("{walked} is {kind}, which has no `{name}`"))
                }
                (Step::Index(_), other) => Err(format!("{walked} is {}, no list", kind_of(other))),
            };
            found = next?;
            walked = walked_to(&self.steps[..=at]);
        }
        Ok(found)
    }
}

/// The name of what these steps lead to, for messages.
fn walked_to(steps: &[Step]) -> String {
    let mut walked = String::from("`");
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Name(name) if at == 0 => walked.push_str(name),
            Step::Name(name) => walked.push_str(&format!(".{name}")),
            Step::Index(index) => walked.push_str(&format!("[{index}]")),
        }
    }
    walked.push('`');
    walked
}

/// A plain name, up to the next step.
fn name(text: &str) -> Result<(Step, &str), String> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    if end == 0 {
        return Err("a name is empty".to_owned());
    }
    Ok((Step::Name(text[..end].to_owned()), &text[end..]))
}

/// What is in brackets, of which the first is read.
fn in_brackets(text: &str) -> Result<(Step, &str), String> {
    let quote = text.chars().next().filter(|char| "\"'".contains(*char));
    let Some(quote) = quote else {
        let (digits, rest) = text.split_once(']').ok_or("`[` is not closed by `]`")?;
        let index = digits.parse().map_err(|_| {
            format!(
                "between `[` and `]` stands a number from 0 or a name in quotes, found `{digits}`"
            )
        })?;
        return Ok((Step::Index(index), rest));
    };
    let end = format!("{quote}]");
    let (name, rest) = text[1..]
        .split_once(&*end)
        .ok_or_else(|| format!("`[{quote}` is not closed by `{end}`"))?;
    Ok((Step::Name(name.to_owned()), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_names_and_items() {
        let answer = json!({
            "category": "cat", "top": [{ "label": "cat" }, { "label": "a.b" }],
            "scores": { "a cat": 0.5, "a.b": 0.25 }, "a.b": 1,
        });
        for (path, expected) in [
            ("category", json!("cat")),
            ("top[1].label", json!("a.b")),
            ("top[1]['label']", json!("a.b")),
            ("scores.a cat", json!(0.5)),
            ("scores[\"a.b\"]", json!(0.25)),
            ("['a.b']", json!(1)),
        ] {
            let path = AnswerPath::parse(path).unwrap();
            assert_eq!(path.find(&answer), Ok(&expected), "{path}");
        }
        for (path, expected) in [
            (
                "categry",
                "the answer has no `categry`: did you mean `category`?",
            ),
            ("top[2].label", "`top` has 2 items, and items count from 0"),
            ("top.label", "`top` is a list, which has no `label`"),
            ("scores[0]", "`scores` is an object, no list"),
            (
                "top[0].label.x",
                "`top[0].label` is a text, which has no `x`",
            ),
        ] {
            let path = AnswerPath::parse(path).unwrap();
            assert_eq!(path.find(&answer).unwrap_err(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (path, expected) in [
            ("", "a name is empty"),
            ("a..b", "a name is empty"),
            ("a.", "a name is empty"),
            ("a[0", "not closed"),
            ("a['b'", "not closed"),
            ("a[-1]", "a number from 0"),
            ("a[*]", "a number from 0"),
            ("a[0]b", "expected `.` or `[`"),
            ("[0]", "begin with the name of a field"),
        ] {
            let error = AnswerPath::parse(path).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }
}
