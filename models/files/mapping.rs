//! Weights that the system reads from a file when they are first used, and shares between processes:
//! a file, mapped into memory, or a part of the program's own.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;

/// The weights of the model inside the program.
pub(crate) static EMBEDDED_MODEL: Option<Mapping> = {
    #[cfg(embedded_model)]
    let file = Some(Mapping(Place::Program(include_bytes!(
        "../embedded/omnizap-mini.safetensors"
    ))));
    #[cfg(not(embedded_model))]
    let file = None;
    file
};

/// Those of the classifier inside the program.
pub(crate) static EMBEDDED_NSFW: Option<Mapping> = {
    #[cfg(embedded_nsfw)]
    let file = Some(Mapping(Place::Program(include_bytes!(
        "../nsfw/nsfwjs-mobilenet-v2-mid.safetensors"
    ))));
    #[cfg(not(embedded_nsfw))]
    let file = None;
    file
};

/// Weights, mapped; the last user lets them go.
#[derive(Clone)]
pub(crate) struct Mapping(Place);

/// Where they are. Only this file makes one, so that [`Place::Program`] is what its name says.
#[derive(Clone)]
enum Place {
    File(Arc<Mmap>),
    /// Constants of the program, which the system maps from its file for reading.
    Program(&'static [u8]),
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Place::File(mapping) => mapping,
            Place::Program(bytes) => bytes,
        }
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
        Ok(Self(Place::File(Arc::new(mapping))))
    }

    /// All of its bytes.
    pub(super) fn bytes(&self) -> Bytes {
        match &self.0 {
            Place::File(_) => Bytes::from_shared(
                bytes::Bytes::from_owner(self.clone()),
                AllocationProperty::File,
            ),
            Place::Program(bytes) => of_program(bytes),
        }
    }

    /// Counts no more among the process's memory, until it is read again. The system keeps the pages
    /// for as long as it has room, so that this costs a look into its cache.
    pub(crate) fn rest(&self) {
        match &self.0 {
            Place::File(mapping) => rest_file(mapping),
            Place::Program(bytes) => rest_program(bytes),
        }
    }
}

/// Bytes of the program, where they are.
pub(super) fn of_program(bytes: &'static [u8]) -> Bytes {
    Bytes::from_shared(bytes::Bytes::from_static(bytes), AllocationProperty::File)
}

#[allow(
    unsafe_code,
    reason = "of other mappings this would lose what was written"
)]
fn rest_file(mapping: &Mmap) {
    // SAFETY: it is of a file and nobody writes to it, so that what is read again is the same.
    #[cfg(unix)]
    let _ = unsafe { mapping.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    #[cfg(not(unix))]
    let _ = mapping;
}

/// The whole pages of it; what lies before and behind them is others' as well.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "of other memory this would lose what was written"
)]
fn rest_program(bytes: &'static [u8]) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let before = bytes.as_ptr().align_offset(page);
    let pages = bytes.len().saturating_sub(before) / page * page;
    if pages == 0 {
        return;
    }
    let first = bytes[before..].as_ptr().cast_mut().cast();
    // SAFETY: constants without pointers in them lie in a segment of the program's file that is
    // mapped for reading alone, so that what is read again is the same.
    let _ = unsafe { madvise(first, pages, Advice::LinuxDontNeed) };
}

#[cfg(not(target_os = "linux"))]
fn rest_program(_bytes: &'static [u8]) {}

// Only Linux tells which pages are in memory.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Bytes of whole pages that count among this process's memory, where the system says so.
    /// <https://docs.kernel.org/admin-guide/mm/pagemap.html>
    fn resident(bytes: &[u8]) -> Option<usize> {
        const PRESENT: u64 = 1 << 63;
        let page = rustix::param::page_size();
        let pages = File::open("/proc/self/pagemap").ok()?;
        let first = bytes.as_ptr() as usize;
        let mut present = 0;
        for index in first.div_ceil(page)..(first + bytes.len()) / page {
            let mut entry = [0; 8];
            pages.read_exact_at(&mut entry, index as u64 * 8).ok()?;
            present += usize::from(u64::from_ne_bytes(entry) & PRESENT != 0);
        }
        Some(present * page)
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
            let read = resident(&bytes);
            mapping.rest();
            if let Some(read) = read {
                assert_eq!((read, resident(&bytes)), (content.len(), Some(0)));
            }
        }
        drop(mapping);
        assert!(*bytes == content[..]);
    }

    #[test]
    fn a_part_of_the_program_rests_as_a_file_does() {
        static PART: &[u8] = include_bytes!("../tests/fixtures/fastvit-four-stages.safetensors");
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/fastvit-four-stages.safetensors"
        );
        let content = std::fs::read(path).unwrap();
        let mapping = Mapping(Place::Program(PART));
        for _ in 0..2 {
            assert!(*mapping.bytes() == content[..]);
            let read = resident(PART);
            mapping.rest();
            if let Some(read) = read {
                let page = rustix::param::page_size();
                assert!(read > content.len() - 2 * page, "{read}");
                assert_eq!(resident(PART), Some(0));
            }
        }
        // Less than a page has none of its own.
        Mapping(Place::Program(&PART[..9])).rest();
        assert!(PART == content);
    }
}
