//! The environment and the `.env`: variables that are refused, that are probably misspelt, and that
//! say nothing because of others.

use std::collections::BTreeSet;
use std::env;
use std::os::unix::fs::MetadataExt as _;

use clap::{Command, CommandFactory as _};
use omnizap_contract::common::names::nearest;

use super::finding::Finding;
use super::told;
use crate::cli::config::services_config;
use crate::cli::{Cli, Common, Failure, pipelines};

/// What begins the names of variables that are ours alone.
const OURS: &str = "OMNIZAP_";

/// What begins names of others: those of the tests, and what Kubernetes tells of a service that is
/// called omnizap.
const OTHERS: [&str; 3] = ["OMNIZAP_TEST_", "OMNIZAP_SERVICE_", "OMNIZAP_PORT"];

/// Variables that stand for no flag.
const WITHOUT_FLAG: [&str; 24] = [
    "CLIP_MODEL_NAME",
    "CLIP_MODEL_PRETRAINED",
    "CLIP_PRECISION",
    "DATABASE_URL",
    "DB_HOST",
    "DB_NAME",
    "DB_PASSWORD",
    "DB_PORT",
    "DB_USER",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "NO_COLOR",
    "OMNIZAP_ADMIN_KEYS",
    "OMNIZAP_API_KEYS",
    "OMNIZAP_COMPACT_INDEX",
    "OMNIZAP_MAX_DECODED_BYTES",
    "OMNIZAP_MAX_INDEXED_IMAGES",
    "OMNIZAP_MAX_WAITING_IMAGES",
    "OMNIZAP_MAX_WAITING_TEXTS",
    "OMNIZAP_TOP_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
];

/// From this length on a name may have two slips.
const LONG_NAME: usize = 8;

/// Of the mode of a file, the right of everybody to read it.
const READABLE_BY_ALL: u32 = 0o004;

/// What the start of the program found of the settings, before there were commands.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Heard {
    /// Variables whose value is refused, and what was expected.
    pub(in crate::cli) refused: Vec<(String, String)>,
    /// What is told of the lines of the `.env`.
    pub(in crate::cli) passed_over: Vec<String>,
    /// Why the `.env` cannot be read.
    pub(in crate::cli) unreadable: Option<String>,
}

pub(super) fn look(common: &Common, heard: Heard) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(why) = heard.unreadable {
        let advice = "mend the file, or move it away: without it no server starts here";
        found.push(Finding::misconfigured(why, advice));
    }
    for line in heard.passed_over {
        found.push(Finding::warning(line, "write NAME=value"));
    }
    for (name, expected) in heard.refused {
        let what = format!("{name} is refused: {expected}");
        found.push(Finding::misconfigured(what, "mend the value, or unset it"));
    }
    if let Err(error) = services_config(common) {
        let (text, _) = told(&Failure::Config(error));
        // What it holds is not shown: it may be a secret in the wrong place.
        let text = text.split(", found ").next().unwrap_or_default().to_owned();
        found.push(Finding::misconfigured(text, "mend the value, or unset it"));
    }
    let known = known(common);
    let names: Vec<String> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    for (name, meant) in misspelt(&names, &known) {
        let what = format!("{name} says nothing to this program");
        found.push(match meant {
            Some(meant) => Finding::warning(what, format!("did you mean {meant}?")),
            None => Finding::warning(what, "unset it, or see docs/settings.md for what there is"),
        });
    }
    let is_set = |name: &str| env::var(name).is_ok_and(|value| !value.trim().is_empty());
    found.extend(of_the_database(&is_set));
    found.extend(env_file());
    if found.is_empty() {
        let set = names.iter().filter(|name| known.contains(*name)).count();
        found.push(Finding::fine(format!(
            "{set} of ours are set, all as expected"
        )));
    }
    found
}

/// The names that mean something here: those of flags, those of services, and those that pipelines
/// ask for.
fn known(common: &Common) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = WITHOUT_FLAG.map(str::to_owned).into();
    of_flags(&Cli::command(), &mut known);
    let texts = pipelines::source(common, None).texts().unwrap_or_default();
    for text in &texts {
        asked_for(&text.text, &mut known);
    }
    for (_, text) in pipelines::BUILT_IN {
        asked_for(text, &mut known);
    }
    known
}

fn of_flags(command: &Command, known: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(|flag| flag.get_env());
    known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    for inner in command.get_subcommands() {
        of_flags(inner, known);
    }
}

/// The variables that a text of a pipeline names.
fn asked_for(text: &str, known: &mut BTreeSet<String>) {
    for rest in text.split("${").skip(1) {
        let is_part = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
        let name: String = rest.chars().take_while(is_part).collect();
        if !name.is_empty() {
            known.insert(name);
        }
    }
}

/// The names that are probably meant for this program and mean nothing to it, each with what was
/// probably meant.
fn misspelt<'n>(names: &'n [String], known: &BTreeSet<String>) -> Vec<(&'n str, Option<String>)> {
    let mut found = Vec::new();
    for name in names.iter().filter(|name| !known.contains(*name)) {
        let upper = name.to_uppercase();
        let is_other = OTHERS.iter().any(|prefix| name.starts_with(prefix));
        let near = || {
            let ours = known.iter().filter(|known| known.starts_with(OURS));
            nearest(name, ours.map(String::as_str)).map(str::to_owned)
        };
        if known.contains(&upper) && upper.contains('_') {
            found.push((name.as_str(), Some(upper)));
        } else if name.starts_with(OURS) && !is_other {
            found.push((name.as_str(), near()));
        } else if !is_other && let Some(meant) = slip(name, known) {
            found.push((name.as_str(), Some(meant)));
        }
    }
    found.sort();
    found
}

