//! What a test sends, made into the values of the request's ports by the rules that a client's
//! request is read by.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use omnizap_contract::{Error, ErrorKind, PortType, Value};
use serde_json::Value as Json;

use super::files::{Content, Named, Samples};
use crate::pipeline::case::Case;
use crate::pipeline::config::PipelineFile;
use crate::pipeline::diagnostic::{BUILTIN, Diagnostic};
use crate::pipeline::request::{Field, Source, Upload};

/// Values by the names of the request's ports.
pub(super) type Ports = HashMap<String, Value>;

/// What was read, or why a client would be refused; else a file that cannot be read.
type Read<T> = Result<Result<T, Error>, Box<Diagnostic>>;

/// What the stages run for.
pub(super) enum Runs {
    One(Ports),
    /// What is wrong with one of them is that one's alone.
    Each(Vec<Result<Ports, Error>>),
}

/// The request of a test; else why a client would be refused.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn read(file: &PipelineFile, case: &Case, samples: Samples<'_>) -> Read<Runs> {
    let read = Reading {
        file,
        case,
        samples,
    };
    read.all()
}

struct Reading<'r> {
    file: &'r PipelineFile,
    case: &'r Case,
    samples: Samples<'r>,
}

/// What a field was given, and where the file says so.
type Sent = (Json, Range<usize>);

/// Reads something, and passes on why a client is refused.
macro_rules! or_refused {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

impl Reading<'_> {
    fn all(&self) -> Read<Runs> {
        let is_given = |name: &str| {
            let mut fields = self.file.request.iter();
            let field = fields.find(|field| field.name.get_ref() == name);
            field.is_some_and(|field| self.sent(field).is_some())
        };
        or_refused!(self.file.check_one_of(&is_given));
        let mut common = Ports::new();
        let mut items = None;
        for field in &self.file.request {
            let sent = self.sent(field);
            if let Some(most) = field.each {
                items = Some(or_refused!(self.each(field, sent, most)?));
                continue;
            }
            let ports = match &sent {
                Some((json, span)) => or_refused!(self.ports(field, json, span)?),
                None => Ports::new(),
            };
            if ports.is_empty() {
                or_refused!(missing(field));
            }
            common.extend(ports);
        }
        let Some(items) = items else {
            return Ok(Ok(Runs::One(common)));
        };
        let runs = items.into_iter().map(|item| -> Result<Ports, Error> {
            let mut ports = common.clone();
            ports.extend(item?);
            Ok(ports)
        });
        Ok(Ok(Runs::Each(runs.collect())))
    }

    /// A field that may come several times.
    fn each(
        &self,
        field: &Field,
        sent: Option<Sent>,
        most: usize,
    ) -> Read<Vec<Result<Ports, Error>>> {
        let Some((json, span)) = sent else {
            or_refused!(missing(field));
            // One run with its default.
            let one = field.default.iter().map(|_| Ok(Ports::new()));
            return Ok(Ok(one.collect()));
        };
        let list = match json {
            Json::Array(list) => list,
            one => vec![one],
        };
        if list.len() > most {
            let (name, len) = (field.name.get_ref(), list.len());
            let many = format!("{name}: {len} values, at most {most} are allowed");
            let many = Error::new(ErrorKind::TooLarge, many);
            return Ok(Err(many.with_code("too_many_items")));
        }
        let mut each = Vec::with_capacity(list.len());
        for json in &list {
            let ports = self.ports(field, json, &span)?;
            each.push(ports.and_then(|ports| {
                if ports.is_empty() {
                    let empty = field.invalid("must not be empty");
                    return Err(empty.with_code("missing_field"));
                }
                Ok(ports)
            }));
        }
        Ok(Ok(each))
    }

    fn sent(&self, field: &Field) -> Option<Sent> {
        let name = field.name.get_ref();
        let picture = self.case.picture.as_ref();
        if let Some(picture) = picture.filter(|_| field.ty == PortType::Bytes) {
            return Some((Json::from(picture.get_ref().as_str()), picture.span()));
        }
        let mut given = self.case.request.iter();
        let (_, value) = given.find(|(given, _)| given.get_ref() == name)?;
        Some((value.get_ref().clone(), value.span()))
    }

    /// What the test says that an upload says of itself.
    fn said(&self, port: Option<&toml::Spanned<String>>) -> Option<String> {
        let port = port?.get_ref();
        let mut given = self.case.request.iter();
        let (_, value) = given.find(|(given, _)| given.get_ref() == port)?;
        value.get_ref().as_str().map(str::to_owned)
    }

    /// The values of a field's ports.
    fn ports(&self, field: &Field, json: &Json, span: &Range<usize>) -> Read<Ports> {
        let mut ports = Ports::new();
        let name = field.name.get_ref();
        match (field.ty, json) {
            (PortType::Bytes, Json::String(text)) => {
                let named = Named {
                    text,
                    span: span.clone(),
                };
                let (upload, own_name) = or_refused!(self.upload(field, &named)?);
                ports.insert(name.clone(), Value::Bytes(upload.data));
                let filename = self.said(field.filename.as_ref()).or(own_name);
                let said = [
                    (&field.filename, filename),
                    (&field.content_type, upload.content_type),
                ];
                for (port, text) in said {
                    if let (Some(port), Some(text)) = (port, text) {
                        ports.insert(port.get_ref().clone(), Value::from(text));
                    }
                }
            }
            (PortType::Text, Json::String(text))
                if field.data_url.is_some() && Field::is_data_url(text) =>
            {
                let upload = or_refused!(field.upload_of_text(text));
                if let Some(port) = &field.data_url {
                    ports.insert(port.get_ref().clone(), Value::Bytes(upload.data));
                }
            }
            (_, Json::String(text)) if field.source != Source::Body => {
                let value = or_refused!(field.value_of_text(text));
                ports.extend(value.map(|value| (name.clone(), value)));
            }
            (_, json) => {
                let value = or_refused!(field.value_of_json(json.clone()));
                ports.extend(value.map(|value| (name.clone(), value)));
            }
        }
        Ok(Ok(ports))
    }

    /// A file, and how it is called.
    fn upload(&self, field: &Field, named: &Named<'_>) -> Read<(Upload, Option<String>)> {
        let (data, own_name) = match named.find(self.file, self.samples)? {
            Content::Url => {
                let mut upload = or_refused!(field.upload_of_text(named.text));
                let said = self.said(field.content_type.as_ref());
                upload.content_type = said.or(upload.content_type);
                return Ok(Ok((upload, None)));
            }
            Content::Sample(bytes) => {
                let name = named.text.strip_prefix(BUILTIN).unwrap_or(named.text);
                (bytes.to_vec(), Some(name.to_owned()))
            }
            Content::File(path) => {
                let bytes = named.read(self.file, &path)?;
                (bytes, file_name(&path))
            }
        };
        let content_type = self.said(field.content_type.as_ref());
        if let Some(declared) = &content_type {
            or_refused!(field.check_accepted(declared));
        }
        or_refused!(field.check_size(data.len()));
        let upload = Upload {
            data: data.into(),
            content_type,
        };
        Ok(Ok((upload, own_name)))
    }
}

fn file_name(path: &Path) -> Option<String> {
    let name = path.file_name()?;
    Some(name.to_string_lossy().into_owned())
}

/// The refusal of a request without a field that it needs.
fn missing(field: &Field) -> Result<(), Error> {
    if !field.required || field.default.is_some() {
        return Ok(());
    }
    let missing = field.invalid("this field is required");
    Err(missing.with_code("missing_field"))
}
