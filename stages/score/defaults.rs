//! The labels of a request that brings none: the operator's, else the model's.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use omnizap_contract::{Error, ErrorKind, Options};
use omnizap_services::inference::clip::ClipModel;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{DEFAULT_LABELS_JSON, DEFAULT_LABELS_PATH};

/// The labels of models that bring none.
const GENERAL: &str = include_str!("../../models/labels/full.json");
/// Most bytes of a file with labels: 4,096 labels of 200 characters fit.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The labels that the options set; `None` where they leave the choice to the model.
///
/// # Errors
/// Where they are malformed or their file cannot be read, for the operator.
pub(super) fn configured(options: &Options) -> Result<Option<Vec<Arc<str>>>, Error> {
    let fault = |message: String| Error::new(ErrorKind::Invalid, message);
    let json = options.get(DEFAULT_LABELS_JSON);
    if let Some(labels) =
        from_json(json).map_err(|reason| fault(format!("default_labels_json: {reason}")))?
    {
        return Ok(Some(labels));
    }
    let path = options.get(DEFAULT_LABELS_PATH).trim();
    if path.is_empty() {
        return Ok(None);
    }
    let labels = from_file(path)
        .map_err(|reason| fault(format!("default_labels_path: cannot use {path}: {reason}")))?;
    Ok(Some(labels))
}

/// The labels that the model brings; the pack for general models where it brings none.
///
/// # Errors
/// Where the pack inside the program is malformed: a bug.
pub(super) fn of_model(model: &ClipModel) -> Result<Vec<Arc<str>>, Error> {
    match model.default_labels() {
        Some(labels) => Ok(labels.iter().map(|label| label.as_str().into()).collect()),
        None => general().map_err(Error::internal),
    }
}

/// Labels by group, for models that know the world at large.
#[derive(Deserialize)]
struct Pack {
    /// In the order of the file: where a limit cuts the list, the first ones stay.
    groups: Map<String, Json>,
}

/// The pack for models that bring no labels.
///
/// # Errors
/// Where it is malformed: a bug.
pub(super) fn general() -> Result<Vec<Arc<str>>, serde_json::Error> {
    let pack: Pack = serde_json::from_str(GENERAL)?;
    let groups = pack
        .groups
        .into_iter()
        .map(|(_, group)| serde_json::from_value::<Vec<String>>(group));
    let groups: Vec<_> = groups.collect::<Result<_, _>>()?;
    Ok(groups.into_iter().flatten().map(Arc::from).collect())
}

/// The labels of a JSON list; `None` for a text that is blank.
///
/// # Errors
/// What was expected.
pub(super) fn from_json(text: &str) -> Result<Option<Vec<Arc<str>>>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let labels: Vec<String> = serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON list of strings ({error})"))?;
    non_empty(labels.into_iter().map(Arc::from).collect()).map(Some)
}

fn from_file(path: &str) -> Result<Vec<Arc<str>>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    // Some editors put a byte order mark in front.
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        return from_json(text).map(Option::unwrap_or_default);
    }
    non_empty(text.lines().map(Arc::from).collect())
}

fn non_empty(labels: Vec<Arc<str>>) -> Result<Vec<Arc<str>>, String> {
    if labels.iter().all(|label| label.trim().is_empty()) {
        return Err("there is no label in it".into());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn labels(json: &str, path: &str) -> Result<Option<Vec<String>>, Error> {
        let mut values = Map::new();
        values.insert(DEFAULT_LABELS_JSON.name().into(), json!(json));
        values.insert(DEFAULT_LABELS_PATH.name().into(), json!(path));
        let labels = configured(&Options::from_checked(values))?;
        Ok(labels.map(|labels| labels.iter().map(|label| label.to_string()).collect()))
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    #[test]
    fn json_wins_over_the_path_and_nothing_leaves_it_to_the_model() {
        let list = file("cat\ndog\n");
        let path = list.path().to_str().unwrap();
        assert_eq!(labels(r#"["a"]"#, path).unwrap().unwrap(), ["a"]);
        assert_eq!(labels(" ", path).unwrap().unwrap(), ["cat", "dog"]);
        assert_eq!(labels("", "").unwrap(), None);
    }

    #[test]
    fn the_pack_for_general_models_is_there() {
        let labels = general().unwrap();
        assert!(labels.len() > 50);
        assert!(labels.iter().any(|label| &**label == "nsfw content"));
    }

    #[test]
    fn a_file_is_a_json_list_or_lines() {
        let list = file("\u{feff} [\"cat, dog\", \"e\\u0301\"]");
        let read = labels("", list.path().to_str().unwrap()).unwrap().unwrap();
        assert_eq!(read, ["cat, dog", "e\u{301}"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let nested = "[".repeat(100_000);
        for json in ["{}", "[1]", "[]", r#"[" "]"#, "x", &nested] {
            let error = labels(json, "").unwrap_err();
            assert!(
                error.message().starts_with("default_labels_json: "),
                "{error}"
            );
        }
        for path in [
            "/nonexistent/labels",
            file("\n \n").path().to_str().unwrap(),
        ] {
            let error = labels("", path).unwrap_err();
            assert!(
                error.message().contains("default_labels_path: cannot use"),
                "{error}"
            );
        }
    }
}
