//! What is said of one file.

use anyhow::anyhow;
use omnizap_contract::Error;
use omnizap_contract::common::chain::chain;
use serde_json::{Value as Json, json};

/// The columns of a table of rows, in their order.
pub(super) const COLUMNS: [&str; 11] = [
    "path",
    "ok",
    "error_code",
    "error",
    "label",
    "confidence",
    "labels",
    "nsfw",
    "nsfw_score",
    "image_hash",
    "settings",
];

/// What is said of a file: of one that could not be classified, why.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) path: String,
    pub(super) fault: Option<Fault>,
    /// The best one.
    pub(super) label: Option<String>,
    pub(super) confidence: Option<f64>,
    /// Those that the answer names, best first, with their scores.
    pub(super) labels: Vec<(String, f64)>,
    pub(super) is_nsfw: Option<bool>,
    pub(super) nsfw_score: Option<f64>,
    pub(super) image_hash: Option<String>,
    /// Which settings it was made with.
    pub(super) settings: String,
    /// All of the answer, where it is kept.
    pub(super) answer: Option<Json>,
}

/// Why a file could not be classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    /// For programs.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
}

impl Row {
    /// The row of an answer, or of what came instead.
    pub(super) fn new(path: &str, settings: &str, answered: anyhow::Result<Json>) -> Self {
        let row = Self {
            path: path.to_owned(),
            settings: settings.to_owned(),
            ..Self::default()
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                let fault = Some(Fault::of(&error));
                return Self { fault, ..row };
            }
        };
        let text = |field: &str| answer[field].as_str().map(str::to_owned);
        Self {
            label: text("category"),
            confidence: answer["confidence"].as_f64(),
            labels: labels_of(&answer["top_labels"]).unwrap_or_default(),
            is_nsfw: answer["is_nsfw"].as_bool(),
            nsfw_score: answer["nsfw_score"].as_f64(),
            image_hash: text("image_hash"),
            answer: Some(answer),
            ..row
        }
    }

    /// As one line of JSON, with its end.
    pub(super) fn line(&self) -> String {
        let mut row = json!({
            "path": self.path,
            "ok": self.fault.is_none(),
            "error_code": self.fault.as_ref().map(|fault| &fault.code),
            "error": self.fault.as_ref().map(|fault| &fault.message),
            "label": self.label,
            "confidence": self.confidence,
            "labels": self.labels_json(),
            "nsfw": self.is_nsfw,
            "nsfw_score": self.nsfw_score,
            "image_hash": self.image_hash,
            "settings": self.settings,
        });
        if let Some(answer) = &self.answer {
            row["answer"] = answer.clone();
        }
        format!("{row}\n")
    }

    /// The row that such a line, or a row of a table, holds.
    pub(super) fn read(row: &Json) -> Option<Self> {
        let text = |field: &str| row[field].as_str().map(str::to_owned);
        let fault = Fault {
            code: text("error_code").unwrap_or_default(),
            message: text("error").unwrap_or_default(),
        };
        Some(Self {
            path: text("path")?,
            fault: (!row["ok"].as_bool()?).then_some(fault),
            label: text("label"),
            confidence: row["confidence"].as_f64(),
            labels: labels_of(&row["labels"])?,
            is_nsfw: row["nsfw"].as_bool(),
            nsfw_score: row["nsfw_score"].as_f64(),
            image_hash: text("image_hash"),
            settings: text("settings")?,
            answer: row.get("answer").cloned(),
        })
    }

    /// As a record of CSV, with its end.
    ///
    /// # Errors
    /// None that is known of.
    pub(super) fn record(&self) -> anyhow::Result<Vec<u8>> {
        let number = |number: Option<f64>| number.map(|it| Json::from(it).to_string());
        let labels = self.labels_json().to_string();
        let fields: [String; COLUMNS.len()] = [
            self.path.clone(),
            self.fault.is_none().to_string(),
            self.fault
                .as_ref()
                .map(|it| it.code.clone())
                .unwrap_or_default(),
            self.fault
                .as_ref()
                .map(|it| it.message.clone())
                .unwrap_or_default(),
            self.label.clone().unwrap_or_default(),
            number(self.confidence).unwrap_or_default(),
            labels,
            self.is_nsfw.map(|it| it.to_string()).unwrap_or_default(),
            number(self.nsfw_score).unwrap_or_default(),
            self.image_hash.clone().unwrap_or_default(),
            self.settings.clone(),
        ];
        record(&fields)
    }

    fn labels_json(&self) -> Json {
        let labels = self.labels.iter();
        labels
            .map(|(label, score)| json!({ "label": label, "score": score }))
            .collect()
    }
}

