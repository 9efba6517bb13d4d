//! What a key looks like to whom it is nothing but bytes.

use std::fmt::Write as _;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key as it is, in base64 of both alphabets wherever in what was encoded it stands, and in
/// hexadecimal digits; all in small letters.
pub(super) fn forms(key: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![key.as_bytes().to_ascii_lowercase()];
    for before in 0..3 {
        let standard = base64(key.as_bytes(), before).to_ascii_lowercase();
        let of_urls = standard.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        });
        forms.push(of_urls.collect());
        forms.push(standard);
    }
    let hex = key.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    forms.push(hex.into_bytes());
    forms
}

/// The letters of base64 that these bytes alone decide, behind so many others: as `Bearer KEY`, or
/// `user:KEY`.
fn base64(bytes: &[u8], before: usize) -> Vec<u8> {
    let bits = |at: usize| -> u8 {
        // The six bits from that one on.
        (at..at + 6).fold(0_u8, |six, at| {
            let byte = bytes.get((at / 8).wrapping_sub(before)).copied();
            (six << 1) | ((byte.unwrap_or(0) >> (7 - at % 8)) & 1)
        })
    };
    let first = (before * 8).div_ceil(6);
    let end = (before + bytes.len()) * 8 / 6;
    let letters = (first..end).map(|letter| BASE64[usize::from(bits(letter * 6))]);
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_every_place() {
        // `printf sk-ab+/cd | base64`, behind one byte, and behind two.
        assert_eq!(base64(b"sk-ab+/cd", 0), b"c2stYWIrL2Nk");
        assert_eq!(base64(b"sk-ab+/cd", 1), b"NrLWFiKy9jZ");
        assert_eq!(base64(b"sk-ab+/cd", 2), b"zay1hYisvY2");
        assert_eq!(base64(b"", 2), b"");
        assert_eq!(forms("sk-A/").len(), 8);
        assert!(forms("sk-A/").contains(&b"736b2d412f".to_vec()));
    }
}
