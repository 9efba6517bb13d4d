//! What the language model is to answer, and what is kept of it.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::json as lenient;
use super::thoughts;

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
/// Most places in a text where an object is looked for: half of them from its beginning, half up to
/// its end.
const MAX_STARTS: usize = 32;

/// Words around the labels of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What the server sent is not JSON.
    #[error("the server's answer is not JSON: {0}")]
    Body(serde_json::Error),
    /// It has no text of the model.
    #[error("the server's answer has no text at choices[0].message.content")]
    NoContent,
    /// It has a message, and no text in it.
    #[error("the server's answer has an empty text at choices[0].message.content")]
    EmptyContent,
    /// The model's text has no object.
    #[error("the model's text holds no JSON object")]
    NoObject,
    /// The object is broken.
    #[error("the model's text is not JSON: {0}")]
    Json(serde_json::Error),
    /// It holds no word.
    #[error("the model's text has no word for subtags, style_traits, emotions or pack_suggestions")]
    Empty,
}

impl Expansion {
    /// The words in a model's text: those of the lists that its object has, trimmed, without
    /// repetitions (without case, the first wins), and cut to their limits.
    ///
    /// The object may stand in a fence, behind thoughts, or between words. Of several the last one
    /// with words counts, for models correct themselves; one among the thoughts, such as a draft,
    /// only where there is none beside them. A list that is missing or is no list is empty; a number
    /// is a word, and so is a text within a list or an object.
    ///
    /// # Errors
    /// [`AnswerFault`]: such an answer is not used, and not kept.
    pub fn parse(text: &str) -> Result<Self, AnswerFault> {
        // As the Python service did it; where that finds nothing, where it would not have looked.
        Self::of_outermost(text).or_else(|fault| {
            let answer = thoughts::left_out(text);
            let found = answer.and_then(|answer| {
                let outermost = Self::of_outermost(&answer).ok();
                outermost.or_else(|| Self::of_last(&answer))
            });
            found.or_else(|| Self::of_last(text)).ok_or(fault)
        })
    }

    /// Those of the object from the first brace to the last.
    fn of_outermost(text: &str) -> Result<Self, AnswerFault> {
        let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else {
            return Err(AnswerFault::NoObject);
        };
        let object = text.get(start..=end).ok_or(AnswerFault::NoObject)?;
        let object = lenient::read(object).map_err(AnswerFault::Json)?;
        Self::of(&object).ok_or(AnswerFault::Empty)
    }

    /// Those of the last object that has some, and is in no other that has.
    fn of_last(text: &str) -> Option<Self> {
        let braces = text.match_indices('{').map(|(start, _)| start);
        let starts: Vec<usize> = braces.filter(|start| may_begin(&text[*start..])).collect();
        let (first, last) = if starts.len() > MAX_STARTS {
            let half = MAX_STARTS / 2;
            (&starts[..half], &starts[starts.len() - half..])
        } else {
            (&starts[..], &[][..])
        };
        let mut found = None;
        let mut end = 0;
        for start in first.iter().chain(last).copied() {
            if start < end {
                continue;
            }
            let Some(object) = balanced(&text[start..]) else {
                continue;
            };
            let words = lenient::read(object).ok().as_ref().and_then(Self::of);
            if words.is_some() {
                found = words;
                end = start + object.len();
            }
        }
        found
    }

    /// The same with each word as it is made of it.
    #[must_use]
    pub(super) fn map(mut self, make: impl Fn(&str) -> String) -> Self {
        let lists = [
            &mut self.subtags,
            &mut self.style_traits,
            &mut self.emotions,
            &mut self.pack_suggestions,
        ];
        for word in lists.into_iter().flatten() {
            *word = make(word);
        }
        self
    }

