//! Brightness and two differences of colour, as libtiff makes RGB of them.

use omnizap_contract::Error;

use super::ifd::{Directory, tag, unread};

/// Tables of the conversion, and how many pixels share a colour.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct YCbCr {
    /// Pixels side by side that share a colour, and pixels one below another.
    pub(super) across: u32,
    pub(super) down: u32,
    luma: Vec<i32>,
    red_of_cr: Vec<i32>,
    blue_of_cb: Vec<i32>,
    green_of_cr: Vec<i32>,
    green_of_cb: Vec<i32>,
}

/// Fractions of the tables have so many bits.
const SHIFT: u32 = 16;

impl YCbCr {
    /// # Errors
    /// `UnsupportedType` where more pixels share a colour than the format allows.
    pub(super) fn of(directory: &Directory<'_>) -> Result<Self, Error> {
        let sharing = directory.find(tag::YCBCR_SUBSAMPLING);
        let part = |index| match sharing {
            Some(values) => values.get(index).unwrap_or(0),
            None => 2,
        };
        let (across, down) = match (part(0), part(1)) {
            (across @ (1 | 2 | 4), down @ (1 | 2 | 4)) => (across as u32, down as u32),
            (across, down) => {
                return Err(unread(&format!("{across}x{down} pixels of one colour")));
            }
        };
        let reals = |tag, usual: &[f32]| -> Vec<f32> {
            let values = directory.find(tag);
            let stored = values
                .and_then(|values| (0..usual.len()).map(|index| values.real(index)).collect());
            stored.unwrap_or_else(|| usual.to_vec())
        };
        let weights = reals(tag::YCBCR_COEFFICIENTS, &[0.299, 0.587, 0.114]);
        let usual = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
        let range = reals(tag::REFERENCE_BLACK_WHITE, &usual);
        Ok(Self::with(across, down, &weights, &range))
    }

    /// The arithmetic of libtiff's `TIFFYCbCrToRGBInit`, in single precision as there.
    fn with(across: u32, down: u32, weights: &[f32], range: &[f32]) -> Self {
        let (red, green, blue) = (weights[0], weights[1], weights[2]);
        let fixed = |value: f32| {
            let value = if value.is_nan() {
                0.0
            } else {
                value.clamp(0.0, 2.0)
            };
            (f64::from(value) * f64::from(1 << SHIFT) + 0.5) as i32
        };
        let of_red = 2.0 - 2.0 * red;
        let of_blue = 2.0 - 2.0 * blue;
        let d1 = fixed(of_red);
        let d2 = -fixed(red * of_red / green);
        let d3 = fixed(of_blue);
        let d4 = -fixed(blue * of_blue / green);
        let half = 1 << (SHIFT - 1);
        let value = |code: i32, black: f32, white: f32, top: f32| {
            let span = if white - black == 0.0 {
                1.0
            } else {
                white - black
            };
            let value = code.wrapping_sub(black as i32) as f32 * top / span;
            value.clamp(-4096.0, 4096.0) as i32
        };
        let codes = || -128..128;
        let cb: Vec<i32> = codes()
            .map(|code| value(code, range[2] - 128.0, range[3] - 128.0, 127.0))
            .collect();
        let cr: Vec<i32> = codes()
            .map(|code| value(code, range[4] - 128.0, range[5] - 128.0, 127.0))
            .collect();
        let each =
            |of: &[i32], change: &dyn Fn(i32) -> i32| of.iter().map(|&c| change(c)).collect();
        Self {
            across,
            down,
            luma: codes()
                .map(|code| value(code + 128, range[0], range[1], 255.0))
                .collect(),
            red_of_cr: each(&cr, &|cr| (d1 * cr + half) >> SHIFT),
            blue_of_cb: each(&cb, &|cb| (d3 * cb + half) >> SHIFT),
            green_of_cr: each(&cr, &|cr| d2 * cr),
            green_of_cb: each(&cb, &|cb| d4 * cb + half),
        }
    }

    pub(super) fn is_subsampled(&self) -> bool {
        (self.across, self.down) != (1, 1)
    }

    /// Bytes of a row of blocks: the brightness of each pixel of a block, then its colour.
    pub(super) fn block_row_bytes(&self, width: u32) -> usize {
        let blocks = width.div_ceil(self.across) as usize;
        blocks * (self.across * self.down + 2) as usize
    }

    pub(super) fn rgb(&self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (y, cb, cr) = (usize::from(y), usize::from(cb), usize::from(cr));
        let luma = self.luma[y];
        let green = self.green_of_cb[cb].wrapping_add(self.green_of_cr[cr]) >> SHIFT;
        [
            luma + self.red_of_cr[cr],
            luma + green,
            luma + self.blue_of_cb[cb],
        ]
        .map(|value| value.clamp(0, 255) as u8)
    }

    /// Takes the row `line` out of a row of blocks, `put` getting the pixels.
    pub(super) fn row(&self, blocks: &[u8], line: u32, pixels: &mut [[u8; 3]]) {
        let (across, size) = (self.across as usize, (self.across * self.down) as usize);
        let parts = blocks.chunks_exact(size + 2);
        for (out, block) in pixels.chunks_mut(across).zip(parts) {
            let row = &block[line as usize * across..];
            let (cb, cr) = (block[size], block[size + 1]);
            for (pixel, &y) in out.iter_mut().zip(row) {
                *pixel = [y, cb, cr];
            }
        }
    }
}
