//! The request of a pipeline, from the command line: read by the same rules as over HTTP.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use engine::http::Limits;
use engine::pipeline::config::PipelineFile;
use engine::pipeline::request::Field;
use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Error, PortType, Value};
use serde_json::Value as Json;

use super::Failure;

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// What stands before the path of a file, in the place of a value.
const FILE_MARK: char = '@';

/// A field as it was given: what gave it, its name, its value still as text.
#[derive(Clone, Debug)]
pub(super) struct Given {
    by: &'static str,
    field: String,
    text: String,
}

impl Given {
    /// What a flag of its own gives.
    pub(super) fn new(by: &'static str, field: &str, text: impl Into<String>) -> Self {
        Self {
            by,
            field: field.to_owned(),
            text: text.into(),
        }
    }

    /// `NAME=VALUE`, the value of `--field`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (field, value) = text
            .split_once('=')
            .ok_or("expected NAME=VALUE, or NAME=@PATH where the field is a file")?;
        Ok(Self::new("--field", field, value))
    }

    /// A list of texts.
    pub(super) fn list(by: &'static str, field: &str, items: &[Arc<str>]) -> Self {
        let items: Json = items.iter().map(|item| &**item).collect();
        Self::new(by, field, items.to_string())
    }
}

/// What a pipeline is asked, or is asked of each of several files.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// By the names of the request's ports.
    values: HashMap<String, Value>,
    /// The field that a FILE is for.
    file: Option<Field>,
    /// How often standard input was read.
    pub(super) inputs_read: usize,
}

impl Request {
    /// Reads what was given. Where it `takes_files`, each goes to the pipeline's field of the
    /// type bytes, see [`Request::with_file`].
    ///
    /// # Errors
    /// [`Failure::Usage`] for what the same request over HTTP would be refused for, for fields
    /// that there are not, and for two values where there is room for one; a file that cannot be
    /// read.
    pub(super) fn new(
        pipeline: &PipelineFile,
        given: &[Given],
        takes_files: bool,
    ) -> Result<Self, Failure> {
        let mut request = Self::default();
        if takes_files {
            request.file = Some(file_field(pipeline)?.clone());
        }
        let fields = pipeline.request.iter();
        let names: HashSet<&str> = fields.map(|field| field.name.get_ref().as_str()).collect();
        if let Some(given) = given.iter().find(|given| !names.contains(&*given.field)) {
            return Err(unknown(pipeline, given));
        }
        for field in &pipeline.request {
            let name = field.name.get_ref();
            let texts = given.iter().filter(|given| given.field == *name);
            let texts: Vec<_> = texts.map(|given| &*given.text).collect();
            if field.ty == PortType::Bytes {
                request.add_file(field, &texts)?;
            } else if let (Some(port), &[text]) = (&field.data_url, texts.as_slice())
                && Field::is_data_url(text)
            {
                let upload = field.upload_of_text(text).map_err(refused)?;
                let value = Value::Bytes(upload.data);
                request.values.insert(port.get_ref().clone(), value);
            } else {
                let value = field.value_of_texts(texts).map_err(refused)?;
                let value = value.map(|value| (name.clone(), value));
                request.values.extend(value);
            }
            request.check_required(pipeline, field)?;
        }
        let for_each = request
            .file
            .as_ref()
            .map(|file| file.name.get_ref().as_str());
        let is_given = |name: &str| request.values.contains_key(name) || for_each == Some(name);
        pipeline.check_one_of(&is_given).map_err(refused)?;
        Ok(request)
    }

    fn add_file(&mut self, field: &Field, texts: &[&str]) -> Result<(), Failure> {
        let name = field.name.get_ref();
        let for_each = self.file.as_ref().map(|file| file.name.get_ref());
        let [text] = texts else {
            return match texts.len() {
                0 => Ok(()),
                2 => Err(usage(format!("{name}: is given twice"))),
                times => Err(usage(format!("{name}: is given {times} times"))),
            };
        };
        if for_each == Some(name) {
            let twice = format!("{name}: is given twice, by a FILE and by --field");
            return Err(usage(twice));
        }
        let path = text
            .strip_prefix(FILE_MARK)
            .ok_or_else(|| usage(format!("{name}: expected a file, --field {name}=@PATH")))?;
        self.upload(field, Path::new(path))
            .with_context(|| path.to_owned())?;
        Ok(())
    }

