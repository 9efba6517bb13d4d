//! Mapping a file into memory, so that weights are read when they are first used and shared
//! between processes.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;

/// A file, mapped; the last user lets it go.
#[derive(Clone, Debug)]
pub(crate) struct Mapping(Arc<Mmap>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping {
    /// Maps a file.
    #[allow(
        unsafe_code,
        reason = "mapping a file has no safe interface; the invariant is below"
    )]
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: a mapping is only sound while nobody changes the file. Records are never written
        // in place: `record::keep` writes a new file and renames it over the old name, which leaves
        // a mapped one untouched until its last user is gone.
        let mapping = unsafe { Mmap::map(&file)? };
        Ok(Self(Arc::new(mapping)))
    }

    /// All of its bytes.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes::from_shared(
            bytes::Bytes::from_owner(self.clone()),
            AllocationProperty::File,
        )
    }

    /// Counts no more among the process's memory, until it is read again. The system keeps the pages
    /// for as long as it has room, so that this costs a look into its cache.
    #[allow(
        unsafe_code,
        reason = "of other mappings this would lose what was written"
    )]
    pub(crate) fn rest(&self) {
        // SAFETY: it is of a file and nobody writes to it, so that what is read again is the same.
        #[cfg(unix)]
        let _ = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of a mapped file that count among this process's memory, where the system says so.
    fn resident(path: &Path) -> Option<u64> {
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let mut lines = maps.lines();
        lines.find(|line| line.ends_with(&*path.to_string_lossy()))?;
        let line = lines.find(|line| line.starts_with("Rss:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    #[test]
    fn what_rests_takes_no_memory_and_is_read_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("weights");
        let content: Vec<u8> = (0..1 << 21)
            .map(|i: u32| (i * 31) as u8 ^ (i >> 9) as u8)
            .collect();
        std::fs::write(&path, &content).unwrap();
        let mapping = Mapping::of(&path).unwrap();
        let bytes = mapping.bytes();
        for _ in 0..2 {
            assert!(*bytes == content[..]);
            let read = resident(&path);
            mapping.rest();
            if let Some(read) = read {
                assert_eq!((read, resident(&path)), (2048, Some(0)));
            }
        }
        drop(mapping);
        assert!(*bytes == content[..]);
    }
}
