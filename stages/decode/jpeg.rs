//! Whether a JPEG file is whole.
//!
//! The decoder fills what is missing with gray, and a half-gray picture would be
//! classified as if it were the whole one.

/// True where the file's scans are followed by an end-of-image marker, as ITU T.81
/// section B.2.1 demands. What comes after it (a thumbnail, a video) does not count.
pub(super) fn is_complete(file: &[u8]) -> bool {
    const EOI: u8 = 0xD9;
    let mut at = 2; // behind the start-of-image marker
    while let Some(found) = next_marker(file, at) {
        let (marker, behind) = found;
        match marker {
            EOI => return true,
            // Restart markers and TEM stand alone; a second SOI is a stray one.
            0x01 | 0xD0..=0xD8 => at = behind,
            // Entropy-coded data follows the scan's header: 0xFF bytes in it are
            // stuffed, so looking for the next marker skips it.
            _ => {
                let Some(&[high, low]) = file.get(behind..).and_then(|rest| rest.first_chunk())
                else {
                    return false;
                };
                at = behind + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}

/// The first marker at or behind `at`, and the position behind it.
fn next_marker(file: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        let rest = file.get(at..)?;
        at += rest.iter().position(|&byte| byte == 0xFF)?;
        // Any number of 0xFF may fill the space before a marker.
        at += file[at..].iter().position(|&byte| byte != 0xFF)?;
        let marker = file[at];
        at += 1;
        if marker != 0 {
            return Some((marker, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    const HEAD: &[u8] = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x03x";

    fn whole(tail: &[u8]) -> bool {
        is_complete(&[HEAD, tail].concat())
    }

    #[test]
    fn the_end_marker_decides() {
        assert!(whole(b"scan\xff\xd9"));
        assert!(whole(b"scan\xff\xff\xd9")); // fill bytes
        assert!(whole(b"scan\xff\xd0scan\xff\xd9trailing"));
        assert!(!whole(b"scan"));
        assert!(!whole(b"scan\xff"));
        assert!(!whole(b""));
    }

    #[test]
    fn an_end_marker_inside_a_segment_or_stuffing_is_none() {
        assert!(!is_complete(b"\xff\xd8\xff\xe1\x00\x06\xff\xd9\x00\x00"));
        assert!(!whole(b"\xff\x00\xd9"));
        assert!(!is_complete(b"\xff\xd8\xff\xe1"));
        assert!(!is_complete(b"\xff\xd8"));
        assert!(!is_complete(b""));
    }
}
