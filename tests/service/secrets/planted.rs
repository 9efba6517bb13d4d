//! Secrets that are in no file, and whether a text shows one, however it is written.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How much of a secret is a part of one: that much of it may stand nowhere. What is planted has more
/// letters than the rest of all texts together would repeat by chance.
const PART: usize = 10;
/// The same in base64 and in hexadecimal digits.
const PART_OF_BASE64: usize = 14;
const PART_OF_HEX: usize = 2 * PART;
const SECRET: usize = 28;
/// Encodings of a URL inside each other that are undone.
const MOST_DECODED: usize = 3;

/// Secrets, and what of them may stand nowhere.
#[derive(Default)]
pub(super) struct Planted {
    secrets: BTreeMap<String, String>,
    /// In small letters.
    plain: HashMap<Vec<u8>, String>,
    base64: HashMap<Vec<u8>, String>,
    hex: HashMap<Vec<u8>, String>,
}

impl Planted {
    /// The secret of that name, which is another than all others.
    pub(super) fn secret(&mut self, name: &str) -> String {
        if let Some(known) = self.secrets.get(name) {
            return known.clone();
        }
        // Another in each run: what is looked for is in no file.
        let letters = std::iter::repeat_with(fastrand::alphanumeric).take(SECRET);
        let secret: String = letters.collect();
        let small = secret.to_ascii_lowercase();
        let keep = |parts: &mut HashMap<Vec<u8>, String>, text: &[u8], length: usize| {
            for part in text.windows(length) {
                parts.insert(part.to_vec(), name.to_owned());
            }
        };
        keep(&mut self.plain, small.as_bytes(), PART);
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        keep(&mut self.hex, hex.as_bytes(), PART_OF_HEX);
        for (before, strange) in [(0, 0), (1, 2), (2, 3)] {
            let text = STANDARD_NO_PAD.encode([&vec![0; before][..], secret.as_bytes()].concat());
            // The first and the last letters are made of what stands beside it, too.
            let own = &text.as_bytes()[strange..text.len() - 2];
            keep(&mut self.base64, own, PART_OF_BASE64);
        }
        self.secrets.insert(name.to_owned(), secret.clone());
        secret
    }

    /// What a text shows of a secret.
    fn found(&self, text: &[u8]) -> Option<String> {
        let mut read = text.to_vec();
        for _ in 0..=MOST_DECODED {
            let small = read.to_ascii_lowercase();
            // Torn apart by quotes, line ends, escape sequences of a terminal, and the like.
            let mut joined = small.clone();
            joined.retain(u8::is_ascii_alphanumeric);
            let mut base64 = read.clone();
            base64.retain(|byte| !byte.is_ascii_whitespace());
            for byte in &mut base64 {
                match byte {
                    b'-' => *byte = b'+',
                    b'_' => *byte = b'/',
                    _ => {}
                }
            }
            let found = first(&self.plain, &small, PART)
                .or_else(|| first(&self.plain, &joined, PART))
                .or_else(|| first(&self.hex, &joined, PART_OF_HEX))
                .or_else(|| first(&self.base64, &base64, PART_OF_BASE64));
            if found.is_some() {
                return found;
            }
            let decoded = decoded(&read);
            if decoded == read {
                break;
            }
            read = decoded;
        }
        None
    }

    #[track_caller]
    pub(super) fn check(&self, what: &str, text: &[u8]) {
        if let Some(found) = self.found(text) {
            panic!("{what}: {found}");
        }
    }
}

/// The first part that is one of these, with the name of the secret and what stands around it.
fn first(parts: &HashMap<Vec<u8>, String>, text: &[u8], length: usize) -> Option<String> {
    let mut windows = text.windows(length).enumerate();
    windows.find_map(|(at, part)| {
        let name = parts.get(part)?;
        let around = &text[at.saturating_sub(120)..text.len().min(at + 60)];
        Some(format!(
            "the secret of {name} stands in `{}`",
            String::from_utf8_lossy(around)
        ))
    })
}

/// Without one encoding of a URL.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut read = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let pair = (*byte == b'%').then(|| Some((digit(behind.first()?)?, digit(behind.get(1)?)?)));
        match pair.flatten() {
            Some((high, low)) => {
                read.push(u8::try_from(high * 16 + low).unwrap());
                rest = &behind[2..];
            }
            None => read.push(*byte),
        }
    }
    read
}

#[test]
fn a_secret_is_found_however_it_is_written() {
    let mut planted = Planted::default();
    let secret = planted.secret("ONE");
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let lines: String = secret.chars().map(|letter| format!("{letter}\n")).collect();
    for (what, text) in [
        ("as it is", format!("a {secret} b")),
        ("in large letters", secret.to_uppercase()),
        ("a part", secret[7..7 + PART].to_owned()),
        ("percent-encoded", percent.clone()),
        ("twice", percent.replace('%', "%25")),
        ("hexadecimal", hex),
        ("in lines", lines),
        ("in base64", STANDARD_NO_PAD.encode(&secret)),
        (
            "behind a user",
            STANDARD_NO_PAD.encode(format!("user:{secret}")),
        ),
        (
            "behind another",
            STANDARD_NO_PAD.encode(format!("me:{secret}")),
        ),
        (
            "torn apart",
            format!("{}\", \"{}", &secret[..14], &secret[14..]),
        ),
    ] {
        assert!(planted.found(text.as_bytes()).is_some(), "{what}: {text}");
    }
    let other = Planted::default().secret("ANOTHER");
    assert_eq!(planted.found(other.as_bytes()), None);
    assert_eq!(planted.found(&[&b"%"[..], &[0xff; 40]].concat()), None);
}
