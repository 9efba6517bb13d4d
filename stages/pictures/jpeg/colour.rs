//! The colours of a picture: which they are, and rows of them made into RGB.

use super::frame::Frame;

/// What the components of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Gray,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

impl Colours {
    /// As `default_decompress_parms` of libjpeg-turbo's jdapimin.c: JFIF is believed before Adobe,
    /// Adobe before the names of components.
    pub(super) fn of(frame: &Frame, is_jfif: bool, adobe: Option<u8>) -> Self {
        let ids: Vec<u8> = frame.components.iter().map(|each| each.id).collect();
        match (ids.as_slice(), adobe) {
            ([_], _) => Self::Gray,
            ([_, _, _], _) if is_jfif => Self::YCbCr,
            ([_, _, _], Some(0)) => Self::Rgb,
            ([_, _, _], Some(_)) => Self::YCbCr,
            (b"RGB", None) => Self::Rgb,
            ([_, _, _, _], Some(1..)) => Self::Ycck,
            ([_, _, _, _], _) => Self::Cmyk,
            _ => Self::YCbCr,
        }
    }
}

/// One pixel of YCbCr as RGB, in the integers of jdcolor.c.
#[inline]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

/// A row of the picture in RGB, three bytes a pixel. `rows` are those of the components.
pub(super) fn to_rgb(colours: Colours, rows: &[&[u8]], out: &mut [u8]) {
    let pixels = out.as_chunks_mut::<3>().0.iter_mut();
    match (colours, rows) {
        (Colours::Gray, [gray, ..]) => {
            for (pixel, &gray) in pixels.zip(*gray) {
                *pixel = [gray; 3];
            }
        }
        (Colours::Rgb, [red, green, blue, ..]) => {
            for (pixel, ((&red, &green), &blue)) in pixels.zip(red.iter().zip(*green).zip(*blue)) {
                *pixel = [red, green, blue];
            }
        }
        (Colours::YCbCr, [y, cb, cr, ..]) => {
            for (pixel, ((&y, &cb), &cr)) in pixels.zip(y.iter().zip(*cb).zip(*cr)) {
                *pixel = rgb(y, cb, cr);
            }
        }
        (Colours::Cmyk, [c, m, y, k]) => {
            let inks = c.iter().zip(*m).zip(*y).zip(*k);
            for (pixel, (((&c, &m), &y), &k)) in pixels.zip(inks) {
                *pixel = [c, m, y].map(|ink| times(ink, k));
            }
        }
        (Colours::Ycck, [y, cb, cr, k]) => {
            let samples = y.iter().zip(*cb).zip(*cr).zip(*k);
            for (pixel, (((&y, &cb), &cr), &k)) in pixels.zip(samples) {
                *pixel = rgb(y, cb, cr).map(|light| times(255 - light, k));
            }
        }
        _ => {}
    }
}

/// A row of three components of YCbCr as RGB, or of any as they are, interleaved.
pub(super) fn interleaved(is_to_rgb: bool, rows: &[&[u8]], out: &mut [u8]) {
    if let (true, [_, _, _]) = (is_to_rgb, rows) {
        return to_rgb(Colours::YCbCr, rows, out);
    }
    for (at, row) in rows.iter().enumerate() {
        let samples = out.iter_mut().skip(at).step_by(rows.len());
        for (to, from) in samples.zip(*row) {
            *to = *from;
        }
    }
}

/// `v * k / 255` rounded to the nearest. Like Pillow this takes four planes for inverted ink, as
/// Adobe's programs write it: 255 is no ink.
fn times(ink: u8, k: u8) -> u8 {
    let product = u32::from(ink) * u32::from(k) + 128;
    (((product >> 8) + product) >> 8) as u8
}
