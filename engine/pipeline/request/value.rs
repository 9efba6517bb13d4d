//! What was sent as a field, as text or as JSON, made into its value: the same rules over
//! HTTP and on the command line.

use std::sync::Arc;

use omnizap_contract::option::parse_bool;
use omnizap_contract::{Error, ErrorKind, PortType, Value};
use serde_json::Value as Json;

use super::{Field, list};
pub(crate) use crate::pipeline::diagnostic::quoted;

/// Up to here every whole number is one of `f64`.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

impl Field {
    /// The error of a client that sent what the field does not take.
    pub(crate) fn invalid(&self, message: impl std::fmt::Display) -> Error {
        let message = format!("{}: {message}", self.name.get_ref());
        Error::new(ErrorKind::Invalid, message).with_code("invalid_field")
    }

    /// The value that a text stands for, whatever the field's type. Nothing but blanks counts
    /// as absent; a bool with a default is neither true nor false then, and is refused.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the field, for a text of another type or out of bounds.
    pub fn value_of_text(&self, text: &str) -> Result<Option<Value>, Error> {
        if text.trim().is_empty() {
            return match (self.ty, &self.default) {
                // A mistake of the client must not count as a judgement.
                (PortType::Bool, Some(default)) => Err(self.no_bool(default, "an empty text")),
                _ => Ok(None),
            };
        }
        Ok(Some(match self.ty {
            PortType::Text => Value::from(self.bounded(text)?),
            PortType::TextList => {
                let items = list::items(text.trim()).map_err(|reason| self.invalid(reason))?;
                return self.list(items.iter().map(String::as_str));
            }
            PortType::Number => self.number(text.trim().parse().ok(), &quoted(text))?,
            PortType::Integer => self.integer(whole(text.trim()), &quoted(text))?,
            PortType::Bool => Value::from(parse_bool(text).ok_or_else(|| {
                self.invalid(format!("expected true or false, found {}", quoted(text)))
            })?),
            PortType::Json => {
                let json: Json = serde_json::from_str(text)
                    .map_err(|error| self.invalid(format!("not JSON: {error}")))?;
                Value::from(json)
            }
            _ => return Err(self.invalid("cannot be sent as text")),
        }))
    }

    /// The value of several texts that were sent under the field's name: those of a list make one
    /// list, whose bounds hold over all of them.
    ///
    /// # Errors
    /// As [`Field::value_of_text`], and for more than one text of any other type.
    pub fn value_of_texts<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<Option<Value>, Error> {
        let texts: Vec<&str> = texts.into_iter().collect();
        match (self.ty, texts.as_slice()) {
            (_, []) => Ok(None),
            (_, [text]) => self.value_of_text(text),
            (PortType::TextList, texts) => {
                let mut all = Vec::new();
                for text in texts {
                    let items = list::items(text.trim()).map_err(|reason| self.invalid(reason))?;
                    all.extend(items);
                }
                self.list(all.iter().map(String::as_str))
            }
            (_, texts) => Err(self.repeated(texts.len())),
        }
    }

    /// The error of a client that sent the field more than once.
    pub(crate) fn repeated(&self, times: usize) -> Error {
        let error = match times {
            2 => self.invalid("is given twice"),
            _ => self.invalid(format!("is given {times} times")),
        };
        error.with_code("repeated_field")
    }

    /// The value of a member of a JSON object.
    ///
    /// # Errors
    /// As [`Field::value_of_text`], and for a file as [`Field::upload_of_text`].
    pub fn value_of_json(&self, json: Json) -> Result<Option<Value>, Error> {
        let shown = kind_of(&json);
        Ok(Some(match (self.ty, json) {
            (PortType::Json, json) => Value::from(json),
            (PortType::Bytes, Json::String(text)) => Value::Bytes(self.upload_of_text(&text)?.data),
            (PortType::Text, Json::String(text)) if text.trim().is_empty() => return Ok(None),
            (PortType::Text, Json::String(text)) => Value::from(self.bounded(&text)?),
            (PortType::TextList, Json::Array(items)) => return self.list_of_json(&items),
            (PortType::Number, Json::Number(json)) => {
                self.number(json.as_f64(), &json.to_string())?
            }
            (PortType::Integer, Json::Number(json)) => {
                let integer = json.as_i64().or_else(|| whole_number(json.as_f64()?));
                self.integer(integer, &json.to_string())?
            }
            (PortType::Bool, Json::Bool(bool)) => Value::from(bool),
            (PortType::Bool, Json::Number(json)) => match json.as_f64() {
                Some(1.0) => Value::from(true),
                Some(0.0) => Value::from(false),
                _ => {
                    return Err(self.invalid(format!("expected true or false, found {json}")));
                }
            },
            (
                PortType::Number | PortType::Integer | PortType::Bool | PortType::TextList,
                Json::String(text),
            ) => return self.value_of_text(&text),
            (ty, _) => {
                let expected = if ty == PortType::Bytes {
                    "base64 text".into()
                } else {
                    ty.to_string()
                };
                return Err(self.invalid(format!("expected {expected}, found {shown}")));
            }
        }))
    }

