//! The `[[test]]` tables of a pipeline file.

use omnizap_contract::ErrorKind;
use omnizap_contract::common::names::{nearest, suggestion};
use serde_json::Value as Json;
use toml::Spanned;

use super::keys::{CHECK, EXPECT, TEST, names};
use crate::pipeline::case::{
    ANSWERED, AnswerPath, Case, Check, ERRORS, Expect, Gives, MAX_CASES, Mock, Wanted,
};
use crate::pipeline::reader::Reader;
use crate::pipeline::tree::{Item, Node};

/// Statuses that an answer may have.
const STATUSES: (i64, i64) = (ANSWERED as i64, 599);

/// The tests that could be read.
pub(super) fn read_cases(reader: &mut Reader<'_>, node: &Node) -> Vec<Case> {
    let Item::List(items) = node.get_ref() else {
        reader.wrong_type(node, "`test`", "a list of tables, written [[test]]");
        return Vec::new();
    };
    if items.len() > MAX_CASES {
        let many = format!("{} tests: at most {MAX_CASES} are allowed", items.len());
        let many = reader.at(node.span(), many);
        reader.report(many);
        return Vec::new();
    }
    let mut cases: Vec<Case> = Vec::new();
    for item in items {
        let Some(case) = read_case(reader, item) else {
            continue;
        };
        let name = case.name.get_ref();
        let mut earlier = cases.iter();
        if let Some(earlier) = earlier.find(|earlier| earlier.name.get_ref() == name) {
            let line = reader.source.place(earlier.name.span().start).line;
            let twice = format!("two tests are called {name:?}, the other at line {line}");
            let twice = reader.at(case.name.span(), twice);
            reader.report(twice.help("say of each what it alone shows"));
        }
        cases.push(case);
    }
    cases
}

fn read_case(reader: &mut Reader<'_>, node: &Node) -> Option<Case> {
    let table = reader.table(node, "`test`")?;
    let entries = reader.entries(table, "`test`", &names(&TEST));
    let picture = entries
        .get("picture")
        .and_then(|node| reader.spanned_string(node, "`picture` of `test`"));
    let request = entries
        .get("request")
        .map(|node| read_values(reader, node, "`request` of `test`"))
        .unwrap_or_default();
    let mut mocks = entries
        .get("mock")
        .map(|node| read_mocks(reader, node))
        .unwrap_or_default();
    if let Some(node) = entries.get("fail") {
        let failing = read_failing(reader, node);
        mocks.extend(failing);
    }
    let expect = entries
        .get("expect")
        .map(|node| read_expect(reader, node))
        .unwrap_or_default();
    let Some(name) = entries.get("name") else {
        let missing = reader.at(node.span(), "a test has no `name`");
        reader.report(missing.help("name = \"...\": what it shows"));
        return None;
    };
    let name = reader.spanned_string(name, "`name` of `test`")?;
    let given = name.get_ref();
    if given.trim().is_empty() || given.contains(char::is_control) {
        let wrong = reader.at(name.span(), format!("{given:?} cannot name a test"));
        reader.report(wrong.help("say in a line what it shows"));
    }
    Some(Case {
        name,
        picture,
        request,
        mocks,
        expect,
    })
}

/// A table of values by names that the file chooses.
fn read_values(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &str,
) -> Vec<(Spanned<String>, Spanned<Json>)> {
    let Some(table) = reader.table(node, what) else {
        return Vec::new();
    };
    let mut values = Vec::new();
    for (name, span, node) in reader.any_entries(table).iter() {
        if let Some(json) = reader.any_json(node, &format!("`{name}` in {what}")) {
            let name = Spanned::new(span, name.to_owned());
            values.push((name, Spanned::new(node.span(), json)));
        }
    }
    values
}

fn read_mocks(reader: &mut Reader<'_>, node: &Node) -> Vec<Mock> {
    let Some(table) = reader.table(node, "`mock` of `test`") else {
        return Vec::new();
    };
    let mut mocks = Vec::new();
    for (stage, span, node) in reader.any_entries(table).iter() {
        let outputs = read_values(reader, node, &format!("the mock of stage `{stage}`"));
        mocks.push(Mock {
            stage: Spanned::new(span, stage.to_owned()),
            gives: Gives::Outputs(outputs),
        });
    }
    mocks
}

