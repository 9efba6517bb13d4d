//! The `[request]` table of a pipeline file.

use omnizap_contract::PortType::{self, Bool, Bytes, Integer, Json, Number, Text, TextList};
use toml::Spanned;

use super::place::is_below;
use super::{
    DEFAULT_ITEM_MAX_CHARS, DEFAULT_MAX_CHARS, DEFAULT_MAX_ITEMS, Field, Source, fit,
    is_token_char, names,
};
use crate::pipeline::reader::{Entries, Reader};
use crate::pipeline::tree::{Node, Table};

/// Types that a request can carry.
const FIELD_TYPES: [PortType; 7] = [Bytes, Text, TextList, Number, Integer, Bool, Json];
const ANY: &[PortType] = &FIELD_TYPES;

/// What a file may say of a field; `config::keys` says it to people, and does not compile where it
/// leaves a key out.
impl Field {
    /// Largest bound that a file may set on a length.
    pub(in crate::pipeline) const LARGEST_BOUND: i64 = 1 << 30;
    /// Largest `each`: as many as the most patient of clients send at one time.
    pub(in crate::pipeline) const MOST_EACH: i64 = 2048;
    /// Types that a request can carry.
    pub(in crate::pipeline) const TYPES: [PortType; 7] = FIELD_TYPES;
    /// The keys of a field, and the types that each is for.
    pub(in crate::pipeline) const KEYS: [(&'static str, &'static [PortType]); 18] = [
        ("type", ANY),
        ("from", ANY),
        ("required", ANY),
        ("default", &[Text, TextList, Number, Integer, Bool, Json]),
        ("one_line", &[Text]),
        // Of JSON that a form holds as text.
        ("max_chars", &[Text, Json]),
        ("max_items", &[TextList]),
        ("item_max_chars", &[TextList]),
        ("min", &[Number, Integer]),
        ("max", &[Number, Integer]),
        // Of a text the file of its `data_url`.
        ("max_bytes", &[Bytes, Text]),
        ("accept", &[Bytes, Text]),
        ("filename", &[Bytes]),
        ("content_type", &[Bytes]),
        ("data_url", &[Text]),
        ("each", &[Bytes, Text]),
        ("any_name", &[Bytes]),
        ("ignored", ANY),
    ];

    /// Where a field can stand in a request, by the names that files use.
    pub(in crate::pipeline) fn sources() -> [&'static str; 3] {
        Source::NAMES.map(|(name, _)| name)
    }
}

/// The fields that could be read, and whether there were others.
pub(in crate::pipeline) fn read_request(
    reader: &mut Reader<'_>,
    node: &Node,
) -> (Vec<Field>, bool) {
    let Some(table) = reader.table(node, "`request`") else {
        return (Vec::new(), true);
    };
    let (mut fields, mut all) = (Vec::new(), 0);
    for (name, span, node) in reader.any_entries(table).iter() {
        let name = Spanned::new(span, name.to_owned());
        fields.extend(read_field(reader, name, node));
        all += 1;
    }
    names::check(reader, &fields);
    report_more_than_one(reader, table, &fields);
    let has_unreadable = fields.len() < all;
    (fields, has_unreadable)
}

