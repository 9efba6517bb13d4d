//! `${NAME}` and `${NAME:-default}` in the string values of a pipeline file.

use std::borrow::Cow;

/// Where variables come from: the process's environment, or a test's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a string could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// No such variable, and no default.
    #[error("the environment variable `{0}` is not set and has no default")]
    Undefined(String),
    /// `${` without `}`.
    #[error("`${{` is not closed by `}}`")]
    Unclosed,
    /// Something between `${` and `}` that is no variable name.
    #[error("`{0}` is not a variable name: expected letters, digits and underscores")]
    BadName(String),
}

impl InterpolationError {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Undefined(name) => {
                format!("set it, or give a default: `${{{name}:-value}}`")
            }
            Self::Unclosed => {
                "write `${NAME}`, `${NAME:-default}`, or `$${` for a plain `${`".into()
            }
            Self::BadName(_) => "write `${NAME}` or `${NAME:-default}`".into(),
        }
    }
}

/// Fills the variables of a string in, once: what they hold is not looked at
/// again. As in a shell, `:-` also covers a variable that is set to nothing.
///
/// # Errors
/// See [`InterpolationError`].
pub fn interpolate<'a>(
    text: &'a str,
    environment: Environment<'_>,
) -> Result<Cow<'a, str>, InterpolationError> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or(InterpolationError::Unclosed)?;
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        let well_named = !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_named {
            return Err(InterpolationError::BadName(name.to_owned()));
        }
        match (environment(name), default) {
            (Some(value), Some(default)) if value.is_empty() => filled.push_str(default),
            (Some(value), _) => filled.push_str(&value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => return Err(InterpolationError::Undefined(name.to_owned())),
        }
        rest = &inner[end + 1..];
    }
    filled.push_str(rest);
    Ok(Cow::Owned(filled))
}

#[cfg(test)]
mod tests {
    use super::{InterpolationError, interpolate};

    fn check(text: &str, expected: Result<&str, InterpolationError>) {
        let environment = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${SET}".to_owned()),
            _ => None,
        };
        let filled = interpolate(text, &environment);
        assert_eq!(
            filled.as_deref(),
            expected.as_ref().map(|text| *text),
            "{text}"
        );
    }

    #[test]
    fn variables_are_filled_in_once() {
        check("plain", Ok("plain"));
        check("a ${SET} b", Ok("a value b"));
        check("${SET}${SET}", Ok("valuevalue"));
        check("${UNSET:-0.4}", Ok("0.4"));
        check("${EMPTY:-0.4}", Ok("0.4"));
        check("${EMPTY}", Ok(""));
        check("${SET:-other}", Ok("value"));
        check("${UNSET:-}", Ok(""));
        check("${NESTED}", Ok("${SET}"));
        check("$${SET} costs $5", Ok("${SET} costs $5"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error() {
        check(
            "${UNSET}",
            Err(InterpolationError::Undefined("UNSET".into())),
        );
        check("${SET", Err(InterpolationError::Unclosed));
        check(
            "${not ok}",
            Err(InterpolationError::BadName("not ok".into())),
        );
        check("${}", Err(InterpolationError::BadName(String::new())));
    }
}
