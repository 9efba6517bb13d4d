//! The keys of the store: hashes of what they stand for, so that text of any length
//! and alphabet has one, and two texts have the same only if they are the same.

use omnizap_contract::common::digest::Sha256Hex;

/// The key of a text as it is: 64 characters.
pub(super) fn key_of(text: &str) -> String {
    Sha256Hex::of(text.as_bytes()).to_string()
}

/// The key under which feedback on a label adds up: without case, as labels of a
/// request are compared without case.
#[must_use]
pub fn label_key(label: &str) -> String {
    key_of(&label.trim().to_lowercase())
}

/// The key of a set of labels, whatever their order and case, and however often one comes.
#[must_use]
pub fn label_set<'a>(labels: impl IntoIterator<Item = &'a str>) -> String {
    let labels = labels.into_iter().map(|label| label.trim().to_lowercase());
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    labels.dedup();
    key_of(&labels.join("\0"))
}

/// A label as people may read it in a table. PostgreSQL refuses NUL in text; the key
/// is made of the label as it was.
pub(super) fn readable(label: &str) -> String {
    label.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_accents_apart_and_cases_not() {
        assert_ne!(label_key("cafe"), label_key("café"));
        assert_eq!(label_key(" Café "), label_key("café"));
    }

    #[test]
    fn a_set_of_labels_has_one_key() {
        let key = label_set(["Cat", "dog"]);
        assert_eq!(label_set([" dog", "cat", "DOG"]), key);
        assert_ne!(label_set(["cat"]), key);
        assert_ne!(label_set(["cat\0dog"]), label_set(["cat", "do", "g"]));
    }
}
