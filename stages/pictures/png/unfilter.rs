//! The filters of rows undone (PNG specification, section 9).

/// Undoes the filter of a row: `previous` is the row above as it came out of this, zeros above the
/// first one. False where there is no such filter.
pub(super) fn unfilter(filter: u8, pixel_bits: usize, previous: &[u8], row: &mut [u8]) -> bool {
    match filter {
        0 => {}
        2 => {
            for (byte, above) in row.iter_mut().zip(previous) {
                *byte = byte.wrapping_add(*above);
            }
        }
        1 | 3 | 4 => match pixel_bits.div_ceil(8) {
            2 => leftward::<2>(filter, previous, row),
            3 => leftward::<3>(filter, previous, row),
            4 => leftward::<4>(filter, previous, row),
            6 => leftward::<6>(filter, previous, row),
            8 => leftward::<8>(filter, previous, row),
            _ => leftward::<1>(filter, previous, row),
        },
        _ => return false,
    }
    true
}

/// The filters that look at the pixel to the left, of `BYTES` bytes each.
fn leftward<const BYTES: usize>(filter: u8, previous: &[u8], row: &mut [u8]) {
    let pixels = row.as_chunks_mut::<BYTES>().0;
    let above = previous.as_chunks::<BYTES>().0;
    match filter {
        1 => {
            let mut left = [0; BYTES];
            for pixel in pixels {
                for (byte, left) in pixel.iter_mut().zip(left) {
                    *byte = byte.wrapping_add(left);
                }
                left = *pixel;
            }
        }
        3 => {
            let mut left = [0; BYTES];
            for (pixel, above) in pixels.iter_mut().zip(above) {
                for i in 0..BYTES {
                    let mean = u16::midpoint(left[i].into(), above[i].into()) as u8;
                    pixel[i] = pixel[i].wrapping_add(mean);
                }
                left = *pixel;
            }
        }
        _ if BYTES < 3 => nearest::<BYTES, BYTES>(pixels, above),
        _ => nearest::<BYTES, 8>(pixels, above),
    }
}

/// The filter of Paeth. All bytes of a pixel are computed at one time, in numbers that hold what is
/// computed with them: `LANES` of them, since eight fill a register and are the quickest.
#[inline(always)]
fn nearest<const BYTES: usize, const LANES: usize>(
    pixels: &mut [[u8; BYTES]],
    above: &[[u8; BYTES]],
) {
    let mut left = [0; LANES];
    let mut corner = [0; LANES];
    for (pixel, above) in pixels.iter_mut().zip(above) {
        let above = widened(above);
        let filtered: [i16; LANES] = widened(pixel);
        let mut new = [0; LANES];
        for i in 0..LANES {
            new[i] = (filtered[i] + paeth(left[i], above[i], corner[i])) & 0xFF;
        }
        for (byte, number) in pixel.iter_mut().zip(new) {
            *byte = number as u8;
        }
        left = new;
        corner = above;
    }
}

#[inline(always)]
fn widened<const BYTES: usize, const LANES: usize>(bytes: &[u8; BYTES]) -> [i16; LANES] {
    let mut numbers = [0; LANES];
    for (number, byte) in numbers.iter_mut().zip(bytes) {
        *number = i16::from(*byte);
    }
    numbers
}

/// The one of three neighbours that is nearest to `left + above - corner`. Without branches: where the
/// corner lies outside the two others, the farther of them is the nearest, and between them it is itself.
#[inline(always)]
fn paeth(left: i16, above: i16, corner: i16) -> i16 {
    let bound = 3 * corner - (left + above);
    let (low, high) = (left.min(above), left.max(above));
    let inner = if high <= bound { low } else { corner };
    if bound <= low { high } else { inner }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the specification writes it (section 9.4).
    fn by_distance(left: i16, above: i16, corner: i16) -> i16 {
        let estimate = left + above - corner;
        let [to_left, to_above, to_corner] = [left, above, corner].map(|n| (estimate - n).abs());
        if to_left <= to_above && to_left <= to_corner {
            left
        } else if to_above <= to_corner {
            above
        } else {
            corner
        }
    }

    #[test]
    fn the_nearest_neighbour_is_that_of_the_specification() {
        for left in 0..256 {
            for above in 0..256 {
                for corner in 0..256 {
                    let nearest = paeth(left, above, corner);
                    assert_eq!(nearest, by_distance(left, above, corner));
                }
            }
        }
    }
}
