//! What threads hold while they work: buffers that they keep, as large as a cache lets them be.

/// Floats that lie in the second cache of a core: 512 KiB, and twice as many where there is AVX-512.
pub(super) fn second_cache() -> usize {
    #[cfg(target_arch = "x86_64")]
    if pulp::x86::V4::try_new().is_some() {
        return 1 << 18;
    }
    1 << 17
}

/// The first so many elements of a buffer that grows with what is asked for.
pub(super) fn part<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
