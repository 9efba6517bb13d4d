//! Thoughts that a model wrote down around its answer, by the marks that models put around them.
//!
//! - tags of any case, in any of these brackets: `<think>..</think>`, `[THINK]..[/THINK]`,
//!   `<|begin_of_thought|>..<|end_of_thought|>`, `<seed:think>`, `◁think▷`;
//! - channels: `<|channel|>analysis .. <|channel|>final`, `<|channel>thought .. <channel|>`.
//!
//! What stands before an end without a beginning is a thought as well: templates of conversations
//! begin it for the model. So is what stands behind a beginning without an end.

/// What models call their thoughts.
const NAMES: [&str; 13] = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reason",
    "reasoning",
    "reflect",
    "reflection",
    "analysis",
    "scratchpad",
    "monologue",
    "inner_monologue",
    "chain_of_thought",
];
/// The mark whose next word says what follows.
const CHANNEL: &str = "channel";
/// Words behind it for what is no answer, beside those names.
const COMMENTARY: &str = "commentary";
/// The word behind it for the answer.
const FINAL: &str = "final";
/// Longest mark within its brackets, in characters.
const MAX_MARK_CHARS: usize = 80;
const BEGINNINGS: [&str; 4] = ["begin_of_", "start_of_", "begin_", "start_"];
const ENDS: [&str; 2] = ["end_of_", "end_"];

/// A mark in a text.
#[derive(Clone, Copy, Debug)]
struct Mark {
    start: usize,
    end: usize,
    name: &'static str,
    is_end: bool,
}

/// What a model's text says outside of its thoughts; none where it has no mark of any.
pub(super) fn left_out(text: &str) -> Option<String> {
    let marks = marks(text);
    if marks.is_empty() {
        return None;
    }
    let mut outside = String::new();
    let (mut from, mut next) = (0, 0);
    while let Some(mark) = marks.get(next) {
        next += 1;
        if mark.is_end {
            outside.clear();
            from = mark.end;
            continue;
        }
        outside.push_str(&text[from..mark.start]);
        outside.push('\n');
        // It ends with the mark of its own name, else at the last of whatever name.
        let rest = &marks[next..];
        let own = |end: &Mark| end.is_end && end.name == mark.name;
        let end = rest
            .iter()
            .position(own)
            .or_else(|| rest.iter().rposition(|end| end.is_end));
        let Some(end) = end else {
            return Some(outside);
        };
        from = rest[end].end;
        next += end + 1;
    }
    outside.push_str(&text[from..]);
    Some(outside)
}

fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(['<', '[', '◁']) {
        let start = from + found;
        let mark = mark(text, start);
        from = mark.map_or(start + 1, |mark| mark.end);
        // Behind a letter of several bytes.
        while !text.is_char_boundary(from) {
            from += 1;
        }
        marks.extend(mark);
    }
    marks
}

/// The mark whose bracket opens there, if it is one.
fn mark(text: &str, start: usize) -> Option<Mark> {
    let mut letters = text[start..].chars();
    let closing = match letters.next()? {
        '<' => '>',
        '[' => ']',
        _ => '▷',
    };
    let inner = letters.as_str();
    let mut letters = inner.char_indices().take(MAX_MARK_CHARS);
    let (length, _) = letters.find(|(_, letter)| *letter == closing)?;
    let end = text.len() - inner.len() + length + closing.len_utf8();
    let (name, is_end) = named(&inner[..length])?;
    let mark = Mark {
        start,
        end,
        name,
        is_end,
    };
    Some(if name == CHANNEL && !is_end {
        of_channel(text, mark)
    } else {
        mark
    })
}

/// What is between the brackets of a mark: its name, and whether it ends what it names.
fn named(inner: &str) -> Option<(&'static str, bool)> {
    let bars = |letter: char| letter == '|' || letter.is_whitespace();
    let inner = inner.trim_matches(bars).to_ascii_lowercase();
    let (inner, is_end) = match inner.strip_prefix('/') {
        Some(inner) => (inner, true),
        None => (&*inner, false),
    };
    // Attributes may follow, and the name of a family stand before.
    let name = inner.split_whitespace().next()?.rsplit(':').next()?;
    let without = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    let (name, is_end) = match (without(&ENDS), without(&BEGINNINGS)) {
        (Some(name), _) => (name, true),
        (None, Some(name)) => (name, is_end),
        (None, None) => (name, is_end),
    };
    let mut names = NAMES.into_iter().chain([CHANNEL]);
    Some((names.find(|known| *known == name)?, is_end))
}

/// The mark of a channel with the word behind it: it begins thoughts, or ends those before.
fn of_channel(text: &str, mark: Mark) -> Mark {
    let rest = &text[mark.end..];
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = rest[..length].to_ascii_lowercase();
    let begins = word == COMMENTARY || NAMES.contains(&&*word);
    let taken = if begins || word == FINAL { length } else { 0 };
    Mark {
        end: mark.end + taken,
        is_end: !begins,
        ..mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(text: &str) -> String {
        let outside = left_out(text).unwrap_or_else(|| panic!("no mark: {text}"));
        outside.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn thoughts_are_known_by_their_marks() {
        for text in [
            "<think>a</think>B",
            "<Thinking>a</THINKING>B",
            "<thought>a</thought>B",
            "< reasoning >a</ reasoning >B",
            "<reflection depth=\"2\">a</reflection>B",
            "[THINK]a[/THINK]B",
            "[think]a[/Think]B",
            "<|think|>a<|/think|>B",
            "<|begin_of_thought|>a<|end_of_thought|>B",
            "<|START_THINKING|>a<|END_THINKING|>B",
            "<seed:think>a</seed:think>B",
            "◁think▷a◁/think▷B",
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final B",
            "<|channel|>analysis a<|channel|>commentary a<|channel|>FINAL B",
            "<|channel>thought\na<channel|>B",
        ] {
            assert_eq!(outside(text), "B", "{text}");
        }
    }

    #[test]
    fn thoughts_may_lack_a_beginning_or_an_end_and_hold_others() {
        for (text, expected) in [
            ("a</think>B", "B"),
            ("a</think>a</think>B", "B"),
            ("B<think>a", "B"),
            ("<think>a", ""),
            ("A<think>b</think>C<thinking>d</thinking>E", "A C E"),
            ("<thinking>a<reflection>a</reflection>a</thinking>B", "B"),
            ("<think>a <think> a</think>B", "B"),
            // Another name ends it where its own does not.
            ("<thinking>a</think>B", "B"),
            ("<thought>a<reflection>a</reflection>a</think>B", "B"),
            ("é<think>é</think>é", "é é"),
        ] {
            assert_eq!(outside(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_mark_stays() {
        for text in [
            "",
            "plain",
            "<b>think</b> [1] <",
            "[\"think\"]",
            "<thinker>a</thinker>",
            "a < b, think > c",
            "◁",
            "<answer>B</answer>",
        ] {
            assert!(left_out(text).is_none(), "{text}");
        }
        let long = format!("<think {}>a", "x".repeat(MAX_MARK_CHARS));
        assert!(left_out(&long).is_none());
        for part in [
            "<think>",
            "</think>",
            "<thinking></think>",
            "<",
            "◁[<|channel|>",
        ] {
            // Within a time that does not grow with the square of it.
            left_out(&part.repeat(50_000));
        }
    }
}
