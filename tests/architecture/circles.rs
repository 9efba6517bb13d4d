//! No circles: between crates cargo sees to it, between the modules of a crate this does.
//!
//! A module and those in its folder may know each other. Among the modules of one folder, what one
//! or anything in it names of another or of anything in that, is an arrow; arrows must not close to
//! a circle. Tests are not looked at.

use std::collections::BTreeSet;

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use super::{File, files};

/// The folder of each crate's sources, and its root modules' files.
const CRATES: [(&str, &str); 11] = [
    ("engine", "engine/lib.rs"),
    ("engine", "engine/main.rs"),
    ("stages", "stages/lib.rs"),
    ("stages/pictures", "stages/pictures/lib.rs"),
    ("stages/services", "stages/services/lib.rs"),
    ("models", "models/lib.rs"),
    ("migrations", "migrations/lib.rs"),
    ("plugins/contract/src", "plugins/contract/src/lib.rs"),
    ("plugins/sdk/src", "plugins/sdk/src/lib.rs"),
    ("plugins/host/src", "plugins/host/src/lib.rs"),
    ("plugins/validator/src", "plugins/validator/src/lib.rs"),
];

/// A module's path: `["pipeline", "run"]`, empty for the root.
type Module = Vec<String>;

/// A source without what is compiled for tests only, and without comments and strings that could
/// be taken for code.
pub(super) fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed == "#[cfg(test)]" {
            let indent = line.len() - trimmed.len();
            // Up to the end of the item: a line that ends it at its own indent.
            for line in lines.by_ref() {
                let inner = line.trim_start();
                let is_outer = line.len() - inner.len() == indent;
                if is_outer && (inner.ends_with(';') || inner.starts_with('}')) {
                    break;
                }
            }
            continue;
        }
        if !trimmed.starts_with("//") {
            kept.push_str(line.split(" // ").next().unwrap_or(line));
            kept.push('\n');
        }
    }
    kept
}

/// The first segments after each `crate::` and `super::` of a source, with how many `super` there
/// are; for `crate` none.
fn names(text: &str) -> Vec<(Option<usize>, Vec<String>)> {
    let mut found = Vec::new();
    for word in ["crate::", "super::"] {
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let mut rest = &text[at..];
            let mut supers = 0;
            while let Some(inner) = rest.strip_prefix("super::") {
                supers += 1;
                rest = inner;
            }
            rest = rest.strip_prefix("crate::").unwrap_or(rest);
            let supers = (word == "super::").then_some(supers);
            for path in paths(rest) {
                found.push((supers, path));
            }
        }
    }
    found
}

/// The paths that begin a text: `a::b::C`, or those in a group `{a::B, c::{D, E}}`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        let mut members = Vec::new();
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    members.push(&group[start..at]);
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    members.push(&group[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return members.into_iter().flat_map(paths).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return Vec::new();
    }
    let further = rest.strip_prefix("::").map(paths).unwrap_or_default();
    if further.is_empty() {
        return vec![vec![name.to_owned()]];
    }
    let with_name = |mut path: Vec<String>| {
        path.insert(0, name.to_owned());
        path
    };
    further.into_iter().map(with_name).collect()
}

