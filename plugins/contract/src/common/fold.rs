//! Words that people type, in the form in which they are compared.

/// The word without the blanks around it and without case: "Reaction Meme" and " reaction meme"
/// are one. Accents stay, and so does what is inside.
#[must_use]
pub fn fold(word: &str) -> String {
    word.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn blanks_and_case_go_and_accents_stay() {
        for (word, folded) in [
            ("  Reaction Meme\n", "reaction meme"),
            ("AÇÃO", "ação"),
            ("ΟΔΟΣ", "οδος"),
            ("cafe", "cafe"),
            (" \u{a0}", ""),
        ] {
            assert_eq!(fold(word), folded);
        }
        assert_ne!(fold("CAFÉ"), fold("cafe"));
    }
}
