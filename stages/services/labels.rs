//! Labels as a client may send them, made into labels that can be scored: trimmed,
//! without empty ones, without repetitions, within bounds.

use std::collections::HashSet;
use std::sync::Arc;

use omnizap_contract::typed::{OneOf, Opt};
use omnizap_contract::{Error, ErrorKind, Options, choices};

/// The bounds of a list of labels.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most labels, counted after repetitions are gone.
    pub max_labels: usize,
    /// Most characters of one label, counted after trimming.
    pub max_label_chars: usize,
    /// What happens to a list that is too long.
    pub over_limit: OverLimit,
}

/// Most labels of a request.
pub const MAX_LABELS: Opt<usize> = Opt::count(
    "max_labels",
    256,
    "most different labels, counted after repetitions are gone",
)
.within(1, 4096);

/// What happens to a list that is too long.
pub const OVER_LIMIT: Opt<OneOf<OverLimit>> = Opt::one_of(
    "over_limit",
    OverLimit::Reject as usize,
    "more labels than that are refused (`reject`), or the last ones are dropped (`cut`)",
);

/// Most characters of a label.
pub const MAX_LABEL_CHARS: Opt<usize> =
    Opt::count("max_label_chars", 200, "most characters of a label").within(1, 10_000);

impl Bounds {
    /// Those of the options [`MAX_LABELS`], [`MAX_LABEL_CHARS`] and [`OVER_LIMIT`].
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            max_labels: options.get(MAX_LABELS),
            max_label_chars: options.get(MAX_LABEL_CHARS),
            over_limit: options.get(OVER_LIMIT),
        }
    }
}

choices! {
    /// What happens to a list of labels that is too long.
    pub enum OverLimit {
        /// The request is refused.
        Reject = "reject",
        /// The labels past the limit are left out, silently.
        Cut = "cut",
    }
}

/// Why a list of labels is none that can be scored, for whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// A label is too long.
    #[error("label {place} is over the limit of {limit} characters (max_label_chars)")]
    TooLong {
        /// Its place from 1, repetitions not counted.
        place: usize,
        /// Most characters of a label.
        limit: usize,
    },
    /// There are too many, and they are not to be cut.
    #[error("more than {limit} different labels (max_labels)")]
    TooMany {
        /// Most labels.
        limit: usize,
    },
}

impl From<LabelFault> for Error {
    /// As a client reads it, who sent the labels.
    fn from(fault: LabelFault) -> Self {
        let (code, advice) = match fault {
            LabelFault::TooLong { .. } => ("label_too_long", ""),
            LabelFault::TooMany { .. } => ("too_many_labels", "; send fewer"),
        };
        Self::new(ErrorKind::Invalid, format!("labels: {fault}{advice}")).with_code(code)
    }
}

/// Trims the labels of a client as [`tidy`] does.
///
/// # Errors
/// [`ErrorKind::Invalid`] where a label is too long, or there are too many and they
/// are not to be cut.
pub fn normalise(labels: &[Arc<str>], bounds: Bounds) -> Result<Vec<Arc<str>>, Error> {
    Ok(tidy(labels, bounds)?)
}

/// Trims labels, drops empty ones and repetitions (without case, the first wins).
/// May give an empty list.
///
/// # Errors
/// Where a label is too long, or there are too many and they are not to be cut.
pub fn tidy(labels: &[Arc<str>], bounds: Bounds) -> Result<Vec<Arc<str>>, LabelFault> {
    let mut seen = HashSet::with_capacity(labels.len().min(bounds.max_labels));
    let mut kept = Vec::with_capacity(labels.len().min(bounds.max_labels));
    for label in labels {
        let trimmed = label.trim();
        if trimmed.is_empty() {
            continue;
        }
        if trimmed.chars().nth(bounds.max_label_chars).is_some() {
            return Err(LabelFault::TooLong {
                place: kept.len() + 1,
                limit: bounds.max_label_chars,
            });
        }
        if !seen.insert(trimmed.to_lowercase()) {
            continue;
        }
        if kept.len() == bounds.max_labels {
            match bounds.over_limit {
                OverLimit::Cut => break,
                OverLimit::Reject => {
                    return Err(LabelFault::TooMany {
                        limit: bounds.max_labels,
                    });
                }
            }
        }
        // Most labels arrive trimmed: those are shared, not copied.
        let unchanged = trimmed.len() == label.len();
        kept.push(if unchanged {
            label.clone()
        } else {
            trimmed.into()
        });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_labels: 3,
        max_label_chars: 10,
        over_limit: OverLimit::Reject,
    };

    fn normal(labels: &[&str], bounds: Bounds) -> Result<Vec<String>, Error> {
        let labels: Vec<Arc<str>> = labels.iter().map(|&label| label.into()).collect();
        let kept = normalise(&labels, bounds)?;
        Ok(kept.iter().map(|label| label.to_string()).collect())
    }

    #[test]
    fn labels_are_trimmed_and_unique_without_case() {
        let kept = normal(&[" Cat ", "", "  ", "CAT", "dog", "cat\u{a0}"], BOUNDS).unwrap();
        assert_eq!(kept, ["Cat", "dog"]);
    }

    #[test]
    fn accents_tell_labels_apart() {
        assert_eq!(normal(&["cafe", "café"], BOUNDS).unwrap(), ["cafe", "café"]);
        assert_eq!(normal(&["É", "é"], BOUNDS).unwrap(), ["É"]);
    }

    #[test]
    fn repetitions_do_not_count_towards_the_limit() {
        let kept = normal(&["a", "A", "b", "B", "c", "C"], BOUNDS).unwrap();
        assert_eq!(kept, ["a", "b", "c"]);
    }

    #[test]
    fn too_many_are_refused_or_cut() {
        let error = normal(&["a", "b", "c", "d"], BOUNDS).unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Invalid, "too_many_labels")
        );
        let cut = Bounds {
            over_limit: OverLimit::Cut,
            ..BOUNDS
        };
        assert_eq!(normal(&["a", "b", "c", "d"], cut).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert_eq!(normal(&["éééééééééé"], BOUNDS).unwrap(), ["éééééééééé"]);
        let error = normal(&["ok", "éééééééééée"], BOUNDS).unwrap_err();
        assert_eq!(error.code(), "label_too_long");
        assert!(error.message().contains("label 2"), "{error}");
    }

    #[test]
    fn nothing_left_is_an_empty_list() {
        assert!(normal(&[" ", "\t"], BOUNDS).unwrap().is_empty());
    }
}
