//! What was probably meant by a name that is not known.

/// Similarity (Jaro-Winkler, <https://en.wikipedia.org/wiki/Jaro-Winkler_distance>) from which a
/// name counts as a misspelling of another.
const NEAR: f64 = 0.72;
/// Longest name that is compared with others, in bytes: what is longer is no slip of the finger, and
/// may come from a client.
const LONGEST: usize = 128;

/// The valid name that was probably meant.
#[must_use]
pub fn nearest<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    valid
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// "did you mean" for a near miss, "expected one of" for anything else.
#[must_use]
pub fn suggestion<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut names: Vec<_> = valid.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match nearest(given, names.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if names.is_empty() => None,
        None => Some(format!("expected one of: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_told_from_another_word() {
        let valid = ["threshold", "mode", "model"];
        assert_eq!(nearest("Treshold", valid), Some("threshold"));
        assert_eq!(
            suggestion("zzz", valid).unwrap(),
            "expected one of: mode, model, threshold"
        );
        assert_eq!(suggestion("zzz", []), None);
    }
}
