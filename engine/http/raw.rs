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
pub(super) struct RawFields {
    /// Each with its place among all that came.
    of_names: BTreeMap<String, Vec<(usize, Raw)>>,
    came: usize,
}

impl RawFields {
    pub(super) fn add(&mut self, name: String, raw: Raw) {
        self.of_names
            .entry(name)
            .or_default()
            .push((self.came, raw));
        self.came += 1;
    }

    /// All that is left, name by name.
    pub(super) fn into_fields(self) -> impl Iterator<Item = (String, Vec<Raw>)> {
        let fields = self.of_names.into_iter();
        fields.map(|(name, all)| (name, all.into_iter().map(|(_, raw)| raw).collect()))
    }

    /// Takes those of a name out.
    pub(super) fn take(&mut self, name: &str) -> Vec<Raw> {
        let all = self.of_names.remove(name).unwrap_or_default();
        all.into_iter().map(|(_, raw)| raw).collect()
    }

    /// Takes those of a name out, and every file of a form whose name is not among `others`, in the
    /// order in which they came.
    pub(super) fn take_files(&mut self, name: &str, others: &[&str]) -> Vec<Raw> {
        let mut taken = self.of_names.remove(name).unwrap_or_default();
        for (_, all) in self
            .of_names
            .iter_mut()
            .filter(|(name, _)| !others.contains(&name.as_str()))
        {
            let (files, rest): (Vec<_>, Vec<_>) = std::mem::take(all)
                .into_iter()
                .partition(|(_, raw)| raw.is_file());
            taken.extend(files);
            *all = rest;
        }
        self.of_names.retain(|_, all| !all.is_empty());
        taken.sort_by_key(|(place, _)| *place);
        taken.into_iter().map(|(_, raw)| raw).collect()
    }

    /// The names of what is left.
    pub(super) fn into_names(self) -> impl Iterator<Item = String> {
        self.of_names.into_keys()
    }
}

impl Raw {
    /// True for what a browser sends of a file that nobody chose.
    pub(super) fn is_unchosen(&self) -> bool {
        match self {
            Self::Part { data, filename, .. } => {
                data.is_empty() && filename.as_ref().is_some_and(String::is_empty)
            }
            _ => false,
        }
    }

    /// True for a part of a form that says that it is a file: by a name of one, or by a media type
    /// that is not that of texts.
    fn is_file(&self) -> bool {
        match self {
            Self::Part {
                filename,
                content_type,
                ..
            } => {
                let is_text = |ty: &String| ty.to_ascii_lowercase().starts_with("text/plain");
                filename.is_some() || content_type.as_ref().is_some_and(|ty| !is_text(ty))
            }
            Self::Json(_) | Self::Query(_) | Self::Path(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(data: &'static str, filename: Option<&str>, content_type: Option<&str>) -> Raw {
        Raw::Part {
            data: Bytes::from_static(data.as_bytes()),
            filename: filename.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
            charset: None,
        }
    }

    #[test]
    fn files_of_any_name_come_in_their_order_and_texts_stay() {
        let mut fields = RawFields::default();
        for (name, raw) in [
            ("z", part("1", Some("a.png"), None)),
            ("theme", part("pets", None, Some("text/plain"))),
            ("a", part("2", None, Some("image/png"))),
            ("own", part("3", None, None)),
            ("z", part("4", Some(""), None)),
            ("other", part("5", Some("b.png"), None)),
        ] {
            fields.add(name.to_owned(), raw);
        }
        let taken = fields.take_files("own", &["other"]);
        let data = taken.iter().map(|raw| match raw {
            Raw::Part { data, .. } => std::str::from_utf8(data).unwrap(),
            other => panic!("{other:?}"),
        });
        assert_eq!(data.collect::<Vec<_>>(), ["1", "2", "3", "4"]);
        assert_eq!(fields.into_names().collect::<Vec<_>>(), ["other", "theme"]);
    }
}
