//! Single tags of a directory: what their values mean, and which of them are read.

use omnizap_contract::Error;

use super::{AlphaSample, Colours, Grid, Numbers, broken, unread};
use crate::fault;
use crate::limits::{Limits, MAX_PIXELS};
use crate::tiff::compression::Compression;
use crate::tiff::ifd::{Directory, tag};
use crate::tiff::ycbcr::YCbCr;

/// A strip or a tile takes about as long as so many pixels, be it ever so small.
const PIXELS_OF_A_CHUNK: u64 = 1024;
/// One with tables of its own takes longer.
const PIXELS_OF_A_JPEG: u64 = 8192;

/// The bits of each sample, which are as many for all of them. Some writers give one number for
/// all, or more than there are samples.
pub(super) fn bits(directory: &Directory<'_>, samples: usize) -> Result<u32, Error> {
    let Some(values) = directory.find(tag::BITS_PER_SAMPLE) else {
        return Ok(1);
    };
    let first = values.get(0).unwrap_or(0);
    let others = (1..values.len().min(samples)).map(|index| values.get(index));
    for other in others {
        if other != Some(first) {
            return Err(unread("samples of different sizes"));
        }
    }
    match u32::try_from(first) {
        Ok(bits @ 1..=64) => Ok(bits),
        _ => Err(unread(&format!("samples of {first} bits"))),
    }
}

pub(super) fn numbers(directory: &Directory<'_>) -> Result<Numbers, Error> {
    match directory.value(tag::SAMPLE_FORMAT).unwrap_or(1) {
        // Void data are taken for numbers.
        1 | 4 => Ok(Numbers::Unsigned),
        2 => Ok(Numbers::Signed),
        3 => Ok(Numbers::Float),
        _ => Err(unread("complex numbers as samples")),
    }
}

pub(super) fn colours(
    directory: &Directory<'_>,
    photometric: u64,
    samples: usize,
    bits: u32,
) -> Result<Colours, Error> {
    let colours = match photometric {
        // Where nothing is said, numbers of many bits are not taken for darkness: Pillow's way.
        0 => Colours::Gray {
            is_inverted: bits <= 8 || directory.find(tag::PHOTOMETRIC).is_some(),
        },
        1 => Colours::Gray { is_inverted: false },
        2 => Colours::Rgb,
        3 => Colours::Palette(palette(directory, bits)?),
        5 => Colours::Cmyk,
        // Some writers call gray so.
        6 if samples == 1 => Colours::Gray { is_inverted: false },
        6 => Colours::YCbCr(Box::new(YCbCr::of(directory)?)),
        8 => Colours::Lab,
        4 => return Err(unread("a mask instead of a picture")),
        9 | 10 => return Err(unread("ICC or ITU Lab colours")),
        32803 => return Err(unread("raw data of a camera's sensor")),
        32844 | 32845 => return Err(unread("LogLuv colours")),
        other => return Err(unread(&format!("colours of the kind {other}"))),
    };
    if samples < colours.samples() {
        return Err(broken("a pixel has too few samples"));
    }
    Ok(colours)
}

/// The colours of a palette: all reds, all greens, all blues, of 16 bits each.
fn palette(directory: &Directory<'_>, bits: u32) -> Result<Vec<[u8; 3]>, Error> {
    let map = directory.find(tag::COLOR_MAP);
    let map = map.ok_or_else(|| broken("it has no palette"))?;
    let colours = (map.len() / 3).min(1 << bits.min(8));
    // Where every colour is a byte the writer did not know better: libtiff sees that too.
    let is_bytes = (0..map.len().min(3 << 8)).all(|index| map.get(index).unwrap_or(0) < 256);
    let shift = if is_bytes { 0 } else { 8 };
    let part = |plane: usize, index| {
        let value = map.get(plane * (map.len() / 3) + index).unwrap_or(0);
        (value >> shift) as u8
    };
    let colour = |index| [part(0, index), part(1, index), part(2, index)];
    Ok((0..colours).map(colour).collect())
}

/// The sample that is transparency, if one is.
pub(super) fn alpha(
    directory: &Directory<'_>,
    colours: &Colours,
    samples: usize,
) -> Option<AlphaSample> {
    let first = colours.samples();
    let is_known = matches!(
        colours,
        Colours::Gray { .. } | Colours::Rgb | Colours::Palette(_)
    );
    if samples == first || !is_known {
        return None;
    }
    let Some(kinds) = directory.find(tag::EXTRA_SAMPLES) else {
        // What comes fourth without being named is alpha to Pillow.
        let is_fourth = *colours == Colours::Rgb && samples == 4;
        return is_fourth.then_some(AlphaSample {
            at: 3,
            is_premultiplied: false,
        });
    };
    (first..samples)
        .map(|at| (at, kinds.get(at - first).unwrap_or(0)))
        .find(|&(_, kind)| kind != 0)
        .map(|(at, kind)| AlphaSample {
            at,
            is_premultiplied: kind == 1,
        })
}

/// How the picture is cut. The strips and tiles are held against the picture's size: no file makes
/// more work than a picture at the limit would.
pub(super) fn grid(
    directory: &Directory<'_>,
    compression: Compression,
    (width, height): (u32, u32),
    planes: usize,
    limits: Limits,
) -> Result<Grid, Error> {
    let number = |tag| directory.value(tag);
    if compression == Compression::OldJpeg {
        // One stream, whatever strips there are.
        return Ok(Grid {
            is_tiled: false,
            width,
            height,
            across: 1,
            down: 1,
        });
    }
    let is_tiled = directory.find(tag::STRIP_OFFSETS).is_none()
        && (number(tag::TILE_WIDTH).is_some() || directory.find(tag::TILE_OFFSETS).is_some());
    let (wide, high) = if is_tiled {
        let sides = number(tag::TILE_WIDTH).zip(number(tag::TILE_HEIGHT));
        sides.ok_or_else(|| broken("its tiles have no size"))?
    } else {
        let rows = number(tag::ROWS_PER_STRIP).unwrap_or(u64::MAX);
        (width.into(), rows.min(height.into()))
    };
    if wide == 0 || high == 0 {
        return Err(broken("its strips or tiles have no pixels"));
    }
    let too_far = || {
        let what = "whose strips or tiles are too many or reach far beyond it".to_owned();
        fault::too_large(what, MAX_PIXELS)
    };
    let wide = u32::try_from(wide).map_err(|_| too_far())?;
    let high = u32::try_from(high).map_err(|_| too_far())?;
    let (across, down) = (width.div_ceil(wide), height.div_ceil(high));
    let least = match compression {
        Compression::Jpeg => PIXELS_OF_A_JPEG,
        _ => PIXELS_OF_A_CHUNK,
    };
    let each = (u64::from(wide) * u64::from(high)).max(least * planes as u64);
    let all = each.saturating_mul(u64::from(across) * u64::from(down));
    // Tiles of usual sizes reach beyond small pictures.
    if all > 2 * limits.max_pixels.max(1 << 20) + (1 << 20) {
        return Err(too_far());
    }
    Ok(Grid {
        is_tiled,
        width: wide,
        height: high,
        across,
        down,
    })
}
