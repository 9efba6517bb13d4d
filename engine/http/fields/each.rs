//! A field that may come several times: a run of the stages for each of its values.

use omnizap_contract::{Error, ErrorKind};
use serde_json::Value as Json;

use super::{Raw, is_something, ports_of, read};
use crate::pipeline::request::Field;
use crate::pipeline::run::Item;

/// What came for the field, each by itself: a list of a JSON body as its items. One that is left out
/// is one run with its default, and none where it has none.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is required and left out, [`ErrorKind::TooLarge`] for more than
/// `most` values.
pub(super) fn read_each(field: &Field, given: Vec<Raw>, most: usize) -> Result<Vec<Item>, Error> {
    let name = field.name.get_ref();
    let in_query = |raw: &&Raw| matches!(raw, Raw::Query(_));
    let of_query = given.iter().filter(in_query).count();
    if of_query > 0 && of_query < given.len() {
        let both = field.invalid("is given in the query and in the body");
        return Err(both.with_code("repeated_field"));
    }
    let is_alone = given.len() == 1;
    let mut values = Vec::new();
    for raw in given {
        match raw {
            Raw::Json(Json::Array(items)) => values.extend(items.into_iter().map(Raw::Json)),
            Raw::Json(Json::Null) => {
                field.value_of_null()?;
            }
            // Nothing is the same as leaving it out.
            raw if is_alone && !field.required && !is_something(field, &raw) => {}
            raw => values.push(raw),
        }
    }
    if values.len() > most {
        let many = format!(
            "{name}: {} values, at most {most} are allowed",
            values.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, many).with_code("too_many_items"));
    }
    if values.is_empty() {
        return match &field.default {
            Some(_) => Ok(vec![ports_of(field, read(field, Vec::new())?)]),
            None if field.required => Err(missing(field, "this field is required")),
            None => Ok(Vec::new()),
        };
    }
    let is_several = values.len() > 1;
    let items = values.into_iter().enumerate().map(|(index, raw)| {
        let item = item(field, raw);
        // Of several it is told which.
        item.map_err(|error| match is_several {
            true => of_item(name, index, &error),
            false => error,
        })
    });
    Ok(items.collect())
}

fn item(field: &Field, raw: Raw) -> Item {
    let read = match raw {
        Raw::Json(Json::Null) => Err(field.invalid("an item is null")),
        raw => read(field, vec![raw]),
    }?;
    if read.value.is_none() && read.url.is_none() {
        return Err(missing(field, "must not be empty"));
    }
    ports_of(field, read)
}

fn missing(field: &Field, message: &str) -> Error {
    field.invalid(message).with_code("missing_field")
}

/// The same error, with the place of its value among the others.
fn of_item(name: &str, index: usize, error: &Error) -> Error {
    let message = error.message();
    let rest = message.strip_prefix(name).unwrap_or(message);
    let message = format!("{name}[{index}]{rest}");
    Error::new(error.kind(), message).with_code(error.code().to_owned())
}