/// The known name of which it is a slip of the finger, or two in a long one. Names of one word are
/// of anybody.
fn slip(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let most = if name.len() >= LONG_NAME { 2 } else { 1 };
    let known = known.iter().filter(|known| known.contains('_'));
    let far = known.map(|known| (strsim::osa_distance(name, known), known));
    let (_, meant) = far.filter(|(far, _)| *far <= most).min()?;
    Some(meant.clone())
}

/// Parts of a database's address that say nothing because others are set, or are not.
fn of_the_database(is_set: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let parts = ["DB_HOST", "DB_USER", "DB_NAME"];
    let (set, unset): (Vec<&str>, Vec<&str>) = parts.into_iter().partition(|name| is_set(name));
    if set.is_empty() {
        return Vec::new();
    }
    if is_set("DATABASE_URL") {
        let what = format!("{} say nothing, since DATABASE_URL is set", set.join(", "));
        return vec![Finding::warning(what, "unset one or the other")];
    }
    if unset.is_empty() {
        return Vec::new();
    }
    let what = format!(
        "{} without {}: the database is a file in the data folder all the same",
        set.join(", "),
        unset.join(" and ")
    );
    vec![Finding::warning(what, "set all three, or DATABASE_URL")]
}

/// A `.env` that everybody may read.
fn env_file() -> Option<Finding> {
    let file = std::fs::metadata(".env").ok()?;
    let is_open = file.is_file() && file.mode() & READABLE_BY_ALL != 0;
    is_open.then(|| {
        let what = format!("everybody may read .env (mode {:o})", file.mode() & 0o7777);
        Finding::warning(what, "where it holds keys or passwords, `chmod 600 .env`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<(String, Option<String>)> {
        let mut known: BTreeSet<String> = WITHOUT_FLAG.map(str::to_owned).into();
        of_flags(&Cli::command(), &mut known);
        known.insert("CLIP_TOP_K".into());
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = misspelt(&names, &known).into_iter();
        found
            .map(|(name, meant)| (name.to_owned(), meant))
            .collect()
    }

    #[test]
    fn slips_are_told_and_what_others_use_is_not() {
        for (name, meant) in [
            ("OMNIZAP_MAX_CONECTIONS", "OMNIZAP_MAX_CONNECTIONS"),
            ("OMNIZAP_API_KEY", "OMNIZAP_API_KEYS"),
            ("omnizap_listen", "OMNIZAP_LISTEN"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("CLIP_TOPK", "CLIP_TOP_K"),
            ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ] {
            let expected = vec![(name.to_owned(), Some(meant.to_owned()))];
            assert_eq!(found(&[name]), expected);
        }
        let others = [
            "PATH",
            "OPENAI_ORG_ID",
            "DB_CONNECTION",
            "HF_HUB_OFFLINE",
            "OMNIZAP_SERVICE_HOST",
            "OMNIZAP_PORT_8008_TCP",
            "OMNIZAP_TEST_DATABASE",
            "CLIP_TOP_K",
            "OMNIZAP_TOP_KEY",
        ];
        assert_eq!(found(&others), []);
    }

    #[test]
    fn every_variable_of_the_settings_is_known() {
        let mut known: BTreeSet<String> = WITHOUT_FLAG.map(str::to_owned).into();
        of_flags(&Cli::command(), &mut known);
        let settings = include_str!("../../../docs/settings.md");
        for word in settings.split('`').filter(|word| word.starts_with(OURS)) {
            let is_part = |char: char| char.is_ascii_uppercase() || char == '_';
            let is_name = word.chars().all(is_part) && !word.starts_with("OMNIZAP_TEST");
            assert!(
                !is_name || known.contains(word),
                "{word} is of no flag: add it to WITHOUT_FLAG"
            );
        }
    }

    #[test]
    fn half_an_address_of_a_database_is_told() {
        let shown = |set: &[&str]| {
            let found = of_the_database(&|name: &str| set.contains(&name));
            found
                .iter()
                .map(Finding::shown)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(shown(&["DATABASE_URL"]), "");
        assert_eq!(shown(&["DB_HOST", "DB_USER", "DB_NAME"]), "");
        let half = shown(&["DB_HOST"]);
        assert!(
            half.contains("DB_HOST without DB_USER and DB_NAME"),
            "{half}"
        );
        let both = shown(&["DB_HOST", "DATABASE_URL"]);
        assert!(both.contains("DB_HOST say nothing"), "{both}");
    }

    #[test]
    fn what_a_pipeline_asks_for_is_known() {
        let mut known = BTreeSet::new();
        asked_for("a = \"${A_1:-${B}}\" $${C} ${}", &mut known);
        let expected = ["A_1", "B", "C"].map(str::to_owned);
        assert_eq!(known, expected.into());
    }
}
