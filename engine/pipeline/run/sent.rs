//! A stage's error in the words of the client: a stage names its ports, and a client knows the fields
//! that were sent.

use std::error::Error as StdError;
use std::fmt;

use omnizap_contract::{Error, Value};

use crate::pipeline::build::Pipeline;

/// What is behind an error whose text was said in other words.
#[derive(Debug)]
struct Behind(Error);

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match StdError::source(&self.0) {
            Some(source) => write!(f, "{source}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl StdError for Behind {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        StdError::source(&self.0)?.source()
    }
}

/// The same error, where the request is to blame for it, with the names of fields in the place of
/// those inputs that the fields went to.
pub(super) fn as_sent(
    pipeline: &Pipeline,
    node: usize,
    values: &[Option<Value>],
    error: Error,
) -> Error {
    let step = pipeline.steps[node].as_ref();
    let Some(step) = step.filter(|_| error.kind().is_of_client()) else {
        return error;
    };
    let inputs = step.inputs.iter().zip(&step.input_slots);
    let fields: Vec<(&str, &str)> = inputs
        .filter_map(|(input, slots)| Some((&*input.name, field(pipeline, slots, values)?)))
        .collect();
    let Some(message) = renamed(error.message(), &fields) else {
        return error;
    };
    let mut sent = Error::new(error.kind(), message).with_code(error.code().to_owned());
    if let Some(after) = error.retry_after() {
        sent = sent.with_retry_after(after);
    }
    if StdError::source(&error).is_some() {
        sent = sent.with_source(Behind(error));
    }
    sent
}

/// The field that an input has its value from; where nothing gave one, the field that could have.
fn field<'p>(pipeline: &'p Pipeline, slots: &[usize], values: &[Option<Value>]) -> Option<&'p str> {
    // The first slots are those of the request.
    let fields = &pipeline.graph.request_ports;
    let given = slots.iter().find(|slot| values[**slot].is_some());
    let slot = given.or_else(|| slots.iter().find(|slot| **slot < fields.len()))?;
    fields.get(*slot).map(|(name, _)| name.as_str())
}

/// A message with other names for these: at its beginning, where errors name what they are about, and
/// wherever one stands in backticks. [`None`] where it holds none of them.
fn renamed(message: &str, names: &[(&str, &str)]) -> Option<String> {
    let begins = |name: &str| {
        let rest = message.strip_prefix(name)?;
        let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        (!rest.starts_with(goes_on)).then_some(rest)
    };
    let first = names
        .iter()
        .find_map(|(name, other)| Some((*other, begins(name)?)));
    let (mut said, mut rest) = first.map_or((String::new(), message), |(other, rest)| {
        (other.to_owned(), rest)
    });
    while let Some((before, after)) = rest.split_once('`') {
        said.push_str(before);
        said.push('`');
        rest = after;
        let Some((name, after)) = rest.split_once('`') else {
            break;
        };
        let other = names.iter().find(|(known, _)| *known == name);
        said.push_str(other.map_or(name, |(_, other)| *other));
        said.push('`');
        rest = after;
    }
    said.push_str(rest);
    (said != message).then_some(said)
}

#[cfg(test)]
mod tests {
    use omnizap_contract::ErrorKind;
    use omnizap_contract::common::chain::chain;

    use super::*;

    #[test]
    fn a_message_names_fields_in_the_place_of_inputs() {
        let names = [
            ("file", "picture"),
            ("labels", "words"),
            ("words", "labels"),
        ];
        for (message, expected) in [
            (
                "file is no picture; send a file",
                Some("picture is no picture; send a file"),
            ),
            (
                "labels: more than 3 labels",
                Some("words: more than 3 labels"),
            ),
            ("file", Some("picture")),
            // At once, or one would become the other again.
            (
                "`labels` and `words` of `it`",
                Some("`words` and `labels` of `it`"),
            ),
            ("labels: not `words`, `", Some("words: not `labels`, `")),
            ("file-size is odd", None),
            ("files are odd", None),
            ("the file is odd", None),
            ("", None),
        ] {
            assert_eq!(renamed(message, &names).as_deref(), expected, "{message}");
        }
        assert_eq!(renamed("file is odd", &[("file", "file")]), None);
    }

    #[test]
    fn what_is_behind_an_error_is_told_once() {
        let cause = std::io::Error::other("early end");
        let error = Error::new(ErrorKind::Invalid, "file is broken").with_source(cause);
        let sent = Error::new(ErrorKind::Invalid, "picture is broken").with_source(Behind(error));
        assert_eq!(chain(&sent), "picture is broken: early end");
    }
}