    fn of(object: &Json) -> Option<Self> {
        let clean = Self {
            subtags: tidy(&object["subtags"], MAX_SUBTAGS),
            style_traits: tidy(&object["style_traits"], MAX_STYLE_TRAITS),
            emotions: tidy(&object["emotions"], MAX_EMOTIONS),
            pack_suggestions: tidy(&object["pack_suggestions"], MAX_PACK_SUGGESTIONS),
        };
        (clean != Self::default()).then_some(clean)
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

/// True where a brace may begin an object: a name follows it, or the brace that closes it.
fn may_begin(text: &str) -> bool {
    text[1..].trim_start().starts_with(['"', '}'])
}

/// The object that a text begins with, up to the brace that closes it.
fn balanced(text: &str) -> Option<&str> {
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'{' if !is_quoted => depth += 1,
            b'}' if !is_quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return text.get(..=at);
                }
            }
            _ => {}
        }
    }
    None
}

fn tidy(list: &Json, limit: usize) -> Vec<String> {
    let mut words = Vec::new();
    // What is no list at all was none for the Python service either.
    for item in list.as_array().into_iter().flatten() {
        gather(item, &mut words);
    }
    let mut seen = HashSet::new();
    words
        .iter()
        .map(|word| word.replace(['\n', '\r', '\t'], " ").trim().to_owned())
        .filter(|word| !word.is_empty() && word.chars().nth(MAX_ENTRY_CHARS).is_none())
        .filter(|word| !word.chars().any(char::is_control))
        .filter(|word| seen.insert(word.to_lowercase()))
        .take(limit)
        .collect()
}

