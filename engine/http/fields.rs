//! Raw fields to the values of a pipeline's request, each checked against its
//! field's type and bounds. What the client got wrong is named by its field.

mod each;

use std::borrow::Cow;

use bytes::Bytes;
use omnizap_contract::common::names::nearest;
use omnizap_contract::{Error, ErrorKind, PortType, Value};
use serde_json::Value as Json;

use super::raw::{Raw, RawFields};
use super::text::{Unicode, decode, decoded, unmarked};
use crate::pipeline::config::PipelineFile;
use crate::pipeline::request::{Field, Source, quoted};
use crate::pipeline::run::Item;

/// Most names that the refusal of an unknown field lists.
const MAX_LISTED: usize = 20;

/// What a request brought, sorted by the fields that a pipeline knows.
#[derive(Debug)]
pub(super) struct Sent {
    /// For each field of the pipeline what came for it, in the order in which it came.
    given: Vec<Vec<Raw>>,
    /// Names that the pipeline takes nothing from, sorted.
    unknown: Vec<String>,
}

impl Sent {
    /// Sorts what came in the body, in the query string and in the path.
    pub(super) fn sort(
        file: &PipelineFile,
        mut body: RawFields,
        mut query: RawFields,
        path: &[(&str, &str)],
    ) -> Self {
        let reads_query = reads_query(file);
        let known = file.request.iter();
        let known: Vec<&str> = known.map(|field| field.name.get_ref().as_str()).collect();
        let sorted = file.request.iter().map(|field| {
            let name = field.name.get_ref();
            let mut given: Vec<Raw> = match field.source {
                Source::Path => {
                    let parts = path.iter().filter(|(known, _)| known == name);
                    parts
                        .map(|(_, part)| Raw::Path((*part).to_owned()))
                        .collect()
                }
                Source::Query => query.take(name),
                Source::Body => {
                    let mut given = if field.any_name {
                        body.take_files(name, &known)
                    } else {
                        body.take(name)
                    };
                    if reads_query {
                        given.extend(query.take(name));
                    }
                    given
                }
            };
            if field.ty == PortType::Bytes && !field.required {
                given.retain(|raw| !raw.is_unchosen());
            }
            given
        });
        let given = sorted.collect();
        let mut unknown: Vec<String> = body.into_names().chain(query.into_names()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        Self { given, unknown }
    }

    /// The names that the pipeline does not know.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Refuses what the pipeline does not know.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the nearest name that it does know.
    pub(super) fn check_known(&self, file: &PipelineFile) -> Result<(), Error> {
        let Some(name) = self.unknown.first() else {
            return Ok(());
        };
        let mut fields = file.request.iter();
        let shown = quoted(name);
        let reason = match fields.find(|field| field.name.get_ref() == name) {
            Some(field) => {
                let place = field.source.name();
                format!("{shown} is taken from the {place} of the request and from nowhere else")
            }
            None => format!("{shown} is no field of this request{}", help(name, file)),
        };
        Err(Error::new(ErrorKind::Invalid, reason).with_code("unknown_field"))
    }

    /// What the stages run for; `file` is that of the fields that it was sorted by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a field that is missing, given more than once, of another type
    /// or out of bounds, [`ErrorKind::UnsupportedType`] for a file of a type that is not accepted,
    /// [`ErrorKind::TooLarge`] for one that is too large, and for too many values of one. What is
    /// wrong with one of several values is that value's alone.
    pub(super) fn values(self, file: &PipelineFile) -> Result<Runs, Error> {
        file.check_one_of(&|name| {
            let mut fields = file.request.iter().zip(&self.given);
            let came = fields.find(|(field, _)| field.name.get_ref() == name);
            came.is_some_and(|(field, given)| given.iter().any(|raw| is_something(field, raw)))
        })?;
        let fields = &file.request;
        let mut values = Vec::new();
        let mut items: Option<(usize, Vec<Item>)> = None;
        for (field, given) in fields.iter().zip(self.given) {
            if let Some(most) = field.each {
                let read = each::read_each(field, given, most)?;
                items = Some((values.len(), read));
                continue;
            }
            values.extend(ports_of(field, read(field, given)?)?);
        }
        let Some((at, items)) = items else {
            return Ok(Runs::One(values));
        };
        let runs = items.into_iter().map(|item| -> Item {
            let mut run = values.clone();
            drop(run.splice(at..at, item?));
            Ok(run)
        });
        Ok(Runs::Each(runs.collect()))
    }
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Runs {
    /// One run, with the values of the request's ports in their order.
    One(Vec<Option<Value>>),
    /// A run for each of several values.
    Each(Vec<Item>),
}

/// True for what is more than a field without a value.
fn is_something(field: &Field, raw: &Raw) -> bool {
    match raw {
        Raw::Json(Json::Null) => false,
        Raw::Json(Json::String(text)) => !text.trim().is_empty(),
        Raw::Json(Json::Array(items)) => field.ty == PortType::Json || !items.is_empty(),
        Raw::Json(_) => true,
        Raw::Part { data, filename, .. } => filename.is_some() || !data.trim_ascii().is_empty(),
        Raw::Query(text) | Raw::Path(text) => !text.is_empty(),
    }
}

/// The values of a field's ports.
fn ports_of(field: &Field, read: Read) -> Result<Vec<Option<Value>>, Error> {
    let value = match read.url {
        Some(_) => None,
        None => read.value.or_else(|| field.default.clone()),
    };
    if value.is_none() && read.url.is_none() && field.required {
        return Err(field
            .invalid("this field is required")
            .with_code("missing_field"));
    }
    let mut values = vec![value];
    if field.filename.is_some() {
        values.push(read.filename.map(Value::from));
    }
    if field.content_type.is_some() {
        values.push(read.content_type.map(Value::from));
    }
    if field.data_url.is_some() {
        values.push(read.url.map(Value::Bytes));
    }
    Ok(values)
}

/// True where fields that are not said to come from elsewhere come from the query string too.
fn reads_query(file: &PipelineFile) -> bool {
    let route = file.route.as_ref();
    route.is_some_and(|route| route.get_ref().reads_query())
}

/// True where any field of the pipeline may come from the query string.
pub(super) fn takes_query(file: &PipelineFile) -> bool {
    let mut fields = file.request.iter();
    reads_query(file) || fields.any(|field| field.source == Source::Query)
}

/// What a client may have meant by a name: the nearest, else some of those that there are.
fn help(name: &str, file: &PipelineFile) -> String {
    let fields = file.request.iter();
    let sent = fields.filter(|field| field.source != Source::Path);
    let names: Vec<&str> = sent.map(|field| field.name.get_ref().as_str()).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!(": did you mean `{near}`?"),
        None if names.is_empty() => ", which has none".to_owned(),
        None if names.len() > MAX_LISTED => String::new(),
        None => format!(": expected one of: {}", names.join(", ")),
    }
}

/// What one field brought.
#[derive(Default)]
struct Read {
    value: Option<Value>,
    filename: Option<String>,
    content_type: Option<String>,
    /// The file of a text that is a `data:` URL.
    url: Option<Bytes>,
}

impl From<Option<Value>> for Read {
    fn from(value: Option<Value>) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }
}

