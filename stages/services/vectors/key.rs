//! What tells one image from another.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Row;

/// What tells one image from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Its bytes.
    Content(Arc<str>),
    /// Its name, where the bytes are not known.
    Name(Arc<str>),
}

impl Key {
    pub(super) fn of(row: &Row) -> Self {
        match &row.content_hash {
            Some(hash) => Self::Content(hash.clone()),
            None => Self::Name(row.image_hash.clone()),
        }
    }
}

/// A key as it is kept in a file. Two keys of one hash share a list, which costs a
/// little recall and nothing else.
pub(super) fn hash(key: &Key) -> u64 {
    /// FNV-1a: the same on every machine and in every version.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    match key {
        Key::Content(text) => hasher.write(text.as_bytes()),
        Key::Name(text) => {
            0u8.hash(&mut hasher);
            hasher.write(text.as_bytes());
        }
    }
    hasher.finish()
}
