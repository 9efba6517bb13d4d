//! The names of a request's ports: such as conditions and bindings can say, each of one thing.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;

use super::Field;
use super::place::upper;
use crate::pipeline::reader::Reader;

/// Words that are values in a condition.
const VALUES: [&str; 3] = ["true", "false", "null"];

/// Reports names that nothing could refer to, and those that two ports have.
pub(super) fn check(reader: &mut Reader<'_>, fields: &[Field]) {
    let mut taken: HashMap<&str, (String, Range<usize>)> = HashMap::new();
    for field in fields {
        let name = field.name.get_ref().as_str();
        report_fault(reader, &field.name, "a request field");
        let what = format!("the request field `{}`", name.escape_debug());
        taken.insert(name, (what, field.name.span()));
    }
    for field in fields {
        let extra = [
            ("filename", &field.filename),
            ("content_type", &field.content_type),
            ("data_url", &field.data_url),
        ];
        for (key, port) in extra {
            let Some(port) = port else { continue };
            let of = field.name.get_ref().escape_debug();
            let what = format!("`{key}` of request field `{of}`");
            report_fault(reader, port, &what);
            let name = port.get_ref().as_str();
            let Some((other, span)) = taken.get(name) else {
                taken.insert(name, (what, port.span()));
                continue;
            };
            let at = upper(reader, port.span(), span.clone());
            let shown = name.escape_debug();
            let twice = format!("{what}: `{shown}` is the name of {other} already");
            let twice = reader.at(at, twice);
            reader.report(twice.help("give each a name of its own"));
        }
    }
}

fn report_fault(reader: &mut Reader<'_>, name: &Spanned<String>, what: &str) {
    let text = name.get_ref().as_str();
    let why = if text.is_empty() {
        "a name is not empty"
    } else if text.trim().is_empty() {
        "a name is not only blanks"
    } else if text.chars().any(char::is_control) {
        "it holds a control character"
    } else if text.contains('`') {
        "it holds a backtick, between which conditions write names"
    } else if VALUES.contains(&text) {
        "in a condition that is a value"
    } else {
        return;
    };
    let wrong = reader.at(
        name.span(),
        format!("{what} cannot be called {text:?}: {why}"),
    );
    reader.report(wrong.help("choose another name"));
}
