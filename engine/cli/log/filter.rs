//! What to log, as people write it: a level, or levels of targets.

use omnizap_contract::common::names::nearest;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// This program's own targets.
const OWN: [&str; 9] = [
    "engine",
    "omnizap",
    "omnizap_contract",
    "omnizap_host",
    "omnizap_migrations",
    "omnizap_models",
    "omnizap_services",
    "omnizap_stages",
    "omnizap_validator",
];

/// Targets of libraries that say something.
const OF_LIBRARIES: [&str; 21] = [
    "async_openai",
    "burn",
    "cubecl",
    "h2",
    "hyper",
    "hyper_util",
    "log",
    "mio",
    "reqwest",
    "rustls",
    "sea_orm",
    "sea_orm_migration",
    "sqlx",
    "tokenizers",
    "tokio",
    "tokio_util",
    "tower",
    "tracing",
    "ureq",
    "want",
    "warp",
];

/// The words of other programs, and ours for them.
const OTHERS: [(&str, &str); 12] = [
    ("warning", "warn"),
    ("critical", "error"),
    ("fatal", "error"),
    ("severe", "error"),
    ("notice", "info"),
    ("information", "info"),
    ("default", "info"),
    ("verbose", "debug"),
    ("fine", "debug"),
    ("notset", "trace"),
    ("all", "trace"),
    ("none", "off"),
];

/// Reads a filter; gives it as the subscriber takes it.
///
/// The subscriber takes any word for a target, so that a level which it does not know would log
/// nothing at all. Here a word alone is a level, or a target of this program.
///
/// # Errors
/// What was expected, and what was probably meant.
pub(in crate::cli) fn log_filter(text: &str) -> Result<String, String> {
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim) {
        if directive.is_empty() {
            continue;
        }
        // Spans and their fields are the subscriber's matter.
        if directive.contains('[') {
            directives.push(directive.to_owned());
            continue;
        }
        match directive.split_once('=') {
            Some((target, level)) => {
                let (target, level) = (target.trim(), level.trim());
                if !level.is_empty() && !is_level(level) {
                    return Err(unknown(level));
                }
                directives.push(format!("{target}={level}"));
            }
            None if is_level(directive) || is_own_target(directive) => {
                directives.push(directive.to_owned());
            }
            None => {
                let mut unknown = unknown(directive);
                if !unknown.ends_with('?') {
                    unknown += &format!("; all of a target is {directive}=trace");
                }
                return Err(unknown);
            }
        }
    }
    let filter = directives.join(",");
    match EnvFilter::try_new(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(format!("{error}: expected a level, or TARGET=LEVEL")),
    }
}

/// The filter with a level for what it does not name. The subscriber would log nothing of the rest
/// where a target alone is named, the end of a fault included; who wants that says `off,TARGET=..`.
pub(super) fn with_default(filter: &str, default: &str) -> String {
    if filter.is_empty() {
        return default.to_owned();
    }
    if filter.split(',').any(|part| is_level(part.trim())) {
        return filter.to_owned();
    }
    format!("{default},{filter}")
}

/// What is to be told of targets that nothing is known to be called by: a directive for one does
/// nothing. Each comes with what was probably meant.
pub(super) fn strangers(filter: &str) -> Vec<String> {
    let mut told = Vec::new();
    for directive in filter.split(',') {
        let target = directive.split('=').next().unwrap_or(directive).trim();
        // Spans and their fields are the subscriber's matter.
        let is_of_span = directive.contains(['[', ']', '{', '}']);
        if target.is_empty() || is_of_span || is_level(target) || is_known(target) {
            continue;
        }
        let known = OWN.into_iter().chain(OF_LIBRARIES);
        let meant = nearest(crate_of(target), known);
        let meant = meant.map_or_else(
            || {
                format!(
                    "; those of this program begin with {} or {}",
                    OWN[0], OWN[1]
                )
            },
            |meant| format!("; did you mean `{meant}`?"),
        );
        told.push(format!(
            "the log filter names `{target}`, and no target that is known begins so{meant}"
        ));
    }
    told
}

