//! The `[response]` table of a pipeline file: what an answer must have, the order of its fields, and
//! what it looks like where that is not those fields.

use std::ops::Range;

use toml::Spanned;

use super::keys::{
    ERROR, ERROR_OF_EACH, Key, LARGEST_STATUS, LEAST_STATUS, MAX_ERRORS, RESPONSE, names,
};
use crate::pipeline::reader::{Entries, Reader};
use crate::pipeline::template::{self, Template};
use crate::pipeline::tree::{Item, Node};

/// What `[response]` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    pub(super) require: Vec<Spanned<String>>,
    pub(super) shown: Vec<Spanned<String>>,
    pub(super) answer: Answer,
    /// True where something of it could not be read.
    pub(super) has_unreadable_part: bool,
}

/// What an answer looks like where it is not the published fields, and an error where it is not
/// the service's own.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The answer.
    pub template: Option<Spanned<Template>>,
    /// What stands in it for an item of the request.
    pub each: Option<Spanned<Template>>,
    /// What stands in it for an item that failed, the first that suits; where none does, the
    /// request fails.
    pub errors_of_each: Vec<ErrorForm>,
    /// The answer to a request that failed, the first that suits.
    pub errors: Vec<ErrorForm>,
}

/// What an error looks like.
#[derive(Clone, Debug)]
pub struct ErrorForm {
    /// The errors that it is for; all where there are none.
    pub of: Vec<Of>,
    /// Its status, where that is another.
    pub status: Option<u16>,
    /// What it says.
    pub template: Template,
    /// Where the file says it.
    pub span: Range<usize>,
}

/// Which errors are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// Those of that status.
    Status(u16),
    /// Those of that code.
    Code(String),
}

impl ErrorForm {
    /// True where it is for an error of that status and code.
    #[must_use]
    pub fn suits(&self, status: u16, code: &str) -> bool {
        self.of.is_empty()
            || self.of.iter().any(|of| match of {
                Of::Status(own) => *own == status,
                Of::Code(own) => own == code,
            })
    }
}

impl Answer {
    /// The form of an error of an item.
    #[must_use]
    pub fn of_item(&self, status: u16, code: &str) -> Option<&ErrorForm> {
        let mut forms = self.errors_of_each.iter();
        forms.find(|form| form.suits(status, code))
    }

