//! Mapping a file into memory, so that weights are read when they are first used and shared
//! between processes.

use std::fs::File;
use std::path::Path;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;

/// The bytes of a file, mapped.
#[allow(
    unsafe_code,
    reason = "mapping a file has no safe interface; the invariant is below"
)]
pub(super) fn map(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    // SAFETY: a mapping is only sound while nobody changes the file. Records are never written in
    // place: `record::keep` writes a new file and renames it over the old name, which leaves a
    // mapped one untouched until its last user is gone.
    let mapping = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_shared(
        bytes::Bytes::from_owner(mapping),
        AllocationProperty::File,
    ))
}
