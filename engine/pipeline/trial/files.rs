//! The pictures of tests: files beside the pipeline, and those that the program brings.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use omnizap_contract::PortType;
use omnizap_contract::common::names::suggestion;
use serde_json::Value as Json;

use crate::pipeline::case::Case;
use crate::pipeline::config::PipelineFile;
use crate::pipeline::diagnostic::{BUILTIN, Diagnostic, Diagnostics};
use crate::pipeline::graph::Graph;

/// Largest picture of a test, in bytes.
pub const MAX_PICTURE_LEN: u64 = 32 << 20;

/// What begins a file that stands in the text itself.
const DATA_URL: &str = "data:";

/// Pictures that the program brings, by the names that tests call them by.
pub type Samples<'s> = &'s [(&'s str, &'s [u8])];

/// Where the content of a file is.
pub(super) enum Content<'s> {
    Sample(&'s [u8]),
    File(PathBuf),
    /// In the text itself.
    Url,
}

/// What a test calls its file, and where it says so.
#[derive(Clone)]
pub(super) struct Named<'c> {
    pub(super) text: &'c str,
    pub(super) span: Range<usize>,
}

impl Named<'_> {
    /// Where the content is.
    pub(super) fn find<'s>(
        &self,
        file: &PipelineFile,
        samples: Samples<'s>,
    ) -> Result<Content<'s>, Box<Diagnostic>> {
        let text = self.text;
        let wrong = |message: String| Box::new(self.wrong(file, message));
        if text.starts_with(DATA_URL) {
            return Ok(Content::Url);
        }
        if let Some(name) = text.strip_prefix(BUILTIN) {
            let sample = samples.iter().find(|(known, _)| *known == name);
            return sample
                .map(|(_, bytes)| Content::Sample(bytes))
                .ok_or_else(|| {
                    let none = self.wrong(file, format!("the program brings no picture `{name}`"));
                    let names = samples.iter().map(|(known, _)| *known);
                    Box::new(match suggestion(name, names) {
                        Some(help) => none.help(help),
                        None => none,
                    })
                });
        }
        let by = file.source.file_of(self.span.start);
        if by.starts_with(BUILTIN) {
            let nowhere = "a file of the program has no folder to find it in".to_owned();
            return Err(wrong(format!("{text}: {nowhere}")));
        }
        let folder = Path::new(&**by).parent().unwrap_or(Path::new(""));
        let path = folder.join(text);
        let shown = path.display();
        match std::fs::metadata(&path) {
            Err(error) => Err(wrong(format!("cannot read {shown}: {error}"))),
            Ok(found) if !found.is_file() => Err(wrong(format!("{shown} is no file"))),
            Ok(found) if found.len() > MAX_PICTURE_LEN => Err(wrong(format!(
                "{shown} is larger than {MAX_PICTURE_LEN} bytes"
            ))),
            Ok(_) => Ok(Content::File(path)),
        }
    }

    /// The bytes of a file.
    pub(super) fn read(
        &self,
        file: &PipelineFile,
        path: &Path,
    ) -> Result<Vec<u8>, Box<Diagnostic>> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            let mut bounded = file.take(MAX_PICTURE_LEN);
            bounded.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => {
                let cannot = format!("cannot read {}: {error}", path.display());
                Err(Box::new(self.wrong(file, cannot)))
            }
        }
    }

    fn wrong(&self, file: &PipelineFile, message: String) -> Diagnostic {
        let mut wrong = Diagnostic::new(&file.source, self.span.clone(), message);
        wrong.conceal(&file.secrets);
        wrong
    }
}

/// Every file that a test names, of the fields that take one.
fn named<'c>(file: &PipelineFile, case: &'c Case) -> Vec<Named<'c>> {
    let picture = case.picture.iter();
    let mut all: Vec<Named<'_>> = picture
        .map(|picture| Named {
            text: picture.get_ref(),
            span: picture.span(),
        })
        .collect();
    for (name, value) in &case.request {
        let mut files = file.request.iter().filter(|it| it.ty == PortType::Bytes);
        if !files.any(|field| field.name.get_ref() == name.get_ref()) {
            continue;
        }
        let texts = match value.get_ref() {
            Json::Array(items) => items.iter().filter_map(Json::as_str).collect(),
            json => json.as_str().into_iter().collect::<Vec<_>>(),
        };
        all.extend(texts.into_iter().map(|text| Named {
            text,
            span: value.span(),
        }));
    }
    all
}

/// The pictures of a file's tests that are not there, without reading them: for a check before they
/// are tried.
#[must_use]
pub fn inspect(graph: &Graph, samples: Samples<'_>) -> Diagnostics {
    let mut missing = Diagnostics::default();
    for case in graph.file.cases.iter() {
        for named in named(&graph.file, case) {
            if let Err(fault) = named.find(&graph.file, samples) {
                missing.push(*fault);
            }
        }
    }
    missing
}
