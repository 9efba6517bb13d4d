//! `pipelines/README.md` says what the program does: its tables are made of what the readers know,
//! and each of its examples is checked as it says.

use std::fmt::Write as _;
use std::fs::read_to_string;

use engine::http::Limits;
use engine::live::source::MAX_FILES;
use engine::pipeline::condition::{OPERATORS, functions};
use engine::pipeline::config::keys::{BOUNDS, Key, TABLES, Table, grouped, types_of};
use omnizap_contract::PortType;
use tempfile::TempDir;

use crate::support::program::{omnizap, root};

const PAGE: &str = "pipelines/README.md";

/// A table of Markdown.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn keys(of: &Table) -> String {
    let is_of_fields = of
        .keys
        .iter()
        .any(|key| !types_of_field(of, key).is_empty());
    let mut head = vec!["key", "value", "without it", "limits", ""];
    if is_of_fields {
        head.insert(1, "of type");
    }
    let rows = of.keys.iter().map(|key| {
        let mut row = vec![
            code(key.name),
            key.value.to_owned(),
            key.unset.to_string(),
            key.limit.to_string(),
            key.doc.to_owned(),
        ];
        if is_of_fields {
            row.insert(1, types_of_field(of, key));
        }
        row
    });
    table(&head, rows)
}

/// The types of fields that a key is for, in the one table where that is asked.
fn types_of_field(of: &Table, key: &Key) -> String {
    if of.title != "a field of [request]" {
        return String::new();
    }
    let all = types_of(&of.keys[0]);
    let types = types_of(key);
    if types == all {
        return "any".to_owned();
    }
    let names: Vec<_> = types.iter().copied().map(PortType::name).collect();
    names.join(", ")
}

fn bounds() -> String {
    let limits = Limits::default();
    let of_http = [
        ("pipeline files of a folder", MAX_FILES),
        (
            "bytes of a body, unless `OMNIZAP_MAX_BODY_BYTES` says otherwise",
            limits.max_body_bytes,
        ),
        (
            "requests at one time, unless `OMNIZAP_MAX_REQUESTS_IN_FLIGHT` says otherwise",
            limits.max_requests_in_flight,
        ),
        (
            "parts of a form, and fields of a query string",
            limits.max_parts,
        ),
        ("bytes of a query string", limits.max_query_bytes),
    ];
    let of_http = of_http.map(|(what, most)| (what, most as u64));
    let rows = BOUNDS.iter().chain(&of_http);
    let rows = rows.map(|(what, most)| vec![grouped((*most).into()), (*what).to_owned()]);
    table(&["at most", ""], rows)
}

/// Each block of the page that is made, by its name.
fn blocks() -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = TABLES
        .iter()
        .map(|table| (format!("keys of {}", table.title), keys(table)))
        .collect();
    let operators = OPERATORS.iter();
    let operators = operators.map(|(operator, takes)| vec![code(operator), (*takes).to_owned()]);
    let named = functions().map(|function| vec![code(function.usage), function.doc.to_owned()]);
    blocks.push(("operators".to_owned(), table(&["", "takes"], operators)));
    blocks.push(("functions".to_owned(), table(&["", "gives"], named)));
    blocks.push(("limits".to_owned(), bounds()));
    blocks
}

/// Where a block stands in the page, without its marks.
fn place(page: &str, name: &str) -> std::ops::Range<usize> {
    let (begin, end) = (
        format!("<!-- begin: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    );
    let at = page.find(&begin);
    let start = at.unwrap_or_else(|| panic!("{PAGE} has no {begin}")) + begin.len();
    let len = page[start..].find(&end);
    start..start + len.unwrap_or_else(|| panic!("{PAGE} has no {end}"))
}

#[test]
fn the_tables_of_the_page_are_those_of_the_program() {
    let path = root().join(PAGE);
    let mut page = read_to_string(&path).unwrap();
    let blocks = blocks();
    for (name, text) in &blocks {
        let text = format!("\n{text}\n");
        let place = place(&page, name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            page.replace_range(place, &text);
        } else {
            assert_eq!(page[place], text, "UPDATE_SNAPSHOTS=1 writes the new text");
        }
    }
    let marked = page.matches("<!-- begin: ").count();
    assert_eq!(marked, blocks.len(), "marks that nothing fills");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, page).unwrap();
    }
}

