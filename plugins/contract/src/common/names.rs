//! What was probably meant by a name that is not known.

/// Similarity (Jaro-Winkler, <https://en.wikipedia.org/wiki/Jaro-Winkler_distance>) from which a
/// name counts as a misspelling of another.
const NEAR: f64 = 0.72;
/// Longest name that is compared with others, in bytes: what is longer is no slip of the finger, and
/// may come from a client.
const LONGEST: usize = 128;

/// Fewest characters of the longer of two names of which one may be a slip of the other: of two
/// characters one is half of the name.
const SHORTEST: usize = 3;

/// The valid name that was probably meant: one that a slip of the finger makes of it before one that
/// is only similar.
#[must_use]
pub fn nearest<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    let near = |name: &'a str| {
        let lower = name.to_lowercase();
        let similarity = strsim::jaro_winkler(&given, &lower);
        let is_slip = is_slip(&given, &lower);
        (is_slip || similarity >= NEAR).then_some((is_slip, similarity, name))
    };
    valid
        .into_iter()
        .filter_map(near)
        .max_by(|left, right| left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)))
        .map(|(_, _, name)| name)
}

/// True where one character more, less or other, or two that changed places, makes one of the other.
fn is_slip(given: &str, name: &str) -> bool {
    let (given_chars, name_chars) = (given.chars().count(), name.chars().count());
    given_chars.max(name_chars) >= SHORTEST
        && given_chars.abs_diff(name_chars) <= 1
        && strsim::osa_distance(given, name) <= 1
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

    #[test]
    fn a_slip_of_the_finger_is_one_edit_in_a_short_name_too() {
        for (given, valid, meant) in [
            ("tow", &["two", "hash-only"][..], Some("two")),
            // One that is only similar stands back.
            ("tow", &["tower", "two", "town-hall"], Some("two")),
            ("of", &["off", "on"], Some("off")),
            ("Two", &["two", "tow"], Some("two")),
            ("hsah", &["hash", "has"], Some("hash")),
            ("ab", &["ba", "cd"], None),
            ("one", &["two", "six"], None),
            ("", &["a", "b"], None),
        ] {
            assert_eq!(nearest(given, valid.iter().copied()), meant, "{given}");
        }
        let long = "x".repeat(LONGEST);
        let valid = format!("{long}x");
        assert_eq!(nearest(&long, [&*valid]), Some(&*valid));
        assert_eq!(nearest(&valid, [&*long]), None);
    }
}
