//! Whatever is copied into the image, built there, or mounted is in the repository.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use super::{COMPOSE, captures, files, instructions, keys, text, yaml};
use crate::support::program::root;

/// True where a line of `.dockerignore` keeps that file out. They are names here, or `**/NAME`.
fn is_kept_out(path: &str, rules: &str) -> bool {
    let rules = rules.lines().filter(|line| !line.starts_with('#'));
    let mut rules = rules.filter(|line| !line.is_empty());
    rules.any(|rule| match rule.strip_prefix("**/") {
        Some(name) => path.split('/').any(|part| part == name),
        None => {
            let below = path.strip_prefix(rule);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    })
}

/// The files that sources take into the program, and the manifests and targets of the workspace.
fn files_of_the_build() -> BTreeSet<String> {
    let manifest = text("Cargo.toml");
    let parsed: toml::Table = manifest.parse().unwrap();
    let members = parsed["workspace"]["members"].as_array().unwrap();
    let members = members.iter().map(|member| member.as_str().unwrap());
    let mut found: BTreeSet<_> = members
        .map(|member| format!("{member}/Cargo.toml"))
        .collect();
    found.extend(captures(r#"(?m)^path = "([^"]+\.rs)"$"#, &manifest));
    found.extend(["Cargo.toml", "Cargo.lock"].map(str::to_owned));
    let taken = Regex::new(r#"include_(?:str|bytes)!\(\s*"([^"]+)"\s*\)"#).unwrap();
    for folder in ["engine", "stages", "models", "migrations", "plugins"] {
        for path in files(folder).iter().filter(|path| path.ends_with(".rs")) {
            let code = text(path);
            // What tests take in is not in the image.
            let code = code.split("#[cfg(test)]").next().unwrap();
            let beside = Path::new(path).parent().unwrap();
            for taken in taken.captures_iter(code) {
                let mut whole = PathBuf::new();
                for part in beside.join(&taken[1]).components() {
                    match part {
                        Component::ParentDir => assert!(whole.pop(), "{path}"),
                        part => whole.push(part),
                    }
                }
                found.insert(whole.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn whatever_is_copied_or_mounted_is_there() {
    let rules = text(".dockerignore");
    let is_there = |path: &str| {
        assert!(root().join(path).exists(), "there is no {path}");
        assert!(!is_kept_out(path, &rules), ".dockerignore keeps {path} out");
    };
    let build = files_of_the_build();
    assert!(build.len() > 30, "{build:?}");
    build.iter().for_each(|path| is_there(path));
    for instruction in instructions() {
        let Some(copied) = instruction.strip_prefix("COPY ") else {
            continue;
        };
        if copied.starts_with("--from") || copied == ". ." {
            continue;
        }
        let (sources, _) = copied.rsplit_once(' ').unwrap();
        sources.split(' ').for_each(is_there);
    }
    for secret in [".env", "deploy/.env", "data/omnizap.db", ".git/config"] {
        assert!(is_kept_out(secret, &rules), "{secret}");
    }
    let compose = yaml(COMPOSE);
    let volumes = keys(&compose["volumes"]);
    for (name, service) in compose["services"].as_object().unwrap() {
        for mounted in service["volumes"].as_array().unwrap() {
            let from = mounted.as_str().unwrap().split(':').next().unwrap();
            match from.strip_prefix("./") {
                Some(path) => assert!(root().join("deploy").join(path).is_file(), "{name}: {from}"),
                None => assert!(volumes.contains(from), "{name}: {from}"),
            }
        }
    }
    let kustomization = yaml("deploy/kubernetes/kustomization.yaml");
    for resource in kustomization["resources"].as_array().unwrap() {
        let path = format!("deploy/kubernetes/{}", resource.as_str().unwrap());
        assert!(yaml(&path)["kind"].is_string(), "{path}");
    }
    let tag = kustomization["images"][0]["newTag"].as_str();
    assert_eq!(tag, Some(env!("CARGO_PKG_VERSION")));
    let image = text("Dockerfile");
    let rust = captures(r"(?m)^ARG RUST_VERSION=(\S+)$", &image);
    let manifest = text("Cargo.toml");
    let wanted = captures(r#"(?m)^rust-version = "(\S+)"$"#, &manifest);
    assert_eq!(
        rust, wanted,
        "the image builds with the oldest Rust that will do"
    );
}
