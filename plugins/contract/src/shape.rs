//! What a JSON value looks like, so that a condition over it can be checked before any request.

use std::fmt;

use serde_json::Value as Json;

/// The shape of a JSON value.
///
/// It is written as JSON: `"text"`, `"number"`, `"integer"`, `"bool"` and `"any"` stand for a value
/// of that type, with a `?` behind it for one that may be `null`; `["text"]` is a list of any
/// length, `{"label": "text"}` an object with these members, `{"*": "number"}` one whose members
/// have any names.
///
/// ```
/// use omnizap_contract::JsonShape;
///
/// let shape: JsonShape = r#"[{"label": "text", "score": "number"}]"#.parse()?;
/// assert!(shape.fits(&serde_json::json!([{"label": "cat", "score": 0.5}])));
/// assert!(!shape.fits(&serde_json::json!({"label": "cat"})));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JsonShape {
    /// Nothing is known of it.
    #[default]
    Any,
    /// A string.
    Text,
    /// Any number.
    Number,
    /// A whole number of 64 bits.
    Integer,
    /// `true` or `false`.
    Bool,
    /// One of this shape, or `null`.
    Nullable(Box<Self>),
    /// A list of values of one shape, of any length.
    List(Box<Self>),
    /// An object whose members have any names and one shape.
    Map(Box<Self>),
    /// An object with these members.
    Object(Vec<(String, Self)>),
}

impl JsonShape {
    /// True for a value of this shape. An object may have more members than its shape names.
    #[must_use]
    pub fn fits(&self, value: &Json) -> bool {
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64(),
            Self::Bool => value.is_boolean(),
            Self::Nullable(shape) => value.is_null() || shape.fits(value),
            Self::List(shape) => value
                .as_array()
                .is_some_and(|items| items.iter().all(|item| shape.fits(item))),
            Self::Map(shape) => value
                .as_object()
                .is_some_and(|members| members.values().all(|member| shape.fits(member))),
            Self::Object(members) => value.as_object().is_some_and(|object| {
                let mut members = members.iter();
                members.all(|(name, shape)| object.get(name).is_some_and(|it| shape.fits(it)))
            }),
        }
    }

    fn of(json: &Json) -> Result<Self, String> {
        Ok(match json {
            Json::String(word) => match word.strip_suffix('?') {
                Some(word) => Self::Nullable(Box::new(Self::of_word(word)?)),
                None => Self::of_word(word)?,
            },
            Json::Array(items) => match items.as_slice() {
                [item] => Self::List(Box::new(Self::of(item)?)),
                _ => return Err(format!("a list has one shape, found {}", items.len())),
            },
            Json::Object(members) => match members.get("*") {
                Some(member) if members.len() == 1 => Self::Map(Box::new(Self::of(member)?)),
                Some(_) => return Err("`*` stands alone in an object".into()),
                None => {
                    let members = members.iter();
                    let shapes = members.map(|(name, shape)| Ok((name.clone(), Self::of(shape)?)));
                    Self::Object(shapes.collect::<Result<_, String>>()?)
                }
            },
            other => return Err(format!("{other} is no shape")),
        })
    }

    fn of_word(word: &str) -> Result<Self, String> {
        Ok(match word {
            "any" => Self::Any,
            "text" => Self::Text,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "bool" => Self::Bool,
            _ => {
                return Err(format!(
                    "expected text, number, integer, bool or any, found {word:?}"
                ));
            }
        })
    }
}

impl std::str::FromStr for JsonShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::of(&json)
    }
}

/// For people: `list of {label: text, score: number}`.
impl fmt::Display for JsonShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any JSON"),
            Self::Text => f.write_str("text"),
            Self::Number => f.write_str("number"),
            Self::Integer => f.write_str("integer"),
            Self::Bool => f.write_str("bool"),
            Self::Nullable(shape) => write!(f, "{shape} or null"),
            Self::List(shape) => write!(f, "list of {shape}"),
            Self::Map(shape) => write!(f, "{{any name: {shape}}}"),
            Self::Object(members) => {
                f.write_str("{")?;
                for (place, (name, shape)) in members.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}: {shape}")?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonShape;

    #[test]
    fn a_shape_fits_what_it_says() {
        let shape = r#"{"tags": ["text"], "by": {"*": "number"}, "at": "integer?", "is": "bool"}"#;
        let shape: JsonShape = shape.parse().unwrap();
        assert_eq!(
            shape.to_string(),
            "{tags: list of text, by: {any name: number}, at: integer or null, is: bool}"
        );
        let value = json!({"tags": ["a"], "by": {"x": 1, "y": 0.5}, "at": null, "is": true});
        assert!(shape.fits(&value));
        for (member, wrong) in [
            ("tags", json!([1])),
            ("by", json!({"x": "1"})),
            ("at", json!(0.5)),
            ("is", json!("true")),
        ] {
            let mut other = value.clone();
            other[member] = wrong;
            assert!(!shape.fits(&other), "{member}");
        }
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        for text in [r#""string""#, "1", "[]", r#"{"*": "any", "a": "any"}"#, "{"] {
            assert!(text.parse::<JsonShape>().is_err(), "{text}");
        }
    }
}
