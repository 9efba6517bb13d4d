//! The order in which a weight is kept.

/// Columns of a panel: two vectors of AVX-512, four of AVX2, eight of NEON.
pub(crate) const PANEL: usize = 32;

/// Two depths of a panel in bfloat16: for each column a word, the first depth in its lower half.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(in crate::net::ops) struct Pair(pub(super) [u32; PANEL]);

/// Panels of a weight with so many columns.
pub(crate) const fn panels(output: usize) -> usize {
    output.div_ceil(PANEL)
}

/// Packs a weight given by `at(input, output)`.
pub(crate) fn pack(input: usize, output: usize, at: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = vec![0.0; panels(output) * input * PANEL];
    for (panel, values) in packed.chunks_exact_mut(input * PANEL).enumerate() {
        let columns = PANEL.min(output - panel * PANEL);
        for (row, values) in values.chunks_exact_mut(PANEL).enumerate() {
            for (column, value) in values[..columns].iter_mut().enumerate() {
                *value = at(row, panel * PANEL + column);
            }
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_weight_is_the_weight() {
        let packed = pack(2, 33, |from, to| (from * 100 + to) as f32);
        assert_eq!(packed.len(), 2 * 2 * PANEL);
        assert_eq!(packed[..3], [0.0, 1.0, 2.0]);
        assert_eq!(packed[PANEL], 100.0);
        assert_eq!(packed[2 * PANEL..][..2], [32.0, 0.0]);
        assert_eq!(packed[3 * PANEL], 132.0);
    }
}