    fn check_required(&self, pipeline: &PipelineFile, field: &Field) -> Result<(), Failure> {
        let name = field.name.get_ref();
        let for_each = self.file.as_ref().map(|file| file.name.get_ref());
        let port = field.data_url.as_ref();
        let has_file = port.is_some_and(|port| self.values.contains_key(port.get_ref()));
        let is_there = self.values.contains_key(name) || has_file || for_each == Some(name);
        if is_there || !field.required || field.default.is_some() {
            return Ok(());
        }
        let way = match field.ty {
            PortType::Bytes if file_field(pipeline).is_ok() => {
                format!("name a FILE, or --field {name}=@PATH")
            }
            PortType::Bytes => format!("--field {name}=@PATH"),
            _ => format!("--field {name}=VALUE"),
        };
        Err(usage(format!("{name}: this field is required: {way}")))
    }

    /// The same, of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or is too large.
    pub(super) fn with_file(&self, path: &Path) -> anyhow::Result<Self> {
        let mut request = self.clone();
        let field = self.file.as_ref().context("the pipeline takes no file")?;
        request.upload(field, path)?;
        Ok(request)
    }

    /// The same, of bytes that are no file.
    ///
    /// # Errors
    /// More bytes than the pipeline takes.
    pub(super) fn with_bytes(&self, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let mut request = self.clone();
        let field = self.file.as_ref().context("the pipeline takes no file")?;
        field.check_size(bytes.len())?;
        let name = field.name.get_ref().clone();
        request.values.insert(name, Value::Bytes(bytes.into()));
        Ok(request)
    }

    /// What a port of the request gets.
    pub(super) fn value(&self, port: &str) -> Option<Value> {
        self.values.get(port).cloned()
    }

    fn upload(&mut self, field: &Field, path: &Path) -> anyhow::Result<()> {
        self.inputs_read += usize::from(is_standard_input(path));
        let bytes = read(path)?;
        field.check_size(bytes.len())?;
        let name = field.name.get_ref().clone();
        self.values.insert(name, Value::Bytes(bytes.into()));
        let file_name = path.file_name().map(|name| name.to_string_lossy());
        if let (Some(port), Some(file_name)) = (&field.filename, file_name) {
            let value = Value::from(file_name.into_owned());
            self.values.insert(port.get_ref().clone(), value);
        }
        Ok(())
    }
}

/// True for the path that stands for standard input.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// Reads a file, at most as long as the service takes a body where nothing else is set.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let most = Limits::default().max_body_bytes as u64;
    let mut bytes = Vec::new();
    if is_standard_input(path) {
        let input = std::io::stdin().lock();
        input.take(most + 1).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path)?;
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > most {
        bail!("larger than {most} bytes");
    }
    Ok(bytes)
}

/// The field that a FILE of the command line is for.
fn file_field(pipeline: &PipelineFile) -> Result<&Field, Failure> {
    let name = pipeline.name.get_ref();
    let (files, others): (Vec<_>, Vec<_>) = pipeline
        .request
        .iter()
        .partition(|field| field.ty == PortType::Bytes);
    let listed = |fields: &[&Field]| {
        let names = fields.iter().map(|field| field.name.get_ref().as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    match files.as_slice() {
        &[field] => Ok(field),
        [] if others.is_empty() => Err(usage(format!(
            "the pipeline `{name}` takes no file, nor any field"
        ))),
        [] => Err(usage(format!(
            "the pipeline `{name}` takes no file, only --field NAME=VALUE with one of: {}",
            listed(&others)
        ))),
        several => Err(usage(format!(
            "the pipeline `{name}` takes several files: say which is which, \
             --field NAME=@PATH with each of: {}",
            listed(several)
        ))),
    }
}

fn unknown(pipeline: &PipelineFile, given: &Given) -> Failure {
    let names = pipeline.request.iter();
    let names = names.map(|field| field.name.get_ref().as_str());
    let help = suggestion(&given.field, names).unwrap_or_else(|| "it takes none".to_owned());
    usage(format!(
        "{}: the pipeline `{}` takes no field `{}`: {help}",
        given.by,
        pipeline.name.get_ref(),
        given.field
    ))
}

/// A value that is refused over HTTP too.
fn refused(error: Error) -> Failure {
    Failure::Usage(error.into())
}

fn usage(message: String) -> Failure {
    Failure::Usage(anyhow!(message))
}

#[cfg(test)]
mod tests {
    use super::Given;

    #[test]
    fn a_field_is_split_at_its_first_sign() {
        let given = Given::parse("query=a=b").unwrap();
        assert_eq!((&*given.field, &*given.text), ("query", "a=b"));
        let empty = Given::parse("theme=").unwrap();
        assert_eq!((&*empty.field, &*empty.text), ("theme", ""));
        assert!(Given::parse("theme").unwrap_err().contains("NAME=VALUE"));
    }

    #[test]
    fn a_list_is_text_that_reads_as_the_list() {
        let given = Given::list("eval", "labels", &["a, b".into(), "\"c\"".into()]);
        let items: Vec<String> = serde_json::from_str(&given.text).unwrap();
        assert_eq!(items, ["a, b", "\"c\""]);
    }
}
