//! What an answer looks like where the file says it: JSON with values in the places of names in
//! braces. `"{model}"` is that value, whatever its type; within more text it is written out;
//! `"{nsfw_classes.porn}"` is a member of it; `{{` and `}}` are braces.
//!
//! Which names there are is looked at once stages are bound ([`super::graph`]); a value that is not
//! there is null.

use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::condition::place_of;
use super::interpolate::interpolate;
use super::reader::Reader;
use super::tree::{Item, Node};

/// What came of each item of a request, in the template of its answer.
pub const EACH: &str = "each";
/// Which item of a request it is, from 0.
pub const INDEX: &str = "index";
/// What went wrong, in the template of an error.
pub const ERROR: &str = "error";
/// The id of the request.
pub const REQUEST_ID: &str = "request_id";
/// What TOML has no word for.
pub const NULL: &str = "null";
/// What is known of an error.
pub const OF_ERROR: [&str; 4] = ["status", "code", "detail", "stage"];

/// A piece of JSON with places for values.
#[derive(Clone, Debug)]
pub enum Template {
    /// It is always the same.
    Always(Json),
    /// A value, as it is.
    Value(Placed),
    /// A text with values in it.
    Text(Vec<Piece>),
    /// A list of such.
    List(Vec<Template>),
    /// An object of such.
    Object(Vec<(String, Template)>),
}

/// A piece of a text.
#[derive(Clone, Debug)]
pub enum Piece {
    /// It is always the same.
    Always(String),
    /// A value, written out.
    Value(Placed),
}

/// A name in braces.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The name, with the members behind it.
    pub name: String,
    /// Where the file says it.
    pub span: Range<usize>,
}

/// The values that a template is filled with.
#[derive(Debug, Default)]
pub struct Values<'v> {
    /// Fields of the response.
    pub fields: Option<&'v Map<String, Json>>,
    /// What is known beside those, and goes before them.
    pub own: Map<String, Json>,
    /// What came of each item; it stands in one place.
    pub each: Option<Vec<Json>>,
}

impl Template {
    /// The JSON, with the values in their places.
    #[must_use]
    pub fn fill(&self, values: &mut Values<'_>) -> Json {
        match self {
            Self::Always(json) => json.clone(),
            Self::Value(placed) => values.take(&placed.name),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Always(same) => text.push_str(same),
                        Piece::Value(placed) => match values.take(&placed.name) {
                            Json::Null => {}
                            Json::String(value) => text.push_str(&value),
                            value => text.push_str(&value.to_string()),
                        },
                    }
                }
                Json::String(text)
            }
            Self::List(items) => items.iter().map(|item| item.fill(values)).collect(),
            Self::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, member)| (name.clone(), member.fill(values)));
                Json::Object(members.collect())
            }
        }
    }

    /// Every name in it, and whether it stands alone.
    #[must_use]
    pub fn placed(&self) -> Vec<(&Placed, bool)> {
        match self {
            Self::Always(_) => Vec::new(),
            Self::Value(placed) => vec![(placed, true)],
            Self::Text(pieces) => {
                let values = pieces.iter().filter_map(|piece| match piece {
                    Piece::Always(_) => None,
                    Piece::Value(placed) => Some((placed, false)),
                });
                values.collect()
            }
            Self::List(items) => items.iter().flat_map(Self::placed).collect(),
            Self::Object(members) => {
                let members = members.iter();
                members.flat_map(|(_, member)| member.placed()).collect()
            }
        }
    }
}

impl Values<'_> {
    fn take(&mut self, name: &str) -> Json {
        if name == EACH
            && let Some(each) = self.each.take()
        {
            return each.into();
        }
        let own = find(&self.own, name);
        let of_fields = || find(self.fields?, name);
        own.or_else(of_fields).cloned().unwrap_or_default()
    }
}

