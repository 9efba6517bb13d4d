//! What to log, as people write it: a level, or levels of targets.

use omnizap_contract::common::names::nearest;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

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

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// True for a target of this program's own crates.
fn is_own_target(word: &str) -> bool {
    let name = word.split("::").next().unwrap_or(word);
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
