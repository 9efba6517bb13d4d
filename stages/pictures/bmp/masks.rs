//! Which bits of a pixel are which colour.

use std::array;

/// Where the bits of one colour are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Channel {
    mask: u32,
    /// What makes 8 bits of the bits: 255 times them over their most, rounded down as Pillow
    /// does. Of more than 8 bits the highest 8 count.
    scale: Scale,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scale {
    /// For each value what it becomes.
    Table(Box<[u8; 256]>),
    /// Bits to leave out.
    Shift(u32),
}

impl Channel {
    fn new(mask: u32) -> Self {
        let most = mask.checked_shr(mask.trailing_zeros()).unwrap_or_default();
        let bits = u32::BITS - most.leading_zeros();
        let scale = if bits > 8 {
            Scale::Shift(bits - 8)
        } else {
            let scaled = |value| (255 * value as u32 / most.max(1)).min(255) as u8;
            Scale::Table(Box::new(array::from_fn(scaled)))
        };
        Self { mask, scale }
    }

    fn of(&self, pixel: u32) -> u8 {
        if self.mask == 0 {
            return 0;
        }
        let value = (pixel & self.mask) >> self.mask.trailing_zeros();
        match &self.scale {
            // It has 8 bits at most.
            Scale::Table(table) => table[value as usize & 0xFF],
            Scale::Shift(shift) => (value >> shift) as u8,
        }
    }
}

/// The masks of a pixel's colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    red: Channel,
    green: Channel,
    blue: Channel,
    alpha: Option<Channel>,
}

impl Masks {
    /// Of red, green, blue and alpha, which may be none.
    pub(super) fn new([red, green, blue, alpha]: [u32; 4]) -> Self {
        Self {
            red: Channel::new(red),
            green: Channel::new(green),
            blue: Channel::new(blue),
            alpha: (alpha != 0).then(|| Channel::new(alpha)),
        }
    }

    pub(super) fn has_alpha(&self) -> bool {
        self.alpha.is_some()
    }

    pub(super) fn rgb(&self, pixel: u32) -> [u8; 3] {
        [
            self.red.of(pixel),
            self.green.of(pixel),
            self.blue.of(pixel),
        ]
    }

    pub(super) fn rgba(&self, pixel: u32) -> [u8; 4] {
        let [red, green, blue] = self.rgb(pixel);
        let alpha = self.alpha.as_ref().map_or(255, |alpha| alpha.of(pixel));
        [red, green, blue, alpha]
    }
}