/// A value by its name and the members behind it.
fn find<'v>(values: &'v Map<String, Json>, name: &str) -> Option<&'v Json> {
    let known = |name: &str| values.contains_key(name);
    let (first, members) = parted(name, &known)?;
    let mut value = values.get(first)?;
    for member in members.split('.').filter(|member| !member.is_empty()) {
        value = match value {
            Json::Array(items) => items.get(member.parse::<usize>().ok()?)?,
            Json::Object(members) => members.get(member)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A name as one that is known and the members behind it; of names with dots the longest.
pub(super) fn parted<'n>(
    name: &'n str,
    known: &dyn Fn(&str) -> bool,
) -> Option<(&'n str, &'n str)> {
    if known(name) {
        return Some((name, ""));
    }
    let mut dots = name.rmatch_indices('.').map(|(dot, _)| dot);
    let dot = dots.find(|dot| known(&name[..*dot]))?;
    Some((&name[..dot], &name[dot + 1..]))
}

/// Reads a template; what is wrong with it is reported.
pub(super) fn read_whole(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Template> {
    let is_whole = matches!(
        node.get_ref(),
        Item::String(_) | Item::List(_) | Item::Table(_)
    );
    if !is_whole {
        reader.wrong_type(node, what, "a table, a list or a text");
        return None;
    }
    read(reader, node, what)
}

/// Reads a part of one.
fn read(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Template> {
    Some(match node.get_ref() {
        Item::String(text) => read_text(reader, text, node, what)?,
        Item::List(items) => {
            // All of them, so that every mistake is reported.
            let items: Vec<_> = items.iter().map(|item| read(reader, item, what)).collect();
            Template::List(items.into_iter().collect::<Option<_>>()?)
        }
        Item::Table(table) => {
            let members: Vec<_> = table
                .iter()
                .map(|(key, member)| {
                    let member = read(reader, member, what);
                    member.map(|member| (key.get_ref().clone(), member))
                })
                .collect();
            Template::Object(members.into_iter().collect::<Option<_>>()?)
        }
        _ => Template::Always(reader.json(node, what)?),
    })
}

fn read_text(reader: &mut Reader<'_>, text: &str, node: &Node, what: &str) -> Option<Template> {
    // What a variable holds is text, and no place for a value.
    let environment = reader.environment;
    let plain = |name: &str| {
        let value = environment(name)?;
        Some(value.replace('{', "{{").replace('}', "}}"))
    };
    let filled = match interpolate(text, &plain) {
        Ok(filled) => filled,
        Err(error) => {
            let wrong = reader.at(node.span(), error.to_string());
            reader.report(wrong.help(error.help()));
            return None;
        }
    };
    // Where it stands in the file is known of what the file says itself.
    let place = |range: Range<usize>| {
        if filled == text {
            place_of(&reader.source.text, &node.span(), &range)
        } else {
            node.span()
        }
    };
    match pieces(&filled, &place) {
        Ok(pieces) => Some(of_pieces(pieces)),
        Err((span, fault)) => {
            let wrong = reader.at(span, format!("{what}: {fault}"));
            reader.report(wrong.help("a value stands as `{name}`, a brace itself as `{{` or `}}`"));
            None
        }
    }
}

/// A text in pieces; else where it is wrong, and why.
fn pieces(
    text: &str,
    place: &dyn Fn(Range<usize>) -> Range<usize>,
) -> Result<Vec<Piece>, (Range<usize>, String)> {
    let mut pieces = Vec::new();
    let (mut same, mut at) = (String::new(), 0);
    while let Some(found) = text[at..].find(['{', '}']) {
        let brace = at + found;
        same.push_str(&text[at..brace]);
        let rest = &text[brace..];
        if let Some(double) = ["{{", "}}"].into_iter().find(|it| rest.starts_with(it)) {
            same.push_str(&double[1..]);
            at = brace + 2;
            continue;
        }
        if rest.starts_with('}') {
            return Err((place(brace..brace + 1), "`}` closes nothing".to_owned()));
        }
        let end = rest[1..].find(['{', '}']).map(|end| brace + 1 + end);
        let Some(end) = end.filter(|end| text[*end..].starts_with('}')) else {
            let open = place(brace..brace + 1);
            return Err((open, "`{` is not closed by `}`".to_owned()));
        };
        let written = &text[brace + 1..end];
        let name = written.trim();
        if name.is_empty() || name.split('.').any(str::is_empty) {
            let fault = format!("`{{{written}}}` names no value");
            return Err((place(brace..end + 1), fault));
        }
        if !same.is_empty() {
            pieces.push(Piece::Always(std::mem::take(&mut same)));
        }
        pieces.push(Piece::Value(Placed {
            name: name.to_owned(),
            span: place(brace + 1..end),
        }));
        at = end + 1;
    }
    same.push_str(&text[at..]);
    if !same.is_empty() {
        pieces.push(Piece::Always(same));
    }
    Ok(pieces)
}

fn of_pieces(mut pieces: Vec<Piece>) -> Template {
    match pieces.pop() {
        None => Template::Always("".into()),
        Some(Piece::Always(same)) if pieces.is_empty() => Template::Always(same.into()),
        Some(Piece::Value(placed)) if pieces.is_empty() => Template::Value(placed),
        Some(last) => {
            pieces.push(last);
            Template::Text(pieces)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(text: &str) -> Result<Template, String> {
        let pieces = pieces(text, &|range| range);
        pieces.map(of_pieces).map_err(|(_, fault)| fault)
    }

    fn filled(text: &str) -> Json {
        let fields = json!({
            "model": "m", "share": 0.5, "classes": { "porn": 0.25 }, "all": [1, 2], "none": null,
            "acme/a.b": { "c": true },
        });
        let Json::Object(own) = json!({ "index": 3, "error": { "code": "x" } }) else {
            unreachable!("it is an object");
        };
        let mut values = Values {
            fields: fields.as_object(),
            own,
            each: Some(vec![json!(1), json!(2)]),
        };
        template(text).unwrap().fill(&mut values)
    }

    #[test]
    fn values_stand_where_their_names_do() {
        for (text, expected) in [
            ("", json!("")),
            ("list", json!("list")),
            ("{model}", json!("m")),
            ("{ share }", json!(0.5)),
            ("{classes.porn}", json!(0.25)),
            ("{classes}", json!({ "porn": 0.25 })),
            ("{all.1}", json!(2)),
            ("{all.9}", json!(null)),
            ("{none}", json!(null)),
            ("{null}", json!(null)),
            ("{acme/a.b.c}", json!(true)),
            ("{each}", json!([1, 2])),
            ("{index}", json!(3)),
            ("{error.code}", json!("x")),
            ("a {model}: {share} {none}{all}", json!("a m: 0.5 [1,2]")),
            ("{{model}}", json!("{model}")),
            ("{{{model}}}", json!("{m}")),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn braces_that_say_nothing_are_mistakes() {
        for (text, fault) in [
            ("{model", "`{` is not closed"),
            ("{a{b}}", "`{` is not closed"),
            ("a } b", "`}` closes nothing"),
            ("{}", "`{}` names no value"),
            ("{ }", "names no value"),
            ("{a..b}", "names no value"),
            ("{a.}", "names no value"),
        ] {
            let said = template(text).unwrap_err();
            assert!(said.contains(fault), "{text}: {said}");
        }
    }

    #[test]
    fn each_stands_in_one_place() {
        let both = Template::List(vec![
            template("{each}").unwrap(),
            template("{each}").unwrap(),
        ]);
        let mut values = Values {
            each: Some(vec![json!(1)]),
            ..Values::default()
        };
        assert_eq!(both.fill(&mut values), json!([[1], null]));
        assert_eq!(both.placed().len(), 2);
    }
}
