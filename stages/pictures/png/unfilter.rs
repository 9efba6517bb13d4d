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
        _ => {
            // In numbers that hold what is computed with them, of all bytes of a pixel at one time.
            let mut left = [0i16; BYTES];
            let mut corner = [0i16; BYTES];
            for (pixel, above) in pixels.iter_mut().zip(above) {
                let above = above.map(i16::from);
                let mut new = [0; BYTES];
                for i in 0..BYTES {
                    new[i] = pixel[i].wrapping_add(paeth(left[i], above[i], corner[i]));
                }
                *pixel = new;
                left = new.map(i16::from);
                corner = above;
            }
        }
    }
}

/// The one of three neighbours that is nearest to `left + above - corner`. Without branches: where the
/// corner lies outside the two others, the farther of them is the nearest, and between them it is itself.
#[inline(always)]
fn paeth(left: i16, above: i16, corner: i16) -> u8 {
    let bound = 3 * corner - (left + above);
    let (low, high) = (left.min(above), left.max(above));
    let inner = if high <= bound { low } else { corner };
    let nearest = if bound <= low { high } else { inner };
    nearest as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the specification writes it (section 9.4).
    fn by_distance(left: i16, above: i16, corner: i16) -> u8 {
        let estimate = left + above - corner;
        let [to_left, to_above, to_corner] = [left, above, corner].map(|n| (estimate - n).abs());
        if to_left <= to_above && to_left <= to_corner {
            left as u8
        } else if to_above <= to_corner {
            above as u8
        } else {
            corner as u8
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