/// The circles among modules, each as the sorted names of a folder.
fn circles(modules: &[(Module, String)]) -> Vec<Vec<String>> {
    let known: BTreeSet<&Module> = modules.iter().map(|(module, _)| module).collect();
    // The longest beginning of a path that is a module.
    let resolve = |path: &[String]| -> Module {
        let lengths = (0..=path.len()).rev();
        let beginnings = lengths.map(|length| path[..length].to_vec());
        beginnings
            .into_iter()
            .find(|module| known.contains(module))
            .unwrap_or_default()
    };
    let mut arrows: BTreeSet<(String, String)> = BTreeSet::new();
    for (module, text) in modules {
        for (supers, path) in names(text) {
            let mut full = match supers {
                None => Vec::new(),
                Some(supers) => module[..module.len().saturating_sub(supers)].to_vec(),
            };
            full.extend(path);
            let named = resolve(&full);
            let common = module
                .iter()
                .zip(&named)
                .take_while(|(a, b)| a == b)
                .count();
            // One is inside the other, or they are the same.
            if common == module.len() || common == named.len() {
                continue;
            }
            let side = |module: &Module| module[..=common].join("::");
            arrows.insert((side(module), side(&named)));
        }
    }
    let sides: BTreeSet<&String> = arrows.iter().flat_map(|(from, to)| [from, to]).collect();
    let sides: Vec<&String> = sides.into_iter().collect();
    let place = |side: &String| sides.binary_search(&side).unwrap() as u32;
    let arrows = arrows.iter().map(|(from, to)| (place(from), place(to)));
    let graph = DiGraph::<(), ()>::from_edges(arrows);
    let found = tarjan_scc(&graph)
        .into_iter()
        .filter(|circle| circle.len() > 1);
    let mut found: Vec<Vec<String>> = found
        .map(|circle| {
            let circle = circle.into_iter().map(|node| sides[node.index()].clone());
            let mut circle: Vec<_> = circle.collect();
            circle.sort();
            circle
        })
        .collect();
    found.sort();
    found
}

/// The modules of a crate's files, whatever belongs to another crate in its folder left out.
fn modules(folder: &str, root: &str, files: &[File]) -> Vec<(Module, String)> {
    let is_program = |path: &str| path == "main.rs" || path == "cli.rs" || path.starts_with("cli/");
    let mut found = Vec::new();
    for (name, text) in files {
        let Some(path) = name.strip_prefix(&format!("{folder}/")) else {
            continue;
        };
        let is_foreign = match folder {
            "engine" => {
                is_program(path) != root.ends_with("main.rs") || path.starts_with("benches/")
            }
            "stages" => path.starts_with("services/"),
            _ => false,
        };
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let is_test = parts
            .iter()
            .any(|part| matches!(*part, "tests" | "testing" | "benches" | "examples"));
        if is_foreign || is_test || path == "build.rs" || path.starts_with("onnx-check") {
            continue;
        }
        let module = match parts[..] {
            ["lib" | "main"] => Vec::new(),
            _ => parts.iter().map(|part| (*part).to_owned()).collect(),
        };
        found.push((module, without_tests(text)));
    }
    found
}

#[test]
fn no_modules_of_a_crate_know_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (folder, root) in CRATES {
        let files = files(folder, "rs");
        let modules = modules(folder, root, &files);
        assert!(
            modules.iter().any(|(module, _)| module.is_empty()),
            "{folder}"
        );
        found.extend(circles(&modules).into_iter().map(|circle| (root, circle)));
    }
    assert_eq!(found, Vec::new());
}

#[test]
fn a_planted_circle_is_found() {
    let of = |modules: &[(&str, &str)]| {
        let split = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
        let modules = modules
            .iter()
            .map(|(path, text)| (split(path), without_tests(text)));
        circles(&modules.collect::<Vec<_>>())
    };
    let circle = of(&[
        ("a", "use crate::{b::B, c};"),
        ("b", "fn f() { super::a::g() }"),
        ("c", ""),
    ]);
    assert_eq!(circle, [["a", "b"]]);
    // Deep inside a folder, and through a group of paths.
    let circle = of(&[
        ("a", ""),
        ("a::x", "use crate::b::y::Y;"),
        ("b", ""),
        ("b::y", "use super::super::{c, a::x::X};"),
        ("c", ""),
    ]);
    assert_eq!(circle, [["a", "b"]]);
    let none = of(&[
        (
            "a",
            "mod x;\nuse self::x::X;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}",
        ),
        ("a::x", "use super::A; // crate::b::"),
        ("b", "use crate::a::A;"),
    ]);
    assert_eq!(none, Vec::<Vec<String>>::new());
}
