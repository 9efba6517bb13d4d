//! The schema of a stage's `with = { .. }` table, and its values once checked.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use crate::typed::Opt;

/// The type of an option and its bounds.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionType {
    /// `true` or `false`.
    Bool,
    /// A whole number within inclusive bounds.
    Integer {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A finite number within inclusive bounds.
    Number {
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// Any string.
    Text,
    /// One of these strings.
    Choice(Cow<'static, [&'static str]>),
    /// A list of strings.
    TextList,
}

impl OptionType {
    /// What was expected, for an error message.
    #[must_use]
    pub fn expectation(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Text => "a string".into(),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::TextList => "a list of strings".into(),
        }
    }

    /// The value as the option wants it: strings, which may come from the environment, become
    /// what they spell. `None` where it does not fit.
    #[must_use]
    pub fn coerce(&self, raw: &Json) -> Option<Json> {
        let spelt = match (self, raw.as_str()) {
            (_, None) | (Self::Text | Self::Choice(_), _) => None,
            (Self::Bool, Some(text)) => Some(parse_bool(text).map(Json::from)?),
            (Self::Integer { .. }, Some(text)) => Some(text.trim().parse::<i64>().ok()?.into()),
            (Self::Number { .. }, Some(text)) => Some(text.trim().parse::<f64>().ok()?.into()),
            (Self::TextList, Some(text)) => {
                let items = text.split(',').map(str::trim);
                Some(items.filter(|item| !item.is_empty()).collect())
            }
        };
        let value = spelt.as_ref().unwrap_or(raw);
        if !self.fits(value) {
            return None;
        }
        Some(match self {
            Self::Number { .. } => value.as_f64()?.into(),
            _ => value.clone(),
        })
    }

    /// True for a value of this type and within its bounds.
    #[must_use]
    pub fn fits(&self, value: &Json) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Integer { min, max } => {
                value.as_i64().is_some_and(|v| (*min..=*max).contains(&v))
            }
            Self::Number { min, max } => value.as_f64().is_some_and(|v| (*min..=*max).contains(&v)),
            Self::Text => value.is_string(),
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::TextList => value
                .as_array()
                .is_some_and(|items| items.iter().all(Json::is_string)),
        }
    }
}

/// The bool that a string spells, in the spellings that environments use and that pydantic takes:
/// the one reader of bools that come as text.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// One option of a stage.
#[derive(Clone, Debug)]
pub struct OptionSpec {
    /// Its key in the `with` table.
    pub name: Cow<'static, str>,
    /// Its type and bounds.
    pub ty: OptionType,
    /// Its value when the file does not set it; `None` makes it compulsory, and
    /// JSON `null` leaves it unset.
    pub default: Option<Json>,
    /// The name under which its value may be shown to clients (as `GET /labels`
    /// does); `None` keeps it to the operator.
    pub public: Option<Cow<'static, str>>,
    /// True for a key or a password: its value is shown to nobody.
    pub is_secret: bool,
    /// True for a time in milliseconds within which the stage itself ends a run, with an answer
    /// that says so: a shorter limit from outside would take that answer away.
    pub bounds_run_ms: bool,
    /// One line for people: what it does, its unit.
    pub doc: Cow<'static, str>,
}

impl OptionSpec {
    /// An option that may be left out.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        ty: OptionType,
        default: impl Into<Json>,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            ty,
            default: Some(default.into()),
            public: None,
            is_secret: false,
            bounds_run_ms: false,
            doc: doc.into(),
        }
    }

    /// An option that the file must set.
    #[must_use]
    pub fn required(
        name: impl Into<Cow<'static, str>>,
        ty: OptionType,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            ty,
            default: None,
            public: None,
            is_secret: false,
            bounds_run_ms: false,
            doc: doc.into(),
        }
    }

    /// The same option, its value shown to clients as `name`.
    #[must_use]
    pub fn public(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.public = Some(name.into());
        self
    }
}

/// The options of one stage: complete (defaults filled in), typed and within bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(Map<String, Json>);

impl Options {
    /// Options that the caller has checked against the schema.
    #[must_use]
    pub fn from_checked(values: Map<String, Json>) -> Self {
        Self(values)
    }

    /// The values, for `serde_json::from_value` into a stage's own type.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Json> {
        &self.0
    }

    /// The value of an option, `Json::Null` where it is unset.
    #[must_use]
    pub fn value(&self, name: &str) -> &Json {
        self.0.get(name).unwrap_or(&Json::Null)
    }
}

/// An option whose value has the right type and is wrong all the same, found by
/// [`crate::StageKind::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFault {
    /// The option at fault.
    pub option: String,
    /// What is wrong and what to do, in lower case.
    pub message: String,
}

impl OptionFault {
    /// A fault of this option.
    #[must_use]
    pub fn new<T>(option: Opt<T>, message: impl Into<String>) -> Self {
        Self {
            option: option.name().to_owned(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(ty: &OptionType, raw: Json, expected: Option<Json>) {
        assert_eq!(ty.coerce(&raw), expected, "{raw} as {ty:?}");
    }

    #[test]
    fn strings_become_what_they_spell() {
        let number = OptionType::Number { min: 0.0, max: 1.0 };
        check(&number, json!("0.4"), Some(json!(0.4)));
        check(&number, json!(1), Some(json!(1.0)));
        check(&number, json!("nan"), None);
        check(&number, json!("1.01"), None);
        let integer = OptionType::Integer { min: 1, max: 9 };
        check(&integer, json!(" 5 "), Some(json!(5)));
        check(&integer, json!("5.5"), None);
        check(&integer, json!(0), None);
        check(&OptionType::Bool, json!("on"), Some(json!(true)));
        check(&OptionType::Bool, json!(1), None);
        check(&OptionType::Text, json!(1), None);
        let list = OptionType::TextList;
        check(&list, json!("a, b,"), Some(json!(["a", "b"])));
        check(&list, json!(["a", 1]), None);
    }

    #[test]
    fn bools_are_spelt_as_environments_spell_them() {
        for text in [" Yes", "1", "true\r", "T", "y", "ON"] {
            assert_eq!(parse_bool(text), Some(true), "{text}");
        }
        for text in ["off", "0", "False", "f", "n ", "no"] {
            assert_eq!(parse_bool(text), Some(false), "{text}");
        }
        for text in ["maybe", "", " ", "2", "1.0", "null"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }
}
