//! A text as it reads once what was written for a URL, a page or JSON is undone.

use std::ops::Range;

/// Names that HTML has for what a key may hold.
const ENTITIES: [(&str, u8); 31] = [
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("hat", b'^'),
    ("lbrack", b'['),
    ("lcub", b'{'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lsqb", b'['),
    ("lt", b'<'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rcub", b'}'),
    ("rpar", b')'),
    ("rsqb", b']'),
    ("semi", b';'),
    ("sol", b'/'),
    ("vert", b'|'),
];
/// Most digits of a letter's number.
const MAX_DIGITS: usize = 8;

/// The bytes that a text stands for, and where in it each is written.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl View {
    /// The text as it is.
    pub(super) fn of(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            places: (0..text.len()).map(|at| (at, at + 1)).collect(),
        }
    }

    /// The same with each escape sequence as the letter that it stands for; none where there are no
    /// such sequences. Those that come out of it stay.
    pub(super) fn undone(&self) -> Option<Self> {
        let mut plain = Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            places: Vec::with_capacity(self.bytes.len()),
        };
        let mut at = 0;
        while at < self.bytes.len() {
            let (byte, taken) = escaped(&self.bytes[at..]).unwrap_or((self.bytes[at], 1));
            plain.bytes.push(byte);
            let (start, end) = (self.places[at].0, self.places[at + taken - 1].1);
            plain.places.push((start, end));
            at += taken;
        }
        (plain.bytes.len() < self.bytes.len()).then_some(plain)
    }

    /// Where in the text so many bytes are written.
    pub(super) fn place(&self, at: usize, count: usize) -> Range<usize> {
        self.places[at].0..self.places[at + count - 1].1
    }
}

/// The letter that the escape sequence at the beginning stands for, and how many bytes it takes.
/// Keys are ASCII, so that other letters stay as they are written.
fn escaped(rest: &[u8]) -> Option<(u8, usize)> {
    match rest {
        [b'%', digits @ ..] => Some((pair(digits)?, 3)),
        [b'&', b'#', b'x' | b'X', digits @ ..] => numbered(digits, 16, b';', 3),
        [b'&', b'#', digits @ ..] => numbered(digits, 10, b';', 2),
        [b'&', name @ ..] => named(name),
        [b'\\', b'u', b'{', digits @ ..] => numbered(digits, 16, b'}', 3),
        [b'\\', b'u', b'0', b'0', digits @ ..] => Some((pair(digits)?, 6)),
        [b'\\', b'x' | b'X', digits @ ..] => Some((pair(digits)?, 4)),
        [b'\\', same @ (b'\\' | b'/' | b'"' | b'\''), ..] => Some((*same, 2)),
        _ => None,
    }
}

/// A letter by two hexadecimal digits.
fn pair(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let number = digit(*high)? * 16 + digit(*low)?;
    u8::try_from(number).ok().filter(u8::is_ascii)
}

/// A letter by its number; what follows it closes it, and may be left out.
fn numbered(digits: &[u8], radix: u32, close: u8, before: usize) -> Option<(u8, usize)> {
    let are_digits = |byte: &&u8| char::from(**byte).is_digit(radix);
    let count = digits
        .iter()
        .take(MAX_DIGITS)
        .take_while(are_digits)
        .count();
    let number = std::str::from_utf8(&digits[..count]).ok()?;
    let number = u8::from_str_radix(number, radix).ok()?;
    let closed = usize::from(digits.get(count) == Some(&close));
    number
        .is_ascii()
        .then_some((number, before + count + closed))
}

/// A letter by the name that HTML has for it.
fn named(rest: &[u8]) -> Option<(u8, usize)> {
    ENTITIES.iter().find_map(|(name, byte)| {
        let found = rest.get(..name.len())?;
        let is_it = found.eq_ignore_ascii_case(name.as_bytes());
        let is_closed = rest.get(name.len()) == Some(&b';');
        (is_it && is_closed).then_some((*byte, name.len() + 2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_for_a_url_a_page_or_json_is_undone() {
        for (text, expected) in [
            ("a%2B%2fb%7e", "a+/b~"),
            ("&amp;&LT;&plus;&sol;&equals;", "&<+/="),
            ("&#43;&#x2F;&#X2f;&#047;&#47", "+////"),
            (r#"\u002b\u002F\/\\\"\x2b\u{2B}"#, "+//\\\"++"),
            // One level at a time.
            ("%252B", "%2B"),
            ("&amp;plus;", "&plus;"),
            (r"\\u002b", r"\u002b"),
        ] {
            let plain = View::of(text).undone().unwrap();
            assert_eq!(plain.bytes, expected.as_bytes(), "{text}");
        }
        for text in [
            "",
            "plain",
            "50% of & all",
            "%e7&#231;\\u00e7",
            "&nosuch;&amp",
            "\\u00",
            "%4",
        ] {
            assert!(View::of(text).undone().is_none(), "{text}");
        }
    }

    #[test]
    fn a_place_is_where_it_is_written() {
        let text = "é%2Fb&amp;c";
        let once = View::of(text).undone().unwrap();
        assert_eq!(once.bytes, "é/b&c".as_bytes());
        assert_eq!(&text[once.place(2, 3)], "%2Fb&amp;");
        let text = "a%26amp%3bc";
        let twice = View::of(text).undone().unwrap().undone().unwrap();
        assert_eq!(twice.bytes, b"a&c");
        assert_eq!(&text[twice.place(1, 1)], "%26amp%3b");
    }
}
