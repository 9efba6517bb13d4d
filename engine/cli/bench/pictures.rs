//! Pictures to decode: one that is made, in the formats that most are of, or files.

use std::f32::consts::TAU;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use engine::http::Limits;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};

use crate::cli::Failure;

/// Size of the picture that is made, in pixels.
pub(super) const WIDTH: usize = 1024;
pub(super) const HEIGHT: usize = 768;

/// As cameras and sites write JPEG.
const QUALITY: u8 = 85;

/// A picture of that size as WebP, of quality 80; `scene.py` wrote it, for the program has nothing
/// that does.
const WEBP: &[u8] = include_bytes!("scene.webp");

/// A file as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A JPEG, a PNG and a WebP.
///
/// # Errors
/// None that is known: pictures that cannot be written.
pub(super) fn made() -> anyhow::Result<Vec<Picture>> {
    let pixels = pixels();
    let sampling = Subsampling::S420;
    let jpeg = compress(&pixels, WIDTH, HEIGHT, PixelFormat::Rgb, QUALITY, sampling)?;
    let named = |kind: &str, bytes| Picture {
        name: format!("{kind}, {WIDTH}x{HEIGHT}"),
        bytes,
    };
    Ok(vec![
        named("JPEG", jpeg),
        named("PNG", png(&pixels, WIDTH, HEIGHT)?),
        named("WebP", WEBP.to_vec()),
    ])
}

/// Files of the operator's.
///
/// # Errors
/// One that cannot be read, or is larger than the service takes where nothing else is set.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Picture>, Failure> {
    let most = Limits::default().max_body_bytes;
    let read = files.iter().map(|path| -> Result<Picture, Failure> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        if bytes.len() > most {
            return Err(anyhow!("{name}: expected at most {most} bytes").into());
        }
        Ok(Picture { name, bytes })
    });
    read.collect()
}

/// A picture as a camera sees one in so far as coders go by it: large shapes that are strong, small
/// ones that are weak, and a little noise. `[HEIGHT, WIDTH, 3]`, 8-bit RGB.
fn pixels() -> Vec<u8> {
    /// A wave each, twice as narrow as the one before.
    const OCTAVES: usize = 8;
    let mut random = fastrand::Rng::with_seed(1);
    let mut waves = Vec::new();
    for octave in 0..OCTAVES {
        let frequency = 2f32.powi(i32::try_from(octave).unwrap_or_default());
        let angle = random.f32() * TAU;
        let (x, y) = (angle.cos() * frequency, angle.sin() * frequency);
        let colours = [0.0; 3].map(|_: f32| 48.0 * (random.f32() + 0.3) / frequency.sqrt());
        waves.push((x, y, random.f32() * TAU, colours));
    }
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let (u, v) = (column as f32 / WIDTH as f32, row as f32 / WIDTH as f32);
            let mut colour = [128.0; 3];
            for (x, y, phase, strengths) in &waves {
                let wave = (TAU * (u * x + v * y) + phase).sin();
                for (colour, strength) in colour.iter_mut().zip(strengths) {
                    *colour += wave * strength;
                }
            }
            pixels.extend(colour.map(|value| (value + random.f32() * 6.0) as u8));
        }
    }
    pixels
}

/// A PNG whose rows are told by their differences from what stands to the left, as many are.
fn png(pixels: &[u8], width: usize, height: usize) -> anyhow::Result<Vec<u8>> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    const SUB: u8 = 1;
    /// 8 bits of each colour, RGB, deflate, the usual filters, not interlaced.
    const KIND: [u8; 5] = [8, 2, 0, 0, 0];
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks_exact(width * 3) {
        let mut filtered = vec![SUB];
        let left = [0; 3].iter().chain(row);
        filtered.extend(
            row.iter()
                .zip(left)
                .map(|(own, left)| own.wrapping_sub(*left)),
        );
        rows.write_all(&filtered)?;
    }
    let size = [u32::try_from(width)?, u32::try_from(height)?].map(u32::to_be_bytes);
    let mut file = SIGNATURE.to_vec();
    let header = [&size.concat()[..], &KIND].concat();
    let chunks = [
        (b"IHDR", header),
        (b"IDAT", rows.finish()?),
        (b"IEND", vec![]),
    ];
    for (kind, data) in chunks {
        file.extend(u32::try_from(data.len())?.to_be_bytes());
        let checked = [&kind[..], &data].concat();
        file.extend(&checked);
        file.extend(crc32fast::hash(&checked).to_be_bytes());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_as_large_as_such_pictures_are() {
        let made = made().unwrap();
        let sizes: Vec<_> = made.iter().map(|it| it.bytes.len() >> 10).collect();
        let [jpeg, png, webp] = sizes[..] else {
            panic!("{sizes:?}");
        };
        assert!((60..500).contains(&jpeg), "{sizes:?}");
        assert!((500..2000).contains(&png), "{sizes:?}");
        assert!((40..300).contains(&webp), "{sizes:?}");
    }
}