fn types_of(key: &str) -> &'static [PortType] {
    let known = Field::KEYS.iter().find(|(known, _)| *known == key);
    known.map_or(ANY, |(_, types)| *types)
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn read_field(reader: &mut Reader<'_>, name: Spanned<String>, node: &Node) -> Option<Field> {
    let what = format!("request field `{}`", name.get_ref().escape_debug());
    let table = reader.table(node, &what)?;
    let entries = reader.entries(table, &what, &Field::KEYS.map(|(key, _)| key));
    let (ty, type_at) = read_type(reader, &entries, &name, &what)?;
    report_idle_keys(reader, &entries, ty, type_at, &what);
    // What is not for the type was reported, or belongs to the type that a file below gave.
    let get = |key: &str| {
        let node = entries.get(key);
        node.filter(|_| types_of(key).contains(&ty))
    };

    let source = get("from")
        .and_then(|node| read_source(reader, node, &what))
        .unwrap_or_default();
    if source == Source::Query && ty == Bytes {
        let none = reader.at(
            name.span(),
            format!("{what}: a query string carries no `bytes`"),
        );
        let others = FIELD_TYPES.iter().filter(|other| **other != Bytes);
        let names = listed(others.map(|ty| ty.name()));
        reader.report(none.help(format!("expected one of: {names}")));
    }
    let mut length = |key: &str| {
        let node = get(key)?;
        let length = reader.integer(
            node,
            &format!("`{key}` of {what}"),
            (1, Field::LARGEST_BOUND),
        )?;
        usize::try_from(length).ok()
    };
    let max_chars = length("max_chars").unwrap_or(DEFAULT_MAX_CHARS);
    let max_items = length("max_items").unwrap_or(DEFAULT_MAX_ITEMS);
    let item_max_chars = length("item_max_chars").unwrap_or(DEFAULT_ITEM_MAX_CHARS);
    let max_bytes = length("max_bytes");
    let mut bound = |key: &str| {
        let node = get(key)?;
        let number = read_bound(reader, node, &format!("`{key}` of {what}"))?;
        Some(Spanned::new(node.span(), number))
    };
    let (min, max) = (bound("min"), bound("max"));
    let (min, max) = fit::bounds(reader, ty, min, max, &what);
    let required = get("required").and_then(|node| {
        let required = reader.bool(node, &format!("`required` of {what}"))?;
        Some(Spanned::new(node.span(), required))
    });
    let one_line = get("one_line")
        .and_then(|node| reader.bool(node, &format!("`one_line` of {what}")))
        .unwrap_or(false);
    let accept = get("accept")
        .map(|node| read_accept(reader, node, &format!("`accept` of {what}")))
        .unwrap_or_default();
    let mut extra = |key: &str| reader.spanned_string(get(key)?, &format!("`{key}` of {what}"));
    let (filename, content_type) = (extra("filename"), extra("content_type"));
    let data_url = extra("data_url");
    report_without_file(reader, &entries, ty, type_at, &what);
    let each = get("each").and_then(|node| {
        let most = reader.integer(node, &format!("`each` of {what}"), (1, Field::MOST_EACH))?;
        usize::try_from(most).ok()
    });
    if let (Some(_), Source::Path, Some(node)) = (each, source, get("each")) {
        let once = reader.at(node.span(), format!("{what}: a path holds a field once"));
        reader.report(once.help("leave `each` out, or take the field from elsewhere"));
    }
    let mut flag = |key: &str| {
        let node = get(key)?;
        reader.bool(node, &format!("`{key}` of {what}"))
    };
    let any_name = flag("any_name").unwrap_or(false);
    let ignored = flag("ignored").unwrap_or(false);
    let mut field = Field {
        name,
        ty,
        source,
        required: required
            .as_ref()
            .is_some_and(|required| *required.get_ref()),
        default: None,
        one_line,
        max_chars,
        max_items,
        item_max_chars,
        min,
        max,
        max_bytes,
        accept,
        filename,
        content_type,
        data_url,
        each,
        any_name,
        ignored,
    };
    if let Some(node) = get("default") {
        field.default = fit::default(reader, &field, required.as_ref(), node, &what);
    }
    Some(field)
}

/// A field's type, and where the file says it.
fn read_type(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    name: &Spanned<String>,
    what: &str,
) -> Option<(PortType, usize)> {
    let names = FIELD_TYPES.map(PortType::name);
    let Some(node) = entries.get("type") else {
        let missing = reader.at(name.span(), format!("{what} has no `type`"));
        reader.report(missing.help(format!("expected one of: {}", names.join(", "))));
        return None;
    };
    let given = reader.string(node, &format!("type of {what}"))?;
    let ty = PortType::from_name(&given).filter(|ty| FIELD_TYPES.contains(ty));
    if ty.is_none() {
        let whence = reader.whence(node);
        let unknown = format!("{what}: a request carries no `{given}`{whence}");
        let unknown = reader.at(node.span(), unknown);
        reader.report(unknown.nearest(&given, names));
    }
    Some((ty?, node.span().start))
}

