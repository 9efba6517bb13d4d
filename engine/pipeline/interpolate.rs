//! `${NAME}` and `${NAME:-default}` in the string values of a pipeline file. A default is text of the
//! file too and may hold variables: `${NAME:-${OTHER:-default}}`.

use std::borrow::Cow;

/// Where variables come from: the process's environment, or a test's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Most variables inside each other.
pub const MAX_NESTED: usize = 8;

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
    /// A default in a default in a default, and so on.
    #[error("more than {} variables are inside each other's defaults", MAX_NESTED)]
    TooDeep,
}

impl InterpolationError {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Undefined(name) => {
                format!("set it, or give a default: `${{{name}:-value}}`")
            }
            Self::Unclosed => "write `${NAME}`, `${NAME:-default}`, or `$${` for a plain `${`; \
                 braces inside a default come in pairs"
                .into(),
            Self::BadName(_) => "write `${NAME}` or `${NAME:-default}`".into(),
            Self::TooDeep => "leave some of them out".into(),
        }
    }
}

/// Fills the variables of a string in, and those of the defaults that are needed: what a variable
/// holds is not looked at again. As in a shell, `:-` also covers a variable that is set to nothing.
/// Where nothing but blanks would come of it, variables of blanks are set to nothing: files of
/// settings write so what is not set. Within a text their blanks stay.
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
    let filled = fill(text, Some(environment), 0)?;
    if filled.is_empty() || !filled.trim().is_empty() {
        return Ok(Cow::Owned(filled));
    }
    let without_blanks = |name: &str| {
        let value = environment(name)?;
        Some(if value.trim().is_empty() {
            String::new()
        } else {
            value
        })
    };
    fill(text, Some(&without_blanks), 0).map(Cow::Owned)
}

/// The same for a text inside so many defaults. Without an environment it is a default that is not
/// needed, and only read for what is wrong whatever the variables hold.
fn fill(
    text: &str,
    environment: Option<Environment<'_>>,
    depth: usize,
) -> Result<String, InterpolationError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        if depth == MAX_NESTED {
            return Err(InterpolationError::TooDeep);
        }
        filled.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = closing(inner).ok_or(InterpolationError::Unclosed)?;
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        if !is_name(name) {
            return Err(InterpolationError::BadName(name.to_owned()));
        }
        let value = environment.and_then(|value_of| value_of(name));
        let default = match default {
            Some(default) => {
                let is_needed = value.as_deref().is_none_or(str::is_empty);
                let environment = environment.filter(|_| is_needed);
                Some(fill(default, environment, depth + 1)?)
            }
            None => None,
        };
        match (value, default) {
            (Some(value), None) => filled.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => filled.push_str(&value),
            (_, Some(default)) => filled.push_str(&default),
            (None, None) if environment.is_some() => {
                return Err(InterpolationError::Undefined(name.to_owned()));
            }
            (None, None) => {}
        }
        rest = &inner[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// What a string says where no variable is set: what is in the file itself.
pub(super) fn without_variables(text: &str) -> String {
    fill(text, None, 0).unwrap_or_else(|_| text.to_owned())
}

/// Where the brace is that closes a variable, in what follows its `${`.
pub(super) fn closing(inner: &str) -> Option<usize> {
    let mut open = 1_usize;
    inner.bytes().position(|byte| {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        open == 0
    })
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{InterpolationError, MAX_NESTED, interpolate, without_variables};

    fn check(text: &str, expected: Result<&str, InterpolationError>) {
        let environment = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "BLANK" => Some(" \t".to_owned()),
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
        // Blanks alone are nothing, and in a text they are blanks.
        check("${BLANK:-0.4}", Ok("0.4"));
        check("${UNSET:-${BLANK:-${EMPTY:-0.4}}}", Ok("0.4"));
        check("${BLANK:-${EMPTY:-}}", Ok(""));
        check("${BLANK}", Ok(""));
        check(" ${BLANK:-x}", Ok(" x"));
        check("<${BLANK:-x}>", Ok("< \t>"));
        check("${BLANK:-x}${SET}", Ok(" \tvalue"));
        check("${UNSET:- }", Ok(" "));
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

    #[test]
    fn a_default_may_hold_variables() {
        check("${UNSET:-${OTHER:-mini}}", Ok("mini"));
        check("${UNSET:-${SET:-mini}}", Ok("value"));
        check("${EMPTY:-a ${SET}, ${OTHER:-b}.} c", Ok("a value, b. c"));
        check("${A:-${B:-${C:-${SET}}}}!", Ok("value!"));
        // What a variable holds stays as it is, in a default too.
        check("${UNSET:-${NESTED}}", Ok("${SET}"));
        check("${UNSET:-$${SET}}", Ok("${SET}"));
        check("${UNSET:-{\"a\": {}}}", Ok("{\"a\": {}}"));
        check("${SET:-{\"a\": {}}}", Ok("value"));
    }

    #[test]
    fn a_default_that_is_not_needed_is_read_for_mistakes_only() {
        check("${SET:-${UNSET}}", Ok("value"));
        let undefined = InterpolationError::Undefined("UNSET".into());
        check("${EMPTY:-${UNSET}}", Err(undefined));
        for text in ["${SET:-${not ok}}", "${UNSET:-${not ok}}"] {
            check(text, Err(InterpolationError::BadName("not ok".into())));
        }
        for text in ["${SET:-${UNSET}", "${UNSET:-${SET", "${UNSET:-{}"] {
            check(text, Err(InterpolationError::Unclosed));
        }
    }

    #[test]
    fn what_is_in_the_file_itself_is_text_and_defaults() {
        for (text, own) in [
            ("${A}", ""),
            ("${A:-}${B}", ""),
            ("${A:-x}", "x"),
            ("a ${A} b", "a  b"),
            ("${A:-${B:-y}}", "y"),
            ("$${A}", "${A}"),
            ("${A", "${A"),
        ] {
            assert_eq!(without_variables(text), own, "{text}");
        }
    }

    #[test]
    fn only_so_many_variables_are_inside_each_other() {
        let nested = |depth: usize| "${A:-".repeat(depth) + "x" + &"}".repeat(depth);
        check(&nested(MAX_NESTED), Ok("x"));
        check(&nested(MAX_NESTED + 1), Err(InterpolationError::TooDeep));
        check(&nested(100_000), Err(InterpolationError::TooDeep));
    }
}