/// Stages that fail, each with the word for how.
fn read_failing(reader: &mut Reader<'_>, node: &Node) -> Vec<Mock> {
    let Some(table) = reader.table(node, "`fail` of `test`") else {
        return Vec::new();
    };
    let mut mocks = Vec::new();
    for (stage, span, node) in reader.any_entries(table).iter() {
        let what = format!("how stage `{stage}` fails");
        let Some(word) = reader.string(node, &what) else {
            continue;
        };
        let Some(kind) = ERRORS.into_iter().find(|kind| kind.code() == word) else {
            let wrong = format!(
                "{what}: {word:?} is no kind of error{}",
                reader.whence(node)
            );
            let wrong = reader.at(node.span(), wrong);
            reader.report(wrong.nearest(&word, ERRORS.map(ErrorKind::code)));
            continue;
        };
        mocks.push(Mock {
            stage: Spanned::new(span, stage.to_owned()),
            gives: Gives::Error(kind),
        });
    }
    mocks
}

fn read_expect(reader: &mut Reader<'_>, node: &Node) -> Expect {
    let Some(table) = reader.table(node, "`expect`") else {
        return Expect::default();
    };
    let entries = reader.entries(table, "`expect`", &names(&EXPECT));
    let status = entries.get("status").and_then(|node| {
        let status = reader.integer(node, "`status` of `expect`", STATUSES)?;
        Some(Spanned::new(node.span(), u16::try_from(status).ok()?))
    });
    let error = entries
        .get("error")
        .and_then(|node| reader.spanned_string(node, "`error` of `expect`"));
    if let (Some(status), Some(error)) = (&status, &error)
        && *status.get_ref() == ANSWERED
    {
        let both = format!("an answer with the status {ANSWERED} is no error");
        let both = reader.at(error.span(), both);
        reader.report(both.help("leave one of `status` and `error` out"));
    }
    let ran = entries
        .get("ran")
        .map(|node| read_stages(reader, node, "`ran` of `expect`"))
        .unwrap_or_default();
    let skipped = entries
        .get("skipped")
        .map(|node| read_skipped(reader, node))
        .unwrap_or_default();
    let answer = entries
        .get("answer")
        .map(|node| read_answer(reader, node))
        .unwrap_or_default();
    Expect {
        status,
        error,
        ran,
        skipped,
        answer,
    }
}

fn read_stages(reader: &mut Reader<'_>, node: &Node, what: &str) -> Vec<Spanned<String>> {
    let Some(items) = node.get_ref().as_list() else {
        reader.wrong_type(node, what, "a list of stages");
        return Vec::new();
    };
    let items = items.iter();
    items
        .filter_map(|item| reader.spanned_string(item, what))
        .collect()
}

fn read_skipped(reader: &mut Reader<'_>, node: &Node) -> Vec<(Spanned<String>, Option<String>)> {
    let what = "`skipped` of `expect`";
    let Item::Table(table) = node.get_ref() else {
        let Item::List(_) = node.get_ref() else {
            let expected =
                "a list of stages, or a table such as { STAGE = \"a part of the reason\" }";
            reader.wrong_type(node, what, expected);
            return Vec::new();
        };
        let stages = read_stages(reader, node, what).into_iter();
        return stages.map(|stage| (stage, None)).collect();
    };
    let mut skipped = Vec::new();
    for (stage, span, node) in reader.any_entries(table).iter() {
        if let Some(reason) = reader.string(node, &format!("why `{stage}` was skipped")) {
            skipped.push((Spanned::new(span, stage.to_owned()), Some(reason)));
        }
    }
    skipped
}