    /// The form of an error of a request.
    #[must_use]
    pub fn of_request(&self, status: u16, code: &str) -> Option<&ErrorForm> {
        let mut forms = self.errors.iter();
        forms.find(|form| form.suits(status, code))
    }
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Response {
    let Some(table) = reader.table(node, "`response`") else {
        return Response {
            has_unreadable_part: true,
            ..Response::default()
        };
    };
    let entries = reader.entries(table, "`response`", &names(&RESPONSE));
    let mut response = Response {
        require: read_names(reader, &entries, "require"),
        shown: read_names(reader, &entries, "order"),
        ..Response::default()
    };
    let mut template = |key: &str| {
        let node = entries.get(key)?;
        match template::read_whole(reader, node, &format!("`{key}` of `response`")) {
            Some(template) => Some(Spanned::new(node.span(), template)),
            None => {
                response.has_unreadable_part = true;
                None
            }
        }
    };
    response.answer.template = template("template");
    response.answer.each = template("each");
    for (key, keys) in [("error", &ERROR[..]), ("each_error", &ERROR_OF_EACH[..])] {
        let Some(node) = entries.get(key) else {
            continue;
        };
        let forms = read_errors(reader, node, key, keys);
        response.has_unreadable_part |= forms.is_none();
        let forms = forms.unwrap_or_default();
        match key {
            "error" => response.answer.errors = forms,
            _ => response.answer.errors_of_each = forms,
        }
    }
    response
}

fn read_names(reader: &mut Reader<'_>, entries: &Entries<'_>, key: &str) -> Vec<Spanned<String>> {
    let Some(node) = entries.get(key) else {
        return Vec::new();
    };
    let what = format!("`{key}`");
    let Some(items) = node.get_ref().as_list() else {
        reader.wrong_type(node, &what, "a list of response fields");
        return Vec::new();
    };
    let items = items.iter();
    let names = items.filter_map(|item| reader.spanned_string(item, &what));
    names.collect()
}

/// The forms of errors; none where one could not be read.
fn read_errors(
    reader: &mut Reader<'_>,
    node: &Node,
    key: &str,
    keys: &'static [Key],
) -> Option<Vec<ErrorForm>> {
    let title = format!("`{key}` of `response`");
    let Item::List(items) = node.get_ref() else {
        let expected = format!("a list of tables, written [[response.{key}]]");
        reader.wrong_type(node, &title, &expected);
        return None;
    };
    if items.len() > MAX_ERRORS {
        let many = format!("{title}: {}, at most {MAX_ERRORS} are allowed", items.len());
        reader.report(reader.at(node.span(), many));
        return None;
    }
    let forms: Vec<_> = items
        .iter()
        .map(|item| read_error(reader, item, &title, keys))
        .collect();
    let forms: Vec<ErrorForm> = forms.into_iter().collect::<Option<_>>()?;
    let of_all = forms.iter().position(|form| form.of.is_empty());
    if let Some(idle) = of_all.and_then(|of_all| forms.get(of_all + 1)) {
        let idle = reader.at(
            idle.span.clone(),
            format!("{title}: it is never shown, the one before it is for all errors"),
        );
        reader.report(idle.help("the one without `of` comes last"));
    }
    for (at, form) in forms.iter().enumerate() {
        let is_told = |of: &Of| forms[..at].iter().any(|before| before.of.contains(of));
        if !form.of.is_empty() && form.of.iter().all(is_told) {
            let idle =
                format!("{title}: it is never shown, those before it are for all of its `of`");
            let idle = reader.at(form.span.clone(), idle);
            reader.report(idle.help("leave it out, or put it before them"));
        }
    }
    Some(forms)
}

fn read_error(
    reader: &mut Reader<'_>,
    node: &Node,
    title: &str,
    keys: &'static [Key],
) -> Option<ErrorForm> {
    let table = reader.table(node, title)?;
    let entries = reader.entries(table, title, &names(keys));
    let of = match entries.get("of") {
        None => Some(Vec::new()),
        Some(node) => read_of(reader, node, title),
    };
    let status = entries.get("status").map(|node| {
        let what = format!("`status` of {title}");
        let status = reader.integer(node, &what, (LEAST_STATUS, LARGEST_STATUS));
        status.and_then(|status| u16::try_from(status).ok())
    });
    let Some(said) = entries.get("template") else {
        let missing = reader.at(node.span(), format!("{title}: one has no `template`"));
        reader.report(missing.help("template = { message = \"{error.detail}\" }"));
        return None;
    };
    let template = template::read_whole(reader, said, &format!("`template` of {title}"));
    let status = match status {
        None => None,
        Some(status) => Some(status?),
    };
    Some(ErrorForm {
        of: of?,
        status,
        template: template?,
        span: node.span(),
    })
}

/// Statuses as numbers, codes as words.
fn read_of(reader: &mut Reader<'_>, node: &Node, title: &str) -> Option<Vec<Of>> {
    let what = format!("`of` of {title}");
    let expected = "a list of statuses and codes, such as [422, \"missing_field\"]";
    let items = match node.get_ref() {
        Item::List(items) if !items.is_empty() => items,
        _ => {
            reader.wrong_type(node, &what, expected);
            return None;
        }
    };
    let each: Vec<_> = items
        .iter()
        .map(|item| {
            let written = match item.get_ref() {
                Item::String(_) => reader.string(item, &what)?.trim().to_owned(),
                Item::Integer(integer) => integer.to_string(),
                _ => {
                    reader.wrong_type(item, &what, expected);
                    return None;
                }
            };
            let is_number = written
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
            if !is_number {
                return Some(Of::Code(written));
            }
            let status = written.parse::<i64>().ok();
            let status = status.filter(|it| (LEAST_STATUS..=LARGEST_STATUS).contains(it));
            let status = status.and_then(|status| u16::try_from(status).ok());
            if status.is_none() {
                let range = format!("a status from {LEAST_STATUS} to {LARGEST_STATUS}, or a code");
                reader.wrong_type(item, &what, &range);
            }
            status.map(Of::Status)
        })
        .collect();
    each.into_iter().collect()
}
