//! The request of a pipeline: its fields, their types and bounds. A field is the
//! source of a value that stages bind to by its name.

use omnizap_contract::{PortType, Value};
use toml::Spanned;

use super::reader::Reader;
use super::tree::Node;

mod list;
mod value;

/// Longest text of a field whose file sets no `max_chars`.
pub const DEFAULT_MAX_CHARS: usize = 4096;
/// Most items of a list whose file sets no `max_items`.
pub const DEFAULT_MAX_ITEMS: usize = 4096;
/// Longest item of a list whose file sets no `item_max_chars`.
pub const DEFAULT_ITEM_MAX_CHARS: usize = 1024;
/// Largest bound that a file may set on a length.
const LARGEST_BOUND: i64 = 1 << 30;

/// Where a field's value is in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// In the multipart form or the JSON body.
    #[default]
    Body,
    /// In the path, where the route has its name in braces.
    Path,
}

impl Source {
    const NAMES: [(&str, Self); 2] = [("body", Self::Body), ("path", Self::Path)];
}

/// One field of the request: of the multipart form, of the JSON body, or of the path.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the request, and the name of the port.
    pub name: Spanned<String>,
    /// Its type.
    pub ty: PortType,
    /// Where its value is.
    pub source: Source,
    /// True where a request without it is refused.
    pub required: bool,
    /// Its value when the request leaves it out.
    pub default: Option<Value>,
    /// True for a text that is trimmed, and refused with a control character in it.
    pub one_line: bool,
    /// Longest text, in Unicode scalar values.
    pub max_chars: usize,
    /// Most items of a list.
    pub max_items: usize,
    /// Longest item of a list, in Unicode scalar values.
    pub item_max_chars: usize,
    /// Smallest number, inclusive.
    pub min: Option<f64>,
    /// Largest number, inclusive.
    pub max: Option<f64>,
    /// Media types that an uploaded file may declare (`image/*` or `image/png`);
    /// empty allows all.
    pub accept: Vec<String>,
    /// The text port, and the field of the response, that get the uploaded
    /// file's own name.
    pub filename: Option<Spanned<String>>,
    /// The same for the media type that the upload declared.
    pub content_type: Option<Spanned<String>>,
}

impl Field {
    /// The ports that the field is the source of: itself and its extra ports.
    pub fn ports(&self) -> impl Iterator<Item = (&Spanned<String>, PortType)> {
        let extra = [&self.filename, &self.content_type];
        let extra = extra.into_iter().flatten();
        std::iter::once((&self.name, self.ty)).chain(extra.map(|name| (name, PortType::Text)))
    }
}

const FIELD_KEYS: [&str; 13] = [
    "type",
    "from",
    "required",
    "default",
    "one_line",
    "max_chars",
    "max_items",
    "item_max_chars",
    "min",
    "max",
    "accept",
    "filename",
    "content_type",
];

/// Types that a request can carry.
const FIELD_TYPES: [PortType; 7] = [
    PortType::Bytes,
    PortType::Text,
    PortType::TextList,
    PortType::Number,
    PortType::Integer,
    PortType::Bool,
    PortType::Json,
];

/// The fields that could be read, and whether there were others.
pub(super) fn read_request(reader: &mut Reader<'_>, node: &Node) -> (Vec<Field>, bool) {
    let Some(table) = reader.table(node, "`request`") else {
        return (Vec::new(), true);
    };
    let (mut fields, mut all) = (Vec::new(), 0);
    for (name, span, node) in reader.any_entries(table).iter() {
        let name = Spanned::new(span, name.to_owned());
        fields.extend(read_field(reader, name, node));
        all += 1;
    }
    let has_unreadable = fields.len() < all;
    (fields, has_unreadable)
}