fn read(field: &Field, mut given: Vec<Raw>) -> Result<Read, Error> {
    if given.len() > 1 {
        return read_repeated(field, &given);
    }
    let Some(raw) = given.pop() else {
        return Ok(Read::default());
    };
    let is_file = field.ty == PortType::Bytes;
    Ok(match raw {
        Raw::Json(Json::Null) => field.value_of_null()?.into(),
        Raw::Json(Json::String(text)) if is_file => {
            let upload = field.upload_of_text(&text)?;
            Read {
                value: Some(Value::Bytes(upload.data)),
                content_type: upload.content_type,
                ..Read::default()
            }
        }
        Raw::Json(Json::String(text)) if field.data_url.is_some() => read_text(field, &text)?,
        // A text in JSON that is read as one in a form is.
        Raw::Json(Json::String(text)) if field.ty == PortType::TextList => {
            field.value_of_text(unmarked(&text))?.into()
        }
        Raw::Json(json) => field.value_of_json(json)?.into(),
        Raw::Part {
            data,
            filename,
            content_type,
            charset: _,
        } if is_file => {
            if let Some(declared) = &content_type {
                field.check_accepted(declared)?;
            }
            field.check_size(data.len())?;
            Read {
                value: Some(Value::Bytes(data)),
                filename: filename.filter(|name| !name.is_empty()),
                content_type,
                url: None,
            }
        }
        Raw::Query(_) if is_file => {
            return Err(field.invalid("a file cannot come in the query, only in a body"));
        }
        raw => read_text(field, &text(field, &raw)?)?,
    })
}