/// The words of an item of a list: itself, a number as it is written, those of a list in the list,
/// and of an object its first text. Null, true and false are no words.
fn gather(item: &Json, words: &mut Vec<String>) {
    match item {
        Json::String(text) => words.push(text.clone()),
        Json::Number(number) => words.push(number.to_string()),
        Json::Array(items) => {
            for item in items {
                gather(item, words);
            }
        }
        Json::Object(members) => {
            let text = members.values().find_map(Json::as_str);
            words.extend(text.map(str::to_owned));
        }
        Json::Null | Json::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_trimmed_unique_and_bounded() {
        let many: Vec<_> = (0..50).map(|n| format!(" tag {n} ")).collect();
        let text = json!({
            "subtags": many,
            "style_traits": ["Bold", " bold ", "", "x".repeat(81), "a\nb", "c\u{1}d"],
            "emotions": many,
            "pack_suggestions": many,
            "extra": 1,
        });
        let expansion = Expansion::parse(&text.to_string()).unwrap();
        assert_eq!(expansion.subtags.len(), 20);
        assert_eq!(expansion.subtags[0], "tag 0");
        assert_eq!(expansion.style_traits, ["Bold", "a b"]);
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
            r#"{"subtags": [null, true, {}, [[]]], "emotions": {"a": "b"}}"#,
            "} {",
            r#"{"subtags": ["a"#,
            "{'subtags': ['a']}",
            r#"{"subtags": [" "], "style_traits": [], "emotions": [], "pack_suggestions": []}"#,
        ] {
            assert!(Expansion::parse(bad).is_err(), "{bad}");
        }
    }
    fn subtags(text: &str) -> Vec<String> {
        let expansion = Expansion::parse(text);
        expansion
            .unwrap_or_else(|fault| panic!("{text}: {fault}"))
            .subtags
    }

    #[test]
    fn an_object_is_found_in_what_stands_around_it() {
        let good = r#"{"subtags": ["a"]}"#;
        for text in [
            format!("```json\n{good}\n```"),
            format!("Here it is: {good} Anything else?"),
            format!("<think>first</think>{good}"),
            format!("<think>is it {{\"subtags\": [\"b\"]}} or {{c}}?</think> {good}"),
            format!("<think>{{</think>Here, {{really}}: {good}"),
            format!("[{good}]"),
            format!("{{\"subtags\": [\"b\"]}}\n{good}"),
            format!("a set {{x}}, {{}} and {good}"),
            format!("{{\"labels\": 1}} {{}} {good}"),
        ] {
            assert_eq!(subtags(&text), ["a"], "{text}");
        }
        assert_eq!(
            subtags(r#"{"subtags": ["</think>", "}"]}"#),
            ["</think>", "}"]
        );
        let hay = "{".repeat(300_000);
        assert!(Expansion::parse(&hay).is_err(), "within bounds");
    }

    #[test]
    fn a_draft_among_the_thoughts_is_not_the_answer() {
        let good = r#"{"subtags": ["a"]}"#;
        let bad = r#"{"subtags": ["b"], "emotions": ["c"]}"#;
        for (open, close) in [
            ("<think>", "</think>"),
            ("<THINKING>", "</Thinking>"),
            ("<thought>", "</thought>"),
            ("<reasoning>", "</reasoning>"),
            ("<reflection>", "</reflection>"),
            ("[THINK]", "[/THINK]"),
            ("<|begin_of_thought|>", "<|end_of_thought|>"),
            (
                "<|channel|>analysis<|message|>",
                "<|end|><|start|>assistant<|channel|>final<|message|>",
            ),
            ("", "</thinking>"),
            // What is not known for a mark.
            ("analysis: ", "assistantfinal"),
            ("<scribble>", "</scribble>"),
        ] {
            for text in [
                format!("{open}maybe {bad}{close}{good}"),
                format!("{open}maybe {bad} or {{x}}{close}\n```json\n{good}\n```"),
                format!("{open}{bad}{close}I mean {{so}}: {good}"),
            ] {
                assert_eq!(subtags(&text), ["a"], "{text}");
            }
        }
        for text in [
            // The thoughts come last, and have no end.
            format!("{good}<think>was {bad} better?"),
            format!("{good}<think>was {bad} better?</think>"),
            // They have no end, and the answer is the last of them.
            format!("<think>maybe {bad}. No: {good}"),
            format!("maybe {bad}. Better: {good}"),
            format!(
                "<think>no {{braces}} here</think>{} {{}}",
                r#"{"subtags": ["a",],}"#
            ),
            // The last that fits, and not what is in it.
            format!("{bad} then {{\"subtags\": [\"a\"], \"of\": {bad}}} {{\"x\": 1}}"),
            format!("{bad} then {{\"result\": {good}}} {{x}}"),
        ] {
            assert_eq!(subtags(&text), ["a"], "{text}");
        }
        // As the Python service, where there is nothing else.
        assert_eq!(subtags(&format!("<think>{good}</think> Done.")), ["a"]);
        assert_eq!(subtags(&format!("<think>either {{x}} or {good}")), ["a"]);
    }

    #[test]
    fn the_answer_is_found_behind_many_others() {
        let other = r#"{"tag": "x"} "#.repeat(1000);
        let good = r#"{"subtags": ["a"]}"#;
        assert_eq!(subtags(&format!("{other}{good}")), ["a"]);
        assert_eq!(subtags(&format!("{good}{other}")), ["a"]);
        let parts = other.trim_end().replace("} {", "}, {");
        let large = format!(r#"{{"parts": [{parts}], "subtags": ["a"]}} {{so}}"#);
        assert_eq!(subtags(&large), ["a"]);
        for hay in [r#"{"a":["#, r#"{"a":""#, "{}", r#"{"a":1,"#] {
            assert!(
                Expansion::parse(&hay.repeat(50_000)).is_err(),
                "within bounds"
            );
        }
    }

    #[test]
    fn every_word_is_made_anew() {
        let expansion = Expansion::parse(r#"{"subtags": ["a", "b"], "emotions": ["c"]}"#);
        let expansion = expansion.unwrap().map(str::to_uppercase);
        assert_eq!(expansion.subtags, ["A", "B"]);
        assert_eq!(expansion.emotions, ["C"]);
    }

    #[test]
    fn odd_items_give_the_words_that_they_have() {
        let odd = r#"{"subtags": [1, 2.5, null, true, {"score": 1, "tag": "a"}, ["b", ["c"]], "A"],
            "style_traits": "flat", "emotions": null}"#;
        assert_eq!(subtags(odd), ["1", "2.5", "a", "b", "c"]);
    }
}
