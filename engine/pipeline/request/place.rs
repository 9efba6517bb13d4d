//! Which of two places is in the upper file, where a pipeline extends others.

use std::ops::Range;

use crate::pipeline::reader::Reader;

/// True where something was taken over from a file below the one that holds the other.
pub(super) fn is_below(reader: &Reader<'_>, at: usize, other: usize) -> bool {
    // The text of the file itself begins the texts, what it extends comes behind.
    at > other && reader.source.file_of(at) != reader.source.file_of(other)
}

/// Where to report that two things contradict each other: at the first, or at the other where
/// only that one is in the upper file and so may be changed.
pub(super) fn upper(reader: &Reader<'_>, here: Range<usize>, other: Range<usize>) -> Range<usize> {
    if is_below(reader, here.start, other.start) {
        other
    } else {
        here
    }
}
