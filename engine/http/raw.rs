//! Fields as they came, before their types are looked at.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::text::Charset;

/// One field as it came.
#[derive(Debug)]
pub(super) enum Raw {
    /// A part of a multipart form.
    Part {
        data: Bytes,
        filename: Option<String>,
        content_type: Option<String>,
        /// The encoding that its text is said to be in.
        charset: Option<Charset>,
    },
    /// A member of a JSON object.
    Json(serde_json::Value),
    /// A value in the query string, still encoded.
    Query(String),
    /// A part of the path, still encoded.
    Path(String),
}

/// Raw fields by name, those of one name in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct RawFields(BTreeMap<String, Vec<Raw>>);

impl RawFields {
    pub(super) fn add(&mut self, name: String, raw: Raw) {
        self.0.entry(name).or_default().push(raw);
    }

    /// All that is left, name by name.
    pub(super) fn into_fields(self) -> impl Iterator<Item = (String, Vec<Raw>)> {
        self.0.into_iter()
    }

    /// Takes those of a name out.
    pub(super) fn take(&mut self, name: &str) -> Vec<Raw> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The names of what is left.
    pub(super) fn into_names(self) -> impl Iterator<Item = String> {
        self.0.into_keys()
    }
}
