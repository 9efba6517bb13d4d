//! `omnizap plugins new`: a folder with a plugin in Rust that builds as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Longest vendor and longest name of a stage.
const MAX_WORD: usize = 32;
/// Whose a stage is where the name does not say it.
const VENDOR: &str = "example";
/// Where the SDK lies in a checkout.
const SDK: &str = "plugins/sdk";

const FILES: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        include_str!("../../../plugins/template/Cargo.toml.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../plugins/template/lib.rs"),
    ),
    (
        "pipeline.toml",
        include_str!("../../../plugins/template/pipeline.toml"),
    ),
    (
        "README.md",
        include_str!("../../../plugins/template/README.md"),
    ),
    (
        ".gitignore",
        include_str!("../../../plugins/template/gitignore"),
    ),
];

/// A stage's name in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    vendor: &'a str,
    name: &'a str,
}

/// Makes the folder and returns what to print.
pub(super) fn make(id: &str, path: Option<&Path>, sdk: Option<&Path>) -> anyhow::Result<String> {
    let id = parse(id)?;
    let sdk = find_sdk(sdk)?;
    let folder = path.map_or_else(|| PathBuf::from(id.name), Path::to_owned);
    refuse_full(&folder)?;
    let crate_name = format!("{}_{}", id.vendor, id.name).replace('-', "_");
    let shown = folder.display().to_string();
    let quoted_sdk = toml::Value::String(sdk.display().to_string()).to_string();
    let fill = |text: &str| {
        text.replace("{{vendor}}", id.vendor)
            .replace("{{name}}", id.name)
            .replace("{{type}}", &camel_case(id.name))
            .replace("{{crate}}", &crate_name)
            .replace("{{path}}", &shown)
            .replace("{{sdk}}", &quoted_sdk)
    };
    for (file, text) in FILES {
        let file = folder.join(file);
        let parent = file.parent().unwrap_or(&folder);
        let written = fs::create_dir_all(parent).and_then(|()| {
            let mut new = fs::File::create_new(&file)?;
            io::Write::write_all(&mut new, fill(text).as_bytes())
        });
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let library = format!("{shown}/target/release/lib{crate_name}.so");
    Ok(format!(
        "made {shown}: the stage {vendor}/{name}, in src/lib.rs\n\nNext:\n  \
         cargo build --release --manifest-path {shown}/Cargo.toml\n  \
         omnizap plugins inspect {library}\n  \
         omnizap plugins validate {library}\n  \
         omnizap plugins allow --write {library}\n  \
         cp {shown}/pipeline.toml pipelines/{name}.toml\n  \
         omnizap classify --pipeline {name} picture.png",
        vendor = id.vendor,
        name = id.name,
    ))
}

fn parse(id: &str) -> anyhow::Result<Id<'_>> {
    let (vendor, name) = id.split_once('/').unwrap_or((VENDOR, id));
    for word in [vendor, name] {
        if !is_word(word) {
            let [vendor, name] = [vendor, name].map(nearest_word);
            let nearest = match &*vendor {
                VENDOR => name,
                _ => format!("{vendor}/{name}"),
            };
            bail!(
                "`{id}` is no name of a stage: expected NAME or VENDOR/NAME of a-z, 0-9 and -, each \
                 beginning with a letter and of at most {MAX_WORD}; the nearest is `{nearest}`"
            );
        }
    }
    Ok(Id { vendor, name })
}

fn is_word(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    word.bytes().all(plain)
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && !word.ends_with('-')
        && word.len() <= MAX_WORD
}

/// A word that is allowed, as like the given one as can be.
fn nearest_word(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(MAX_WORD);
    let out = out.trim_end_matches('-');
    if out.is_empty() { "my-stage" } else { out }.to_owned()
}

fn camel_case(name: &str) -> String {
    let words = name.split('-').filter(|word| !word.is_empty());
    let words = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    words.collect::<String>() + "Stage"
}

/// The folder of the crate `omnizap-plugin`, absolute.
fn find_sdk(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let is_sdk = |folder: &Path| folder.join("Cargo.toml").is_file();
    if let Some(given) = given {
        if !is_sdk(given) {
            bail!(
                "{} is not the SDK: expected the folder plugins/sdk of the source, with a Cargo.toml",
                given.display()
            );
        }
        return Ok(given.canonicalize()?);
    }
    let starts = [std::env::current_dir(), std::env::current_exe()];
    for start in starts.into_iter().flatten() {
        for folder in start.ancestors() {
            if is_sdk(&folder.join(SDK)) {
                return Ok(folder.join(SDK).canonicalize()?);
            }
        }
    }
    bail!(
        "where is the SDK? It is the folder {SDK} of the source of omnizap, which no folder here \
         has: name it with --sdk"
    )
}

/// Nothing is overwritten.
fn refuse_full(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!(
                    "{} is there and not empty: name another folder with --path",
                    folder.display()
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| folder.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_or_the_nearest_is_told() {
        assert_eq!(parse("blur").unwrap().vendor, VENDOR);
        assert_eq!(parse("acme/blur-2").unwrap().name, "blur-2");
        for (wrong, nearest) in [
            ("Blur Score", "`blur-score`"),
            ("2nd", "`nd`"),
            ("acme/Blur_", "`acme/blur`"),
            ("a/b/c", "`a/b-c`"),
            ("", "`my-stage`"),
            ("é", "`my-stage`"),
        ] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains(nearest), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_type_has_the_name_of_its_stage() {
        assert_eq!(camel_case("near-duplicate"), "NearDuplicateStage");
    }
}