    /// `null` is the same as leaving the field out, where that means that there is no value.
    /// Where it means a certain value, nobody would expect `null` to mean it too.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the field, where it has a default.
    pub(crate) fn value_of_null(&self) -> Result<Option<Value>, Error> {
        match &self.default {
            None => Ok(None),
            Some(default) if self.ty == PortType::Bool => Err(self.no_bool(default, "null")),
            Some(default) => Err(self.invalid(format!(
                "expected {}, found null; without the field it is {}",
                self.ty,
                default.to_json()
            ))),
        }
    }

    /// The error of a client that said nothing where true and false are meant.
    fn no_bool(&self, default: &Value, found: &str) -> Error {
        let default = default.to_json();
        self.invalid(format!(
            "expected true or false, found {found}; without the field it is {default}"
        ))
    }

    /// A text within the bounds; trimmed and without control characters where it is one line.
    fn bounded<'t>(&self, text: &'t str) -> Result<&'t str, Error> {
        let text = if self.one_line { text.trim() } else { text };
        let chars = text.chars().count();
        if chars > self.max_chars {
            let max = self.max_chars;
            return Err(self.invalid(format!("{chars} characters, at most {max} are allowed")));
        }
        if self.one_line && text.chars().any(char::is_control) {
            return Err(self.invalid("holds a control character"));
        }
        Ok(text)
    }

    fn number(&self, number: Option<f64>, found: &str) -> Result<Value, Error> {
        let number = number.filter(|number| number.is_finite());
        match number.filter(|number| self.holds(*number)) {
            Some(number) => Ok(Value::Number(number)),
            None => {
                let bounds = self.bounds();
                Err(self.invalid(format!("expected a number{bounds}, found {found}")))
            }
        }
    }

    fn integer(&self, integer: Option<i64>, found: &str) -> Result<Value, Error> {
        match integer.filter(|integer| self.holds(*integer as f64)) {
            Some(integer) => Ok(Value::Integer(integer)),
            None => {
                let bounds = self.bounds();
                Err(self.invalid(format!("expected a whole number{bounds}, found {found}")))
            }
        }
    }

    fn holds(&self, number: f64) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }

    fn bounds(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!(" from {min} to {max}"),
            (Some(min), None) => format!(" of at least {min}"),
            (None, Some(max)) => format!(" of at most {max}"),
            (None, None) => String::new(),
        }
    }

    fn list_of_json(&self, items: &[Json]) -> Result<Option<Value>, Error> {
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let text = item.as_str().ok_or_else(|| {
                let found = kind_of(item);
                self.invalid(format!("expected a list of strings, found {found} in it"))
            })?;
            texts.push(text);
        }
        self.list(texts.into_iter())
    }

    /// Items without the blanks around them; empty ones do not count, and a list of nothing
    /// is absent.
    fn list<'t>(&self, items: impl Iterator<Item = &'t str>) -> Result<Option<Value>, Error> {
        let mut list: Vec<Arc<str>> = Vec::new();
        for item in items.map(str::trim).filter(|item| !item.is_empty()) {
            let chars = item.chars().count();
            if chars > self.item_max_chars {
                let max = self.item_max_chars;
                return Err(self.invalid(format!(
                    "an item has {chars} characters, at most {max} are allowed"
                )));
            }
            if list.len() == self.max_items {
                let max = self.max_items;
                return Err(self.invalid(format!("more than {max} items")));
            }
            list.push(item.into());
        }
        Ok((!list.is_empty()).then(|| Value::from(list)))
    }
}

/// The whole number that a text spells, as `3` or as `3.0`.
fn whole(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .or_else(|| whole_number(text.parse().ok()?))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number within the bounds of those that are exact"
)]
fn whole_number(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= LARGEST_EXACT).then_some(number as i64)
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a bool",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