fn read_field(reader: &mut Reader<'_>, name: Spanned<String>, node: &Node) -> Option<Field> {
    let what = format!("request field `{}`", name.get_ref());
    let table = reader.table(node, &what)?;
    let entries = reader.entries(table, &what, &FIELD_KEYS);
    let type_names = FIELD_TYPES.map(PortType::name);
    let Some(type_node) = entries.get("type") else {
        let missing = reader.at(name.span(), format!("{what} has no `type`"));
        reader.report(missing.help(format!("expected one of: {}", type_names.join(", "))));
        return None;
    };
    let type_name = reader.string(type_node, &format!("type of {what}"))?;
    let ty = PortType::from_name(&type_name).filter(|ty| FIELD_TYPES.contains(ty));
    let Some(ty) = ty else {
        let unknown = reader.at(
            type_node.span(),
            format!("{what}: a request carries no `{type_name}`"),
        );
        reader.report(unknown.nearest(&type_name, type_names));
        return None;
    };

    let source = entries.get("from").and_then(|node| {
        let what = format!("`from` of {what}");
        let name = reader.string(node, &what)?;
        let source = Source::NAMES.iter().find(|(known, _)| *known == name);
        if source.is_none() {
            let unknown = reader.at(node.span(), format!("{what}: there is no `{name}`"));
            reader.report(unknown.nearest(&name, Source::NAMES.map(|(known, _)| known)));
        }
        source.map(|(_, source)| *source)
    });
    let source = source.unwrap_or_default();
    let mut length = |key: &str, default: usize| {
        entries
            .get(key)
            .and_then(|node| {
                reader.integer(node, &format!("`{key}` of {what}"), (1, LARGEST_BOUND))
            })
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(default)
    };
    let max_chars = length("max_chars", DEFAULT_MAX_CHARS);
    let max_items = length("max_items", DEFAULT_MAX_ITEMS);
    let item_max_chars = length("item_max_chars", DEFAULT_ITEM_MAX_CHARS);
    let mut bound = |key: &str| {
        let node = entries.get(key)?;
        let json = reader.json(node, &format!("`{key}` of {what}"))?;
        let number = match &json {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        if number.is_none() {
            reader.wrong_type(node, &format!("`{key}` of {what}"), "a number");
        }
        number
    };
    let (min, max) = (bound("min"), bound("max"));
    let required = entries
        .get("required")
        .and_then(|node| reader.bool(node, &format!("`required` of {what}")))
        .unwrap_or(false);
    let one_line = entries
        .get("one_line")
        .and_then(|node| reader.bool(node, &format!("`one_line` of {what}")))
        .unwrap_or(false);
    let default = entries
        .get("default")
        .and_then(|node| read_default(reader, ty, node, &what));
    let accept = entries
        .get("accept")
        .and_then(|node| {
            let json = reader.json(node, &format!("`accept` of {what}"))?;
            let list: Option<Vec<String>> = serde_json::from_value(json).ok();
            if list.is_none() {
                reader.wrong_type(
                    node,
                    &format!("`accept` of {what}"),
                    "a list of media types",
                );
            }
            list
        })
        .unwrap_or_default();
    let mut extra = |key: &str| {
        let node = entries.get(key)?;
        reader.spanned_string(node, &format!("`{key}` of {what}"))
    };
    let (filename, content_type) = (extra("filename"), extra("content_type"));
    Some(Field {
        name,
        ty,
        source,
        required,
        default,
        one_line,
        max_chars,
        max_items,
        item_max_chars,
        min,
        max,
        accept,
        filename,
        content_type,
    })
}

fn read_default(reader: &mut Reader<'_>, ty: PortType, node: &Node, what: &str) -> Option<Value> {
    let what = format!("`default` of {what}");
    let json = reader.json(node, &what)?;
    // Strings, which may come from the environment, become what they spell.
    let spelt = match ty.option_type() {
        Some(option) => option.coerce(&json),
        None => Some(json),
    };
    let value = spelt.and_then(|json| ty.value_of(&json));
    if value.is_none() {
        reader.wrong_type(node, &what, &format!("a value of type {ty}"));
    }
    value
}