/// What a text brought: its value, or the file that it is the URL of.
fn read_text(field: &Field, text: &str) -> Result<Read, Error> {
    if field.data_url.is_some() && Field::is_data_url(text) {
        return Ok(Read {
            url: Some(field.upload_of_text(text)?.data),
            ..Read::default()
        });
    }
    Ok(field.value_of_text(text)?.into())
}

/// Several of one name: those of a list make one list.
fn read_repeated(field: &Field, given: &[Raw]) -> Result<Read, Error> {
    let in_query = |raw: &&Raw| matches!(raw, Raw::Query(_));
    let of_query = given.iter().filter(in_query).count();
    if of_query > 0 && of_query < given.len() {
        let both = field.invalid("is given in the query and in the body");
        return Err(both.with_code("repeated_field"));
    }
    if field.ty != PortType::TextList {
        return Err(field.repeated(given.len()));
    }
    let texts = given.iter().map(|raw| text(field, raw));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let list = field.value_of_texts(texts.iter().map(String::as_str))?;
    Ok(list.into())
}

fn text(field: &Field, raw: &Raw) -> Result<String, Error> {
    let (encoded, is_query) = match raw {
        Raw::Part { data, charset, .. } => {
            check_len(field, data)?;
            let text = decode(data, charset.as_ref());
            return text
                .map(Cow::into_owned)
                .map_err(|unreadable| field.invalid(unreadable));
        }
        Raw::Json(json) => return Ok(json.to_string()),
        Raw::Query(encoded) => (encoded, true),
        Raw::Path(encoded) => (encoded, false),
    };
    match decoded(encoded, is_query) {
        Some(bytes) => utf8(field, bytes),
        None => {
            let place = if is_query { "query" } else { "path" };
            Err(field.invalid(format!("a % in the {place} is not followed by two digits")))
        }
    }
}

fn utf8(field: &Field, data: Vec<u8>) -> Result<String, Error> {
    check_len(field, &data)?;
    let text = String::from_utf8(data).map_err(|_| field.invalid("expected text in UTF-8"))?;
    Ok(unmarked(&text).to_owned())
}

/// A text cannot be longer in bytes than four times its characters, so an upload in the place of a
/// text is refused before it is copied.
fn check_len(field: &Field, data: &[u8]) -> Result<(), Error> {
    let longest = match field.ty {
        PortType::TextList => field
            .max_items
            .saturating_mul(field.item_max_chars.saturating_add(4)),
        _ => field.max_chars,
    };
    let longest_bytes = longest
        .saturating_mul(4)
        .saturating_add(Unicode::LONGEST_MARK);
    // Of the URL of a file what the file may be counts.
    if field.data_url.is_some() && Field::begins_data_url(data) {
        return Ok(());
    }
    if data.len() > longest_bytes {
        return Err(field.invalid(format!("longer than {longest} characters")));
    }
    Ok(())
}