fn read_answer(reader: &mut Reader<'_>, node: &Node) -> Vec<Wanted> {
    let Some(table) = reader.table(node, "`answer` of `expect`") else {
        return Vec::new();
    };
    let mut answer = Vec::new();
    for (place, span, node) in reader.any_entries(table).iter() {
        let checks = read_checks(reader, place, node);
        match AnswerPath::parse(place) {
            Ok(path) => answer.push(Wanted {
                path: Spanned::new(span, path),
                checks,
            }),
            Err(fault) => {
                let wrong = reader.at(span, format!("{place:?} is no place of an answer: {fault}"));
                reader.report(wrong.help(
                    "a place is a field and what is in it: category, \"top_labels[0].label\", \
                     \"all_scores['a cat']\"",
                ));
            }
        }
    }
    answer
}

/// What is expected at a place: a value, or a table of checks.
fn read_checks(reader: &mut Reader<'_>, place: &str, node: &Node) -> Vec<Spanned<Check>> {
    let what = format!("`{place}` of `answer`");
    let Item::Table(table) = node.get_ref() else {
        let json = reader.any_json(node, &what);
        let check = json.map(|json| Spanned::new(node.span(), Check::Equals(json)));
        return check.into_iter().collect();
    };
    let known = names(&CHECK);
    let help = |key: &str| match nearest(key, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => Some(format!(
            "a member of it is a place of its own, \"{place}.{key}\"; of it itself say one of {}",
            known.join(", ")
        )),
    };
    let entries = reader.entries_or(table, &what, &known, &help);
    let mut checks = Vec::new();
    for (key, _, node) in entries.iter() {
        let what = format!("`{key}` of {what}");
        let check = match key {
            "equals" => reader.any_json(node, &what).map(Check::Equals),
            "contains" => reader.any_json(node, &what).map(Check::Contains),
            "about" => {
                let Some(within) = entries.get("within") else {
                    let missing = reader.at(node.span(), format!("{what}: within how much?"));
                    reader.report(missing.help("within = 0.01, beside it"));
                    continue;
                };
                read_about(reader, node, &what, within)
            }
            "within" => {
                if entries.get("about").is_none() {
                    let idle = reader.at(node.span(), format!("{what}: of what?"));
                    reader.report(idle.help("about = 0.5, beside it"));
                }
                continue;
            }
            "at_least" => read_number(reader, node, &what).map(Check::AtLeast),
            "at_most" => read_number(reader, node, &what).map(Check::AtMost),
            "size" => {
                let size = reader.integer(node, &what, (0, i64::from(u32::MAX)));
                size.and_then(|size| usize::try_from(size).ok())
                    .map(Check::Size)
            }
            "absent" => reader.bool(node, &what).map(Check::Absent),
            "null" => reader.bool(node, &what).map(Check::Null),
            _ => None,
        };
        checks.extend(check.map(|check| Spanned::new(node.span(), check)));
    }
    if table.iter().next().is_none() {
        let nothing = reader.at(node.span(), format!("{what} expects nothing"));
        let help = suggestion("", known.iter().copied());
        reader.report(nothing.help(help.unwrap_or_default()));
    }
    checks
}

fn read_about(reader: &mut Reader<'_>, node: &Node, what: &str, within: &Node) -> Option<Check> {
    let within_what = format!("`within` beside {what}");
    let off = read_number(reader, within, &within_what)?;
    if off < 0.0 {
        reader.wrong_type(within, &within_what, "a number of at least 0");
        return None;
    }
    let json = reader.any_json(node, what)?;
    let json = match json.as_str().map(|text| text.trim().parse::<f64>()) {
        // It may come from the environment.
        Some(Ok(number)) => Json::from(number),
        _ => json,
    };
    if !has_number(&json) {
        reader.wrong_type(node, what, "a number, or a list or table with numbers");
        return None;
    }
    Some(Check::About(json, off))
}

fn has_number(json: &Json) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(items) => items.iter().any(has_number),
        Json::Object(members) => members.values().any(has_number),
        _ => false,
    }
}

fn read_number(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<f64> {
    let json = reader.any_json(node, what)?;
    let spelt = json.as_str().and_then(|text| text.trim().parse().ok());
    let number = json.as_f64().or(spelt).filter(|number| number.is_finite());
    if number.is_none() {
        reader.wrong_type(node, what, "a number");
    }
    number
}
