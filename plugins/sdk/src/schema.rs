//! The schema of a stage's options as the JSON that the ABI wants, written while the plugin is
//! compiled: the host reads it out of the file (see `oz_stage_descriptor` in the header).

use omnizap_contract::typed::{Default, Shape, Spec};

/// Decimals of a bound or a default, at most.
const MOST_DECIMALS: u32 = 9;

/// The bytes that the schema takes.
#[must_use]
pub const fn len(options: &[Spec]) -> usize {
    Writer::<0>::of(options).len
}

/// The schema, in as many bytes as [`len`] says.
#[must_use]
pub const fn json<const N: usize>(options: &[Spec]) -> [u8; N] {
    let written = Writer::<N>::of(options);
    assert!(written.len == N);
    written.bytes
}

/// Counts all bytes, and keeps the first N.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    const fn of(options: &[Spec]) -> Self {
        let mut writer = Self {
            bytes: [0; N],
            len: 0,
        };
        if options.is_empty() {
            return writer;
        }
        let mut index = 0;
        while index < options.len() {
            writer.raw(if index == 0 { "{" } else { ", " });
            writer.option(&options[index]);
            index += 1;
        }
        writer.raw("}");
        writer
    }

    const fn option(&mut self, option: &Spec) {
        self.text(option.name);
        self.raw(": {\"type\": ");
        match option.shape {
            Shape::Bool => self.text("bool"),
            Shape::Text => self.text("text"),
            Shape::TextList => self.text("text_list"),
            Shape::Integer { min, max } => {
                self.text("integer");
                if min > i64::MIN {
                    self.raw(", \"min\": ");
                    self.integer(min);
                }
                if max < i64::MAX {
                    self.raw(", \"max\": ");
                    self.integer(max);
                }
            }
            Shape::Number { min, max } => {
                self.text("number");
                if min > f64::MIN {
                    self.raw(", \"min\": ");
                    self.number(min);
                }
                if max < f64::MAX {
                    self.raw(", \"max\": ");
                    self.number(max);
                }
            }
            Shape::Choice(choices) => {
                self.text("choice");
                self.raw(", \"choices\": ");
                self.list(choices);
            }
        }
        if !matches!(option.default, Default::None) {
            self.raw(", \"default\": ");
        }
        match option.default {
            Default::None => {}
            Default::Unset => self.raw("null"),
            Default::Bool(true) => self.raw("true"),
            Default::Bool(false) => self.raw("false"),
            Default::Integer(integer) => self.integer(integer),
            Default::Number(number) => self.number(number),
            Default::Text(text) => self.text(text),
            Default::TextList(list) => self.list(list),
        }
        if let Some(public) = option.public {
            self.raw(", \"public\": ");
            self.text(public);
        }
        self.raw(", \"doc\": ");
        self.text(option.doc);
        self.raw("}");
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    const fn raw(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            self.byte(text[index]);
            index += 1;
        }
    }

    /// A JSON string.
    const fn text(&mut self, text: &str) {
        self.byte(b'"');
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            match text[index] {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(text[index]);
                }
                control @ 0..0x20 => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.raw("\\u00");
                    self.byte(HEX[(control >> 4) as usize]);
                    self.byte(HEX[(control & 15) as usize]);
                }
                other => self.byte(other),
            }
            index += 1;
        }
        self.byte(b'"');
    }

    const fn list(&mut self, items: &[&str]) {
        self.byte(b'[');
        let mut index = 0;
        while index < items.len() {
            if index > 0 {
                self.raw(", ");
            }
            self.text(items[index]);
            index += 1;
        }
        self.byte(b']');
    }

    const fn integer(&mut self, integer: i64) {
        if integer < 0 {
            self.byte(b'-');
        }
        self.digits(integer.unsigned_abs(), 1);
    }

    /// A whole number with so many digits at least.
    const fn digits(&mut self, number: u64, least: u32) {
        let mut digits = [0; 20];
        let (mut rest, mut count) = (number, 0);
        while rest > 0 || count < least as usize {
            digits[count] = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
        }
        while count > 0 {
            count -= 1;
            self.byte(digits[count]);
        }
    }

    const fn number(&mut self, number: f64) {
        if number < 0.0 {
            self.byte(b'-');
        }
        let size = if number < 0.0 { -number } else { number };
        assert!(
            size < 1e9,
            "a bound or a default is below a thousand millions"
        );
        let (mut decimals, mut scale) = (0, 1_u64);
        // The shortest decimal that is this very number.
        while decimals < MOST_DECIMALS {
            let near = (size * scale as f64 + 0.5) as u64;
            if near as f64 / scale as f64 == size {
                break;
            }
            decimals += 1;
            scale *= 10;
        }
        let near = (size * scale as f64 + 0.5) as u64;
        assert!(
            near as f64 / scale as f64 == size,
            "a bound or a default has at most nine decimals"
        );
        self.digits(near / scale, 1);
        self.byte(b'.');
        let least = if decimals == 0 { 1 } else { decimals };
        self.digits(near % scale, least);
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::typed::{Opt, Text};

    use super::*;

    const LEVEL: Opt<f64> = Opt::number("level", 0.07, "how \"much\"").within(-1.5, 2.0);
    const COUNT: Opt<i64> = Opt::integer("count", -3, "how many");
    const NAME: Opt<Option<Text>> = Opt::unset_text("name", "whose").public("shown");

    #[test]
    fn the_schema_is_json_with_the_numbers_as_they_were_written() {
        const OPTIONS: &[Spec] = &[LEVEL.spec(), COUNT.spec(), NAME.spec()];
        const JSON: [u8; len(OPTIONS)] = json(OPTIONS);
        let read: serde_json::Value = serde_json::from_slice(&JSON).unwrap();
        let expected = serde_json::json!({
            "level": {"type": "number", "min": -1.5, "max": 2.0, "default": 0.07, "doc": "how \"much\""},
            "count": {"type": "integer", "default": -3, "doc": "how many"},
            "name": {"type": "text", "default": null, "public": "shown", "doc": "whose"},
        });
        assert_eq!(read, expected);
        assert_eq!(len(&[]), 0);
    }
}
