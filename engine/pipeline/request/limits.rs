//! What a pipeline allows of its requests as a whole.

use omnizap_contract::{Error, ErrorKind};
use toml::Spanned;

use super::{Field, Source};
use crate::pipeline::reader::{Entries, Reader};

/// Largest `max_body_bytes`.
pub(in crate::pipeline) const LARGEST_BODY: i64 = 1 << 30;
/// Largest `max_in_flight` and `max_fields`.
pub(in crate::pipeline) const LARGEST_COUNT: i64 = 1 << 16;

/// The keys of `[pipeline]` that are read here.
pub(in crate::pipeline) const LIMIT_KEYS: [&str; 4] = [
    "max_body_bytes",
    "max_in_flight",
    "max_fields",
    "unknown_fields",
];

/// Bounds on the requests of one pipeline. Those of the service hold beside them, for all of its
/// pipelines together where they count requests: a pipeline can be stricter and not looser, and
/// a file that says more than the service allows gets what the service allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLimits {
    /// Largest body, in bytes: 413 beyond.
    pub max_body_bytes: Option<usize>,
    /// Most requests at one time: 429 beyond.
    pub max_in_flight: Option<usize>,
    /// Most parts of a form, members of a JSON body, and fields of a query string, each: 422
    /// beyond.
    pub max_fields: Option<usize>,
    /// What a field means that the pipeline does not know.
    pub unknown_fields: UnknownFields,
}

/// What a sent field means that the pipeline does not know: `unknown_fields` in `[pipeline]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// The answer names it in the header `X-Unknown-Fields`.
    #[default]
    Tell,
    /// The request is refused with 422.
    Refuse,
}

impl UnknownFields {
    const NAMES: [(&str, Self); 2] = [("tell", Self::Tell), ("refuse", Self::Refuse)];

    /// The word of pipeline files.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, meaning)| *meaning == self);
        named.map_or("", |(name, _)| name)
    }
}

/// The bounds that `[pipeline]` sets on requests of these fields.
pub(in crate::pipeline) fn read_limits(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    fields: &[Field],
) -> RequestLimits {
    let mut count = |key: &str, largest: i64| {
        let node = entries.get(key)?;
        let count = reader.integer(node, &format!("`{key}`"), (1, largest))?;
        Some(Spanned::new(node.span(), usize::try_from(count).ok()?))
    };
    let max_body_bytes = count("max_body_bytes", LARGEST_BODY);
    let max_in_flight = count("max_in_flight", LARGEST_COUNT);
    let max_fields = count("max_fields", LARGEST_COUNT);
    if let Some(max) = &max_fields {
        let sent = fields.iter().filter(|field| field.source == Source::Body);
        let required = sent.filter(|field| field.required).count();
        if required > *max.get_ref() {
            let few = format!(
                "`max_fields` is {}, and {required} fields of [request] are required",
                max.get_ref()
            );
            let few = reader.at(max.span(), few);
            reader.report(few.help("no request could be answered: allow more"));
        }
    }
    RequestLimits {
        max_body_bytes: max_body_bytes.map(Spanned::into_inner),
        max_in_flight: max_in_flight.map(Spanned::into_inner),
        max_fields: max_fields.map(Spanned::into_inner),
        unknown_fields: read_unknown_fields(reader, entries).unwrap_or_default(),
    }
}

/// Refuses a request that brings none of these fields, or several.
///
/// # Errors
/// [`ErrorKind::Invalid`], naming those that were meant.
pub(in crate::pipeline) fn check_one_of(
    one_of: &[Spanned<String>],
    is_given: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    if one_of.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = one_of.iter().map(|name| name.get_ref().as_str()).collect();
    let given: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| is_given(name))
        .collect();
    let listed = names.join(", ");
    let (code, message) = match given.as_slice() {
        [_] => return Ok(()),
        [] => (
            "missing_field",
            format!("a field is missing: send one of {listed}"),
        ),
        several => {
            let several = several.join(" and ");
            let both = format!("send one of {listed}, and not {several} together");
            ("repeated_field", both)
        }
    };
    Err(Error::new(ErrorKind::Invalid, message).with_code(code))
}

/// The fields of which a request brings exactly one.
pub(in crate::pipeline) fn read_one_of(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    fields: &[Field],
    has_unreadable_field: bool,
) -> Vec<Spanned<String>> {
    let Some(node) = entries.get("one_of") else {
        return Vec::new();
    };
    let Some(items) = node.get_ref().as_list() else {
        reader.wrong_type(node, "`one_of`", "a list of request fields");
        return Vec::new();
    };
    let mut names: Vec<Spanned<String>> = Vec::new();
    for item in items {
        let Some(name) = reader.spanned_string(item, "`one_of`") else {
            continue;
        };
        let given = name.get_ref();
        let field = fields.iter().find(|field| field.name.get_ref() == given);
        let wrong = |message: String| reader.at(name.span(), format!("`one_of`: {message}"));
        let mistake = match field {
            None if has_unreadable_field => None,
            None => {
                let known = fields.iter().map(|field| field.name.get_ref().as_str());
                Some(wrong(format!("there is no request field `{given}`")).nearest(given, known))
            }
            Some(_) if names.iter().any(|known| known.get_ref() == given) => {
                Some(wrong(format!("`{given}` is in it twice")))
            }
            Some(field) if field.required || field.default.is_some() => {
                let always = wrong(format!("`{given}` is in every request"));
                Some(always.help("leave `required` and `default` of the field out"))
            }
            Some(field) if field.source == Source::Path => Some(wrong(format!(
                "`{given}` is of the path, and in every request"
            ))),
            Some(_) => None,
        };
        match mistake {
            Some(mistake) => reader.report(mistake),
            None => names.push(name),
        }
    }
    if items.len() < 2 {
        let few = reader.at(node.span(), "`one_of` names less than two fields");
        reader.report(few.help("of one field say required = true"));
    }
    names
}

fn read_unknown_fields(reader: &mut Reader<'_>, entries: &Entries<'_>) -> Option<UnknownFields> {
    let node = entries.get("unknown_fields")?;
    let given = reader.string(node, "`unknown_fields`")?;
    let known = UnknownFields::NAMES.iter().find(|(name, _)| *name == given);
    if known.is_none() {
        let whence = reader.whence(node);
        let wrong =
            format!("`unknown_fields`: expected \"tell\" or \"refuse\", found {given:?}{whence}");
        let wrong = reader.at(node.span(), wrong);
        reader.report(wrong);
    }
    known.map(|(_, meaning)| *meaning)
}