impl Fault {
    fn of(error: &anyhow::Error) -> Self {
        let io = error.downcast_ref::<std::io::Error>();
        let code = match (error.downcast_ref::<Error>(), io.map(std::io::Error::kind)) {
            (Some(error), _) => error.code(),
            (None, Some(std::io::ErrorKind::NotFound)) => "not_found",
            (None, Some(std::io::ErrorKind::PermissionDenied)) => "permission_denied",
            (None, _) => "unreadable",
        };
        Self {
            code: code.to_owned(),
            message: chain(error.as_ref()),
        }
    }
}

/// The first record of every table.
///
/// # Errors
/// None that is known of.
pub(super) fn header() -> anyhow::Result<Vec<u8>> {
    record(&COLUMNS)
}

fn record(fields: &[impl AsRef<[u8]>]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    writer
        .into_inner()
        .map_err(|error| anyhow!("a record could not be written: {}", error.error()))
}

/// A list of labels and their scores.
fn labels_of(labels: &Json) -> Option<Vec<(String, f64)>> {
    let labels = labels.as_array()?.iter();
    labels
        .map(|one| Some((one["label"].as_str()?.to_owned(), one["score"].as_f64()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use omnizap_contract::ErrorKind;

    use super::*;

    fn answered() -> Row {
        let answer = json!({
            "category": "a \"cat\"", "confidence": 0.1, "is_nsfw": false, "nsfw_score": 0.25,
            "top_labels": [{"label": "a \"cat\"", "score": 0.1, "logit": 2}],
            "image_hash": "ab",
        });
        Row::new("a,b\n.png", "12", Ok(answer))
    }

    #[test]
    fn a_row_reads_as_it_was_written() {
        let row = answered();
        let line = row.line();
        assert!(
            line.starts_with("{\"path\":") && line.ends_with("}\n"),
            "{line}"
        );
        let read: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(Row::read(&read), Some(row.clone()));
        let record = String::from_utf8(row.record().unwrap()).unwrap();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(record.as_bytes());
        let fields = reader.records().next().unwrap().unwrap();
        let fields: Vec<_> = fields.iter().collect();
        let labels = r#"[{"label":"a \"cat\"","score":0.1}]"#;
        let expected = [
            "a,b\n.png",
            "true",
            "",
            "",
            "a \"cat\"",
            "0.1",
            labels,
            "false",
            "0.25",
            "ab",
            "12",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_fault_has_the_code_of_its_error() {
        let stage = Error::new(ErrorKind::Invalid, "broken").with_code("broken_image");
        let stage = anyhow::Error::new(stage).context("stage `decode`");
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        for (error, code, message) in [
            (stage, "broken_image", "stage `decode`: broken"),
            (missing.into(), "not_found", "not found"),
            (anyhow!("larger"), "unreadable", "larger"),
        ] {
            let row = Row::new("a.png", "12", Err(error));
            let fault = row.fault.clone().unwrap();
            assert_eq!(fault.code, code);
            assert!(fault.message.contains(message), "{}", fault.message);
            let read: Json = serde_json::from_str(&row.line()).unwrap();
            assert_eq!(Row::read(&read), Some(row));
        }
    }
}
