//! Which bits of a pixel are which colour.

use std::array;

/// Where the bits of one colour are.
#[derive(Clone, Debug)]
struct Channel {
    mask: u32,
    /// How many bits are to the right of those that count, which are the 8 highest.
    shift: u32,
    /// What each value becomes: 255 times it over the most there is, rounded down as Pillow does.
    scaled: Box<[u8; 256]>,
}

impl Channel {
    fn new(mask: u32) -> Self {
        let bits = u32::BITS - mask.leading_zeros();
        let least = if mask == 0 { 0 } else { mask.trailing_zeros() };
        let shift = least.max(bits.saturating_sub(8));
        let most = (mask >> shift).max(1);
        let scaled = |value| (255 * value as u32 / most).min(255) as u8;
        Self {
            mask,
            shift,
            scaled: Box::new(array::from_fn(scaled)),
        }
    }

    fn of(&self, pixel: u32) -> u8 {
        // It has 8 bits at most.
        self.scaled[((pixel & self.mask) >> self.shift) as usize & 0xFF]
    }
}

/// The masks of a pixel's colours.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    colours: [Channel; 3],
    alpha: Option<Channel>,
}

impl Masks {
    /// Of red, green, blue and alpha, which may be none.
    pub(super) fn new([red, green, blue, alpha]: [u32; 4]) -> Self {
        Self {
            colours: [red, green, blue].map(Channel::new),
            alpha: (alpha != 0).then(|| Channel::new(alpha)),
        }
    }

    pub(super) fn has_alpha(&self) -> bool {
        self.alpha.is_some()
    }

    pub(super) fn rgba(&self, pixel: u32) -> [u8; 4] {
        let [red, green, blue] = &self.colours;
        let alpha = self.alpha.as_ref().map_or(255, |alpha| alpha.of(pixel));
        [red.of(pixel), green.of(pixel), blue.of(pixel), alpha]
    }
}
