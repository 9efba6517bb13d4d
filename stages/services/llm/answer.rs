//! What the language model is to answer, and what is kept of it.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Most subtags kept.
const MAX_SUBTAGS: usize = 20;
/// Most traits of style kept.
const MAX_STYLE_TRAITS: usize = 12;
/// Most emotions kept.
const MAX_EMOTIONS: usize = 10;
/// Most names of packs kept.
const MAX_PACK_SUGGESTIONS: usize = 12;
/// Longest entry kept, in characters; a longer one is no tag but a text.
const MAX_ENTRY_CHARS: usize = 80;

/// Words around the labels of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Expansion {
    /// Narrower tags.
    pub subtags: Vec<String>,
    /// How it is drawn or taken.
    pub style_traits: Vec<String>,
    /// What it expresses.
    pub emotions: Vec<String>,
    /// Names for a pack of such images.
    pub pack_suggestions: Vec<String>,
}

/// Why an answer is not good.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// It is not JSON, or has other types than it was asked for.
    #[error("the answer does not fit the schema: {0}")]
    Schema(#[from] serde_json::Error),
    /// It holds no word.
    #[error("the answer is empty")]
    Empty,
}

impl Expansion {
    /// An answer, checked against the schema, its lists trimmed, without repetitions
    /// (without case, the first wins), and cut to their limits.
    ///
    /// # Errors
    /// [`AnswerFault`]: such an answer is not used, and not kept.
    pub fn parse(text: &str) -> Result<Self, AnswerFault> {
        let raw: Self = serde_json::from_str(text)?;
        let clean = Self {
            subtags: tidy(raw.subtags, MAX_SUBTAGS),
            style_traits: tidy(raw.style_traits, MAX_STYLE_TRAITS),
            emotions: tidy(raw.emotions, MAX_EMOTIONS),
            pack_suggestions: tidy(raw.pack_suggestions, MAX_PACK_SUGGESTIONS),
        };
        if clean == Self::default() {
            return Err(AnswerFault::Empty);
        }
        Ok(clean)
    }

    /// As the response shows it and the store keeps it.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({
            "subtags": self.subtags,
            "style_traits": self.style_traits,
            "emotions": self.emotions,
            "pack_suggestions": self.pack_suggestions,
        })
    }

    /// The JSON schema that the language model must follow, in its strict form: all
    /// fields required, no others.
    pub(super) fn schema() -> Json {
        let list =
            |doc: &str| json!({"type": "array", "items": {"type": "string"}, "description": doc});
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["subtags", "style_traits", "emotions", "pack_suggestions"],
            "properties": {
                "subtags": list("narrower tags, at most 20"),
                "style_traits": list("how it is drawn or photographed, at most 12"),
                "emotions": list("what it expresses, at most 10"),
                "pack_suggestions": list("names for a sticker pack of such images, at most 12"),
            },
        })
    }
}

fn tidy(list: Vec<String>, limit: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    list.iter()
        .map(|entry| entry.trim())
        .filter(|entry| !entry.is_empty() && entry.chars().nth(MAX_ENTRY_CHARS).is_none())
        .filter(|entry| !entry.chars().any(char::is_control))
        .filter(|entry| seen.insert(entry.to_lowercase()))
        .take(limit)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_trimmed_unique_and_bounded() {
        let many: Vec<_> = (0..50).map(|n| format!(" tag {n} ")).collect();
        let text = json!({
            "subtags": many,
            "style_traits": ["Bold", " bold ", "", "x".repeat(81), "a\nb"],
            "emotions": many,
            "pack_suggestions": many,
            "extra": 1,
        });
        let expansion = Expansion::parse(&text.to_string()).unwrap();
        assert_eq!(expansion.subtags.len(), 20);
        assert_eq!(expansion.subtags[0], "tag 0");
        assert_eq!(expansion.style_traits, ["Bold"]);
        assert_eq!(expansion.emotions.len(), 10);
        assert_eq!(expansion.pack_suggestions.len(), 12);
        let again = Expansion::parse(&expansion.to_json().to_string()).unwrap();
        assert_eq!(again, expansion);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [
            "",
            "words",
            "[]",
            r#"{"subtags": []}"#,
            r#"{"subtags": "a", "style_traits": [], "emotions": [], "pack_suggestions": []}"#,
            r#"{"subtags": [1], "style_traits": [], "emotions": [], "pack_suggestions": []}"#,
            r#"{"subtags": [" "], "style_traits": [], "emotions": [], "pack_suggestions": []}"#,
        ] {
            assert!(Expansion::parse(bad).is_err(), "{bad}");
        }
    }
}
