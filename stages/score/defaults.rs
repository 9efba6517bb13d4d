//! The labels of a request that brings none: the operator's, else the model's.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use omnizap_contract::{Error, ErrorKind, OptionFault, Options};
use omnizap_services::inference::clip::ClipModel;
use omnizap_services::labels::{self, Bounds, LabelFault};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{DEFAULT_LABELS_JSON, DEFAULT_LABELS_LIST, DEFAULT_LABELS_PATH};

/// The labels of models that bring none.
const GENERAL: &str = include_str!("../../models/labels/full.json");
/// Most bytes of a file with labels: 4,096 labels of 200 characters fit.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The labels that the options set, as they will be scored; `None` where they leave the choice to
/// the model.
///
/// # Errors
/// As [`chosen`], for the operator.
pub(super) fn configured(options: &Options) -> Result<Option<Vec<Arc<str>>>, Error> {
    chosen(options).map_err(|OptionFault { option, message }| {
        Error::new(ErrorKind::Invalid, format!("{option}: {message}"))
    })
}

/// The same: the list, else the JSON, else the file.
///
/// # Errors
/// The option whose labels are malformed, too long or too many, or whose file cannot be read.
pub(super) fn chosen(options: &Options) -> Result<Option<Vec<Arc<str>>>, OptionFault> {
    if let Some(labels) = inline(options)? {
        return Ok(Some(labels));
    }
    let path = options.get(DEFAULT_LABELS_PATH).trim();
    if path.is_empty() {
        return Ok(None);
    }
    let labels = from_file(path).and_then(|labels| tidy(&labels, options));
    labels.map(Some).map_err(|reason| {
        OptionFault::new(DEFAULT_LABELS_PATH, format!("cannot use {path}: {reason}"))
    })
}

/// What is wrong with the labels that the options hold themselves, those included that others
/// take precedence over.
pub(super) fn check(options: &Options) -> Vec<OptionFault> {
    let json = from_json(options.get(DEFAULT_LABELS_JSON)).err();
    let json = json.map(|message| OptionFault::new(DEFAULT_LABELS_JSON, message));
    let inline = inline(options).err();
    let inline = inline.filter(|fault| json.as_ref() != Some(fault));
    inline.into_iter().chain(json).collect()
}

/// The labels that the options hold themselves, as they will be scored.
fn inline(options: &Options) -> Result<Option<Vec<Arc<str>>>, OptionFault> {
    let list: Vec<Arc<str>> = options
        .get(DEFAULT_LABELS_LIST)
        .into_iter()
        .map(Arc::from)
        .collect();
    if !list.is_empty() {
        let labels = non_empty(list).and_then(|labels| tidy(&labels, options));
        return labels
            .map(Some)
            .map_err(|message| OptionFault::new(DEFAULT_LABELS_LIST, message));
    }
    from_json(options.get(DEFAULT_LABELS_JSON))
        .and_then(|labels| labels.map(|labels| tidy(&labels, options)).transpose())
        .map_err(|message| OptionFault::new(DEFAULT_LABELS_JSON, message))
}

/// The labels within the bounds that the labels of a request have.
fn tidy(labels: &[Arc<str>], options: &Options) -> Result<Vec<Arc<str>>, String> {
    labels::tidy(labels, Bounds::of(options)).map_err(|fault| match fault {
        LabelFault::TooLong { .. } => fault.to_string(),
        LabelFault::TooMany { .. } => {
            format!("{fault}; list fewer, raise max_labels, or set over_limit = \"cut\"")
        }
    })
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
fn from_json(text: &str) -> Result<Option<Vec<Arc<str>>>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let labels: Vec<String> = serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON list of strings ({error})"))?;
    non_empty(labels.into_iter().map(Arc::from).collect()).map(Some)
}

fn from_file(path: &str) -> Result<Vec<Arc<str>>, String> {
    // To open a pipe would wait for who writes to it.
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
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
        labels_of(&options(&[], json, path))
    }

    fn labels_of(options: &Options) -> Result<Option<Vec<String>>, Error> {
        let labels = configured(options)?;
        Ok(labels.map(|labels| labels.iter().map(|label| label.to_string()).collect()))
    }

    fn options(list: &[&str], json: &str, path: &str) -> Options {
        let mut values = Map::new();
        values.insert(DEFAULT_LABELS_LIST.name().into(), json!(list));
        values.insert(DEFAULT_LABELS_JSON.name().into(), json!(json));
        values.insert(DEFAULT_LABELS_PATH.name().into(), json!(path));
        values.insert("max_labels".into(), json!(3));
        values.insert("max_label_chars".into(), json!(9));
        Options::from_checked(values)
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
    fn a_list_wins_over_all_and_an_empty_one_is_none() {
        let json = r#"["a"]"#;
        let of = |list: &[&str]| labels_of(&options(list, json, "/nonexistent")).unwrap();
        assert_eq!(of(&[" Cat", "dog", "CAT", ""]).unwrap(), ["Cat", "dog"]);
        assert_eq!(of(&[]).unwrap(), ["a"]);
        let error = labels_of(&options(&[" "], json, "")).unwrap_err();
        assert_eq!(error.message(), "default_labels: there is no label in it");
    }

    #[test]
    fn the_bounds_are_those_of_the_labels_of_a_request() {
        let list = file("a\nb\nc\nA\nd");
        let path = list.path().to_str().unwrap();
        let many = ["a", "b", "c", "d"];
        let json = json!(many).to_string();
        for (options, option, held) in [
            (options(&many, "", ""), "default_labels", true),
            (options(&[], &json, ""), "default_labels_json", true),
            (options(&[], "", path), "default_labels_path", false),
        ] {
            let fault = chosen(&options).unwrap_err();
            assert_eq!(fault.option, option);
            let wanted = "more than 3 different labels (max_labels); list fewer";
            assert!(fault.message.contains(wanted), "{}", fault.message);
            // A file is read where that may take a while.
            assert_eq!(check(&options), Vec::from_iter(held.then_some(fault)));
        }
        let long = options(&["ok", "0123456789"], "", "");
        let faults = check(&long);
        assert_eq!(
            faults[0].message,
            "label 2 is over the limit of 9 characters (max_label_chars)"
        );
        // One that another takes precedence over is no problem, unless it cannot be read.
        assert!(check(&options(&["a"], &json, "/nonexistent")).is_empty());
        let both = check(&options(&many, "x", ""));
        let both: Vec<_> = both.iter().map(|fault| &*fault.option).collect();
        assert_eq!(both, ["default_labels", "default_labels_json"]);
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
