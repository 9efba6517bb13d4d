//! Embeddings as the database keeps them: little-endian f32, one after another.

/// Bytes of a vector.
pub(super) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The vector in those bytes; `None` where they are not whole, finite numbers.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if numbers.is_empty() || !rest.is_empty() {
        return None;
    }
    let vector: Vec<f32> = numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    vector.iter().all(|x| x.is_finite()).then_some(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_survives() {
        let vector = [0.5, -1.25e-20, 3.0];
        assert_eq!(from_bytes(&to_bytes(&vector)).unwrap(), vector);
        assert_eq!(to_bytes(&[1.0]), [0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn broken_bytes_are_no_vector() {
        for bytes in [
            &[][..],
            &[1, 2, 3],
            &[0, 0, 0x80, 0x3f, 1],
            &[0, 0, 0xc0, 0x7f],
        ] {
            assert!(from_bytes(bytes).is_none(), "{bytes:?}");
        }
    }
}
