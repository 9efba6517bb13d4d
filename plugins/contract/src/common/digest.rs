//! SHA-256 (FIPS 180-4) and how it is written: 64 hexadecimal digits, read in either case and
//! written in lower case.

use std::fmt;
use std::io::{self, Read};
use std::ops::Deref;

use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of a SHA-256.
pub const DIGITS: usize = 64;

/// Bytes of a file that are read at a time.
const CHUNK: usize = 1 << 16;

/// A SHA-256 as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Hex([u8; DIGITS]);

impl Sha256Hex {
    /// The digest of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of all that a reader gives.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk)? {
                0 => return Ok(hasher.finish()),
                read => hasher.update(&chunk[..read]),
            }
        }
    }

    /// A digest as people and clients write it: 64 hexadecimal digits of either case, with
    /// nothing around them but spaces. [`None`] for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits: [u8; DIGITS] = text.trim().as_bytes().try_into().ok()?;
        digits.make_ascii_lowercase();
        let hex = |digit: &u8| digit.is_ascii_hexdigit();
        digits.iter().all(hex).then_some(Self(digits))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for Sha256Hex {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for Sha256Hex {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

/// A digest of bytes that come one after the other.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(self) -> Sha256Hex {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.finalize()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Sha256Hex(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(Sha256Hex::of(b"abc").as_str(), ABC);
        assert_eq!(Sha256Hex::of_reader(&b"abc"[..]).unwrap().as_str(), ABC);
        assert_eq!(format!("{:.8}", Sha256Hex::of(b"abc")), ABC[..8]);
    }

    #[test]
    fn either_case_is_read_and_nothing_else() {
        let upper = format!(" {}\n", ABC.to_uppercase());
        assert_eq!(Sha256Hex::parse(&upper), Some(Sha256Hex::of(b"abc")));
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(Sha256Hex::parse(bad), None, "{bad}");
        }
    }
}
