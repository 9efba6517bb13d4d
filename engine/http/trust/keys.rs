//! Keys of an API, as their digests: nothing else of them is kept.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use omnizap_contract::common::digest::Sha256Hex;
use warp::http::{HeaderMap, header};

/// The header that carries a key alone.
const API_KEY: &str = "x-api-key";
/// Fewest characters of a key: what is shorter can be guessed.
const MIN_KEY: usize = 16;
/// Most characters of a key.
const MAX_KEY: usize = 1024;
/// Most keys of a list.
const MAX_KEYS: usize = 1024;
/// Most keys of one request that are looked at.
const MAX_GIVEN: usize = 4;

/// Keys that open the service. Cloning shares them: where they are replaced, all have others.
#[derive(Clone, Default)]
pub struct Keys(Arc<ArcSwap<Vec<Sha256Hex>>>);

impl Keys {
    /// Reads keys between commas, blanks and line ends. A line that begins with `#` says nothing.
    ///
    /// # Errors
    /// What is wrong with which of them, without the key itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with('#'));
        let keys = lines.flat_map(|line| line.split([',', ' ', '\t']));
        let mut digests = Vec::new();
        for key in keys.filter(|key| !key.is_empty()) {
            let number = digests.len() + 1;
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "key {number} holds characters that are not visible ASCII, which no header has"
                ));
            }
            let len = key.len();
            if !(MIN_KEY..=MAX_KEY).contains(&len) {
                return Err(format!(
                    "key {number} has {len} characters, expected from {MIN_KEY} to {MAX_KEY}; \
                     `openssl rand -hex 32` makes one"
                ));
            }
            digests.push(Sha256Hex::of(key.as_bytes()));
        }
        if digests.len() > MAX_KEYS {
            return Err(format!("expected at most {MAX_KEYS} keys"));
        }
        Ok(Self::of(digests))
    }

    fn of(digests: Vec<Sha256Hex>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(digests)))
    }

    /// The same and those of another list, as they are now.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (own, others) = (self.0.load_full(), other.0.load_full());
        Self::of(own.iter().chain(others.iter()).copied().collect())
    }

    /// Puts those of another list in their place, wherever they are shared.
    pub fn replace(&self, by: &Self) {
        self.0.store(by.0.load_full());
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// True for one of these. How long that takes tells nothing of them: digests are compared, each
    /// of them and to its end.
    pub(super) fn have(&self, given: &[u8]) -> bool {
        let given = Sha256Hex::of(given);
        let mut found = 0;
        for known in self.0.load().iter() {
            let pairs = known.as_str().bytes().zip(given.as_str().bytes());
            let differs = pairs.fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
            found |= black_box(u8::from(differs == 0));
        }
        found != 0
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.load().len())
    }
}

/// The keys that a request brings.
pub(super) fn given(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearers = headers.get_all(header::AUTHORIZATION).into_iter();
    let bearers = bearers.filter_map(|value| bearer(value.as_bytes()));
    let alone = headers.get_all(API_KEY).into_iter();
    let alone = alone.map(|value| value.as_bytes().trim_ascii());
    bearers.chain(alone).take(MAX_GIVEN)
}

/// The token of `Bearer TOKEN` (RFC 6750); the word has no case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let blank = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = value.split_at(blank);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    const FIRST: &str = "0123456789abcdef";
    const SECOND: &str = "another-key-of-the-tests";

    #[test]
    fn keys_are_read_from_lists_and_files() {
        for text in [
            format!("{FIRST},{SECOND}"),
            format!(" {FIRST} {SECOND} "),
            format!("# the bot\n{FIRST}\r\n\n  # another one\n{SECOND}\n"),
        ] {
            let keys = Keys::parse(&text).unwrap();
            assert!(keys.have(FIRST.as_bytes()) && keys.have(SECOND.as_bytes()));
            for other in [
                "",
                "0123456789abcde",
                "0123456789abcdeF",
                "0123456789abcdef0",
            ] {
                assert!(!keys.have(other.as_bytes()), "{other}");
            }
            let shown = format!("{keys:?}");
            assert_eq!(shown, "2 keys");
        }
        let both = Keys::parse(FIRST)
            .unwrap()
            .and(&Keys::parse(SECOND).unwrap());
        assert!(both.have(FIRST.as_bytes()) && both.have(SECOND.as_bytes()));
        assert!(Keys::parse("# none\n").unwrap().is_empty());
    }

    #[test]
    fn keys_that_are_replaced_are_so_wherever_they_are_shared() {
        let keys = Keys::parse(FIRST).unwrap();
        let shared = keys.clone();
        let both = keys.and(&Keys::default());
        keys.replace(&Keys::parse(SECOND).unwrap());
        assert!(shared.have(SECOND.as_bytes()) && !shared.have(FIRST.as_bytes()));
        assert!(both.have(FIRST.as_bytes()), "it is a list of its own");
    }

    #[test]
    fn a_key_that_cannot_do_is_named_by_its_number_alone() {
        let secret = "açai-açai-açai-açai";
        for (text, wanted) in [
            (format!("{FIRST},short"), "key 2 has 5 characters"),
            ("x".repeat(MAX_KEY + 1), "key 1 has 1025 characters"),
            (secret.to_owned(), "key 1 holds characters"),
            (
                format!("{FIRST},").repeat(MAX_KEYS + 1),
                "at most 1024 keys",
            ),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
            assert!(
                !error.contains("short") && !error.contains(secret),
                "{error}"
            );
        }
    }

    #[test]
    fn a_request_brings_its_key_in_either_header() {
        let given = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found: Vec<_> = super::given(&headers).map(<[u8]>::to_vec).collect();
            found
        };
        for (name, value) in [
            ("authorization", "Bearer abc"),
            ("authorization", "bearer  abc "),
            ("authorization", "BEARER abc"),
            ("x-api-key", "abc"),
            ("x-api-key", " abc "),
        ] {
            assert_eq!(given(&[(name, value)]), [b"abc"], "{name}: {value}");
        }
        for value in ["abc", "Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(given(&[("authorization", value)]), [b""; 0], "{value}");
        }
        let many = [("x-api-key", "abc"); 100];
        assert_eq!(given(&many).len(), MAX_GIVEN);
    }
}