/// True where a target that is known begins so. Of a path its first part must be one as a whole.
fn is_known(target: &str) -> bool {
    let name = crate_of(target);
    let begins = |known: &&str| *known == name || (name == target && known.starts_with(name));
    // Crates of a family, such as `sqlx_core`, have one name in common.
    let is_of_family = |known: &&str| {
        let rest = name.strip_prefix(*known);
        rest.is_some_and(|rest| rest.starts_with('_'))
    };
    OWN.iter().chain(&OF_LIBRARIES).any(begins) || OF_LIBRARIES.iter().any(is_of_family)
}

fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// True for a target of this program's own crates.
fn is_own_target(word: &str) -> bool {
    let name = crate_of(word);
    name == "engine" || name == "omnizap" || name.starts_with("omnizap_")
}

/// A word that is no level, and which one was probably meant.
fn unknown(word: &str) -> String {
    let other = OTHERS
        .iter()
        .find(|(other, _)| word.eq_ignore_ascii_case(other));
    let meant = other.map(|(_, ours)| *ours);
    let meant = meant.or_else(|| nearest(word, LEVELS));
    let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
    format!("`{word}` is no level: expected error, warn, info, debug, trace or off{meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_of_targets_are_filters() {
        for (text, expected) in [
            ("info", "info"),
            (" WARN\r", "WARN"),
            ("off", "off"),
            ("", ""),
            ("info, sqlx = debug ,,", "info,sqlx=debug"),
            ("omnizap_services::store", "omnizap_services::store"),
            ("engine=trace", "engine=trace"),
            ("warn,hyper=", "warn,hyper="),
            ("info,[request{id=3}]=debug", "info,[request{id=3}]=debug"),
        ] {
            assert_eq!(log_filter(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_target_alone_leaves_the_rest_its_default() {
        for (filter, expected) in [
            ("", "info"),
            ("foo=debug", "info,foo=debug"),
            ("engine", "info,engine"),
            ("[request]=debug", "info,[request]=debug"),
            ("off,foo=debug", "off,foo=debug"),
            ("foo=debug,WARN", "foo=debug,WARN"),
            ("trace", "trace"),
        ] {
            assert_eq!(with_default(filter, "info"), expected, "{filter}");
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn a_target_that_nobody_has_is_told_with_the_one_that_is_meant() {
        for known in [
            "",
            "info",
            "engine::http::service=debug",
            "eng=debug",
            "omnizap=trace,sqlx::query=debug,sqlx_core=info,hyper_util::client=debug",
            "omnizap_service",
            "off,[request{id=3}]=debug,b[span{c=1}]=info",
        ] {
            assert_eq!(strangers(known), [""; 0], "{known}");
        }
        for (filter, name, meant) in [
            ("foo=debug", "`foo`", "begin with engine or omnizap"),
            (
                "omnizap_servces=debug",
                "`omnizap_servces`",
                "`omnizap_services`",
            ),
            ("engin::http=debug", "`engin::http`", "`engine`"),
            ("sqxl=debug", "`sqxl`", "`sqlx`"),
        ] {
            let told = strangers(filter);
            assert_eq!(told.len(), 1, "{filter}: {told:?}");
            assert!(
                told[0].contains(name) && told[0].contains(meant),
                "{told:?}"
            );
        }
        assert_eq!(strangers("foo=debug,info,bar=warn").len(), 2);
    }

    #[test]
    fn other_words_are_refused_with_the_one_that_is_meant() {
        for (text, meant) in [
            ("warning", "`warn`"),
            ("CRITICAL", "`error`"),
            ("verbose", "`debug`"),
            ("information", "`info`"),
            ("wran", "`warn`"),
            ("debgu", "`debug`"),
            ("info,sqlx=warning", "`warn`"),
            ("omnizap=none", "`off`"),
        ] {
            let error = log_filter(text).unwrap_err();
            let wanted = format!("did you mean {meant}?");
            assert!(error.contains(&wanted), "{text}: {error}");
            assert!(error.contains("error, warn, info, debug, trace"), "{error}");
        }
        let error = log_filter("hyper").unwrap_err();
        assert!(error.contains("hyper=trace"), "{error}");
        for text in ["=info", "omnizap=loud", "a[b"] {
            log_filter(text).unwrap_err();
        }
    }
}
