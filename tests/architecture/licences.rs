//! What becomes part of the program: under the licences that `deny.toml` allows, and from crates.io.
//! `cargo deny` knows more, and is not everywhere.

use std::iter::Peekable;
use std::process::Command;

use crate::support::program::root;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// An expression, word by word.
type Words<'e> = Peekable<std::vec::IntoIter<&'e str>>;

/// The licences that a crate may have, and those that single ones may have beside them.
struct Allowed {
    all: Vec<String>,
    exceptions: Vec<(String, Vec<String>)>,
}

impl Allowed {
    fn read(text: &str) -> Self {
        let file: toml::Table = text.parse().unwrap();
        let texts = |value: &toml::Value| -> Vec<String> {
            let list = value.as_array().unwrap().iter();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let licenses = &file["licenses"];
        let exceptions = licenses["exceptions"].as_array().unwrap().iter();
        let exceptions = exceptions.map(|one| {
            let name = one["crate"].as_str().unwrap().to_owned();
            (name, texts(&one["allow"]))
        });
        Self {
            all: texts(&licenses["allow"]),
            exceptions: exceptions.collect(),
        }
    }

    /// Whether a crate may be had under what its manifest says, in SPDX or as before that: `/`.
    fn allows(&self, name: &str, expression: &str) -> bool {
        let spaced = expression.replace('/', " OR ");
        let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut words = words.into_iter().peekable();
        let is_allowed = self.either(name, &mut words);
        is_allowed && words.next().is_none()
    }

    fn either(&self, name: &str, words: &mut Words<'_>) -> bool {
        let mut is_allowed = self.both(name, words);
        while words.next_if_eq(&"OR").is_some() {
            is_allowed |= self.both(name, words);
        }
        is_allowed
    }

    fn both(&self, name: &str, words: &mut Words<'_>) -> bool {
        let mut is_allowed = self.one(name, words);
        while words.next_if_eq(&"AND").is_some() {
            is_allowed &= self.one(name, words);
        }
        is_allowed
    }

    fn one(&self, name: &str, words: &mut Words<'_>) -> bool {
        if words.next_if_eq(&"(").is_some() {
            let is_allowed = self.either(name, words);
            return words.next_if_eq(&")").is_some() && is_allowed;
        }
        let Some(licence) = words.next() else {
            return false;
        };
        let with = words.next_if_eq(&"WITH").and_then(|_| words.next());
        let licence = with.map_or_else(|| licence.to_owned(), |it| format!("{licence} WITH {it}"));
        let mut of_crate = self.exceptions.iter().filter(|one| one.0 == name);
        self.all.contains(&licence) || of_crate.any(|one| one.1.contains(&licence))
    }
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let file = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed = Allowed::read(&file);
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--workspace"])
        .args(["--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{said}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('|'))
        .collect();
    assert!(crates.len() > 100, "{tree}");
    for (name, expression) in crates {
        let name = name.split(' ').next().unwrap();
        let what = format!("{name} is under {expression:?}, which deny.toml does not allow");
        assert!(allowed.allows(name, expression), "{what}");
    }
    for (name, expression, expected) in [
        ("any", "MIT OR GPL-3.0", true),
        ("any", "GPL-3.0/MIT", true),
        ("any", "MIT AND GPL-3.0", false),
        ("any", "(MIT OR GPL-3.0) AND ISC", true),
        ("any", "(GPL-2.0 OR GPL-3.0) AND ISC", false),
        ("any", "GPL-2.0 WITH Classpath-exception-2.0", false),
        ("any", "", false),
        ("any", "MPL-2.0", false),
        ("colored", "MPL-2.0", true),
    ] {
        assert_eq!(
            allowed.allows(name, expression),
            expected,
            "{name}: {expression}"
        );
    }
}

#[test]
fn every_crate_is_ours_or_from_crates_io() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        match package.get("source") {
            Some(source) => assert_eq!(source.as_str(), Some(CRATES_IO), "{name}"),
            // Ours, and so no stranger's of the same name.
            None => assert!(name.starts_with("omnizap"), "{name}"),
        }
    }
}