/// What is wrong with an example, by what its first line says of it.
fn fault(example: &str) -> Option<String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("example.toml");
    std::fs::write(&file, example).unwrap();
    let output = omnizap(folder.path()).arg("check").arg(file).output();
    let output = output.unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let expected = example.lines().next().unwrap_or_default();
    let expected = expected.strip_prefix("# check: ").unwrap_or_default();
    let code = output.status.code();
    let is_as_said = match expected.split_once(": ") {
        None => expected == "fine" && code == Some(0) && !said.contains("warning: "),
        Some(("warning", text)) => {
            code == Some(0) && said.contains("warning: ") && said.contains(text)
        }
        Some(("error", text)) => code == Some(78) && said.contains(text),
        Some(_) => false,
    };
    (!is_as_said).then(|| format!("{example}\n{code:?}: {said}"))
}

#[test]
fn the_examples_of_the_page_are_as_it_says() {
    let page = read_to_string(root().join(PAGE)).unwrap();
    let examples = page.split("```toml\n").skip(1);
    let examples: Vec<_> = examples
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() > 20, "{}", examples.len());
    let faults: Vec<_> = examples.iter().filter_map(|text| fault(text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let planted = "# check: fine\nextends = \"builtin:clasify\"\n";
    assert!(fault(planted).is_some(), "a fault is seen");
}

#[test]
fn every_recipe_is_in_the_page_and_every_link_leads_to_a_file() {
    let folder = root().join("pipelines");
    let page = read_to_string(folder.join("README.md")).unwrap();
    for entry in std::fs::read_dir(folder.join("recipes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let link = format!("(recipes/{name})");
        let is_told = !name.ends_with(".toml") || page.contains(&link);
        assert!(is_told, "{PAGE} says nothing of {link}");
    }
    assert_eq!(broken_links(PAGE, &page), [""; 0]);
}

/// What people read beside it, and what is in `docs`.
const PAGES: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "engine/cli/page/README.md",
    "models/README.md",
    "plugins/README.md",
    "stages/NUMBERS.md",
];

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let outside = page.split("\n```").step_by(2);
    outside.collect::<Vec<_>>().join("\n")
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let lower = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

fn anchors(page: &str) -> Vec<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(anchor).collect()
}

/// The links of a page that lead to no file of the repository, or to no heading of it.
fn broken_links(path: &str, page: &str) -> Vec<String> {
    let folder = root().join(path).parent().unwrap().to_owned();
    let prose = prose(page);
    let links = prose.split("](").skip(1);
    let links = links.filter_map(|rest| rest.split([')', ' ']).next());
    let is_broken = |link: &&str| {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() {
            root().join(path)
        } else {
            folder.join(file)
        };
        if heading.is_empty() || !file.is_empty() && !file.ends_with(".md") {
            return !target.exists();
        }
        let there = if file.is_empty() {
            page.to_owned()
        } else {
            read_to_string(target).unwrap_or_default()
        };
        !anchors(&there).iter().any(|known| known == heading)
    };
    let own = links.filter(|link| !link.contains("://"));
    own.filter(is_broken).map(str::to_owned).collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut pages = PAGES.map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            let readme = read_to_string(root().join("README.md")).unwrap();
            let link = format!("(docs/{name})");
            assert!(readme.contains(&link), "README.md does not lead to {link}");
            pages.push(format!("docs/{name}"));
        }
    }
    let mut faults = Vec::new();
    for path in &pages {
        let page = read_to_string(root().join(path)).unwrap();
        let broken = broken_links(path, &page);
        faults.extend(broken.iter().map(|link| format!("{path} leads to {link}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let planted = "# A b, c\n[x](#a-b-c) [y](#a-b) [z](nothing.md)\n\n```sh\n[n](no)\n```\n";
    assert_eq!(
        broken_links("docs/planted.md", planted),
        ["#a-b", "nothing.md"]
    );
}

/// The README is for the first minute; what is looked up is in `docs`.
#[test]
fn the_readme_is_short_and_begins_with_what_to_type() {
    const MOST_LINES: usize = 120;
    let readme = read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(
        lines <= MOST_LINES,
        "{lines} lines, of {MOST_LINES} at most"
    );
    let first = readme.split("```sh\n").nth(1).unwrap();
    let commands: Vec<_> = first.lines().take(2).collect();
    assert!(commands[0].starts_with("cargo run"), "{commands:?}");
    assert!(commands[1].starts_with("cargo test"), "{commands:?}");
}
