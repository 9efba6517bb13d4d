//! A list in one text: a JSON list of strings, or items between commas, in quotes where they
//! hold a comma or a quote themselves (RFC 4180; a quote within quotes is doubled).

use std::iter::Peekable;
use std::str::Chars;

/// The items of a list. Blanks around them, and around their quotes, do not count.
///
/// # Errors
/// What was expected, for the client.
pub(super) fn items(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        // Typed, so that nesting is refused at its first bracket, whatever its depth.
        return serde_json::from_str(text)
            .map_err(|error| format!("expected a JSON list of strings: {error}"));
    }
    let mut chars = text.chars().peekable();
    let mut items = Vec::new();
    loop {
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        let item = match chars.next_if_eq(&'"') {
            Some(_) => quoted(&mut chars)?,
            None => plain(&mut chars),
        };
        items.push(item);
        // What ended the item was a comma, or the text.
        if chars.next().is_none() {
            return Ok(items);
        }
    }
}

fn plain(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut item = String::new();
    while let Some(char) = chars.next_if(|char| *char != ',') {
        item.push(char);
    }
    item.truncate(item.trim_end().len());
    item
}

/// The rest of an item whose opening quote was read.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut item = String::new();
    loop {
        match chars.next() {
            Some('"') if chars.next_if_eq(&'"').is_some() => item.push('"'),
            Some('"') => break,
            Some(char) => item.push(char),
            None => return Err("a quote is not closed".to_owned()),
        }
    }
    while chars.next_if(|char| char.is_whitespace()).is_some() {}
    match chars.peek() {
        None | Some(',') => Ok(item),
        Some(_) => Err(
            "expected a comma behind a closing quote; a quote within an item in quotes is doubled"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::items;

    #[test]
    fn both_forms_read_alike() {
        for (text, expected) in [
            ("cat,dog", &["cat", "dog"][..]),
            (r#"["cat","dog"]"#, &["cat", "dog"]),
            (r#""red, cat",dog"#, &["red, cat", "dog"]),
            (r#"["red, cat","dog"]"#, &["red, cat", "dog"]),
            (r#" "a ""b""" , c "#, &[r#"a "b""#, "c"]),
            (r#"5" disk, 3'"#, &[r#"5" disk"#, "3'"]),
            ("a,,b,", &["a", "", "b", ""]),
            (r#""""#, &[""]),
            ("été, 猫", &["été", "猫"]),
        ] {
            assert_eq!(items(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn quotes_that_say_nothing_are_refused() {
        for text in [r#""cat, dog"#, r#""cat" dog, emu"#, r#""a"b""#] {
            assert!(items(text).unwrap_err().contains("quote"), "{text}");
        }
        assert!(items("[1]").unwrap_err().contains("JSON list of strings"));
    }
}
