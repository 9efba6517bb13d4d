//! A stream with nothing in it but what decoding needs, for a reader that is less tolerant than
//! libjpeg.

use omnizap_contract::Error;

use super::huffman::AtEnd;
use super::stream::{Stream, Tables};

/// The stream of a file, up to its end marker.
///
/// # Errors
/// `Invalid` where the file ends before.
pub(super) fn of(file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut stream = Stream::new(file, AtEnd::Refuse, Tables::default())?;
    let mut canonical = b"\xff\xd8".to_vec();
    loop {
        let marker = stream.next_marker()?;
        match marker {
            0xD9 => {
                canonical.extend_from_slice(b"\xff\xd9");
                return Ok(canonical);
            }
            0xD0..=0xD8 | 0x01 => continue,
            _ => {}
        }
        let content = stream.segment()?;
        // Frame, tables, scan, restarts, and what tells the colours.
        if !matches!(marker, 0xC0..=0xCF | 0xDA | 0xDB | 0xDD | 0xE0 | 0xEE) {
            continue;
        }
        canonical.extend_from_slice(&[0xFF, marker]);
        // The content came out of a segment, whose length is of two bytes.
        canonical.extend_from_slice(&(content.len() as u16 + 2).to_be_bytes());
        canonical.extend_from_slice(content);
        if marker == 0xDA {
            let start = stream.at;
            while (0xD0..=0xD7).contains(&stream.next_marker()?) {}
            stream.at -= 2;
            canonical.extend_from_slice(&file[start..stream.at]);
        }
    }
}
