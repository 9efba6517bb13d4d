//! Colours as people see them (CIE 1976 L*a*b* under the light D50) made into sRGB.

/// Linear light to sRGB, in steps finer than a byte's.
pub(super) struct Lab {
    curve: Vec<u8>,
}

const STEPS: usize = 1 << 14;

impl Lab {
    pub(super) fn new() -> Self {
        let byte = |step: usize| {
            let light = step as f32 / STEPS as f32;
            let value = if light <= 0.003_130_8 {
                12.92 * light
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            };
            (value * 255.0 + 0.5) as u8
        };
        Self {
            curve: (0..=STEPS).map(byte).collect(),
        }
    }

    /// A colour of the file: L* from 0 to 255, a* and b* signed.
    pub(super) fn rgb(&self, [l, a, b]: [u8; 3]) -> [u8; 3] {
        let lightness = (f32::from(l) * 100.0 / 255.0 + 16.0) / 116.0;
        let part = |value: f32| {
            if value > 6.0 / 29.0 {
                value * value * value
            } else {
                (value - 16.0 / 116.0) * 3.0 * (6.0 / 29.0) * (6.0 / 29.0)
            }
        };
        let x = 0.964_2 * part(lightness + f32::from(a as i8) / 500.0);
        let y = part(lightness);
        let z = 0.824_9 * part(lightness - f32::from(b as i8) / 200.0);
        // XYZ under D50 to linear sRGB (Bradford's adaptation to D65 is in it).
        [
            3.133_856 * x - 1.616_866_7 * y - 0.490_614_6 * z,
            -0.978_768_4 * x + 1.916_141_5 * y + 0.033_454 * z,
            0.071_945_3 * x - 0.228_991_4 * y + 1.405_242_7 * z,
        ]
        .map(|light| self.curve[(light.clamp(0.0, 1.0) * STEPS as f32) as usize])
    }
}