/// Keys that do nothing for a field of this type are mistakes, but for those that were taken over
/// from a file below the one that gives the type: they go with the type that they were said of.
fn report_idle_keys(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    ty: PortType,
    type_at: usize,
    what: &str,
) {
    for (key, span, _) in entries.iter() {
        let types = types_of(key);
        if types.contains(&ty) || is_below(reader, span.start, type_at) {
            continue;
        }
        let its = listed(types.iter().map(|ty| ty.name()));
        let idle = format!("`{key}` of {what} does nothing for the type {ty}: it is for {its}");
        let own = Field::KEYS.iter().filter(|(_, types)| types.contains(&ty));
        let own = listed(own.map(|(key, _)| *key));
        let idle = reader.at(span, idle);
        reader.report(idle.help(format!("keys of a {ty}: {own}")));
    }
}

/// Bounds of a file say nothing of a text that is none.
fn report_without_file(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    ty: PortType,
    type_at: usize,
    what: &str,
) {
    if ty != Text || entries.get("data_url").is_some() {
        return;
    }
    for (key, span, _) in entries.iter() {
        if !matches!(key, "max_bytes" | "accept") || is_below(reader, span.start, type_at) {
            continue;
        }
        let idle = format!("`{key}` of {what} does nothing for a text without `data_url`");
        let idle = reader.at(span, idle);
        let help = "it is for files: type = \"bytes\", or data_url = \"file\"; of a text there is \
                    `max_chars`";
        reader.report(idle.help(help));
    }
}

/// Of what a request brings only one field can be what the stages run for, and only one can be
/// whatever has no name.
fn report_more_than_one(reader: &mut Reader<'_>, table: &Table, fields: &[Field]) {
    for key in ["each", "any_name"] {
        let mut having = fields.iter().filter(|field| match key {
            "each" => field.each.is_some(),
            _ => field.any_name,
        });
        let Some(first) = having.next() else {
            continue;
        };
        for other in having {
            let (name, first) = (other.name.get_ref(), first.name.get_ref());
            let own = table.get(name).and_then(|node| node.get_ref().as_table());
            let at = own.and_then(|own| own.get(key)).map(Node::span);
            let at = at.unwrap_or(other.name.span());
            let twice = format!("`{key}` of request field `{name}`: `{first}` has it already");
            let twice = reader.at(at, twice);
            reader.report(twice.help("one field of a pipeline has it"));
        }
    }
}

fn read_source(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Source> {
    let what = format!("`from` of {what}");
    let name = reader.string(node, &what)?;
    let source = Source::NAMES.iter().find(|(known, _)| *known == name);
    if source.is_none() {
        let whence = reader.whence(node);
        let unknown = format!("{what}: there is no `{name}`{whence}");
        let unknown = reader.at(node.span(), unknown);
        reader.report(unknown.nearest(&name, Source::NAMES.map(|(known, _)| known)));
    }
    source.map(|(_, source)| *source)
}

fn read_bound(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<f64> {
    let json = reader.json(node, what)?;
    let number = match &json {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let number = number.filter(|number: &f64| number.is_finite());
    if number.is_none() {
        reader.wrong_type(node, what, "a number");
    }
    number
}

/// Media types in lower case, as they are compared.
fn read_accept(reader: &mut Reader<'_>, node: &Node, what: &str) -> Vec<String> {
    let Some(items) = node.get_ref().as_list() else {
        reader.wrong_type(node, what, "a list of media types");
        return Vec::new();
    };
    let mut accept = Vec::with_capacity(items.len());
    for item in items {
        let Some(given) = reader.string(item, what) else {
            continue;
        };
        let range = given.trim().to_ascii_lowercase();
        if is_media_range(&range) {
            accept.push(range);
        } else {
            let whence = reader.whence(item);
            let none = reader.at(
                item.span(),
                format!("{what}: {given:?}{whence} is no media type, so no upload declares it"),
            );
            reader.report(none.help("such as \"image/png\", or \"image/*\" for all of a kind"));
        }
    }
    accept
}

fn is_media_range(text: &str) -> bool {
    let is_token = |part: &str| !part.is_empty() && part.chars().all(is_token_char);
    text == "*"
        || text
            .split_once('/')
            .is_some_and(|(kind, of)| is_token(kind) && is_token(of))
}
