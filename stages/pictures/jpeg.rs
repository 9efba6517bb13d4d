//! JPEG, to the very pixels of libjpeg-turbo: what the reference implementation sees.
//!
//! Its "fancy" chroma upsampling and its integer transform are part of that: a decoder
//! which rounds otherwise shifts the colours of a 4:2:0 picture by up to half a level,
//! enough to move a logit.
//!
//! There are two ways. What is common goes the quick one, a crate. What is odd - stray bytes, no end
//! marker, damage, four colours, rare scans and samplings - goes the careful one, which does what
//! libjpeg-turbo does there.

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use omnizap_contract::Error;

use super::limits::Limits;
use super::{Still, exif, fault, pixels};

mod canonical;
mod colour;
mod fault_of;
mod frame;
mod huffman;
mod idct;
mod inner;
mod picture;
mod quick;
mod scan;
mod smooth;
mod standard;
mod stream;
mod upsample;

use colour::Colours;
use fault_of::broken;
use frame::{Coding, Frame, Scan};
use huffman::AtEnd;
pub(super) use inner::{Inner, InnerColours, decode_inner};
use stream::{Event, Stream, Tables};
use upsample::Plane;

/// A file whose header was read, up to the first scan.
struct Header<'a> {
    stream: Stream<'a>,
    frame: Frame,
    scan: Scan,
}

impl<'a> Header<'a> {
    /// Reads the header, which is within the limits.
    fn read(file: &'a [u8], limits: Limits) -> Result<Self, Error> {
        let mut stream = Stream::new(file, AtEnd::Refuse, Tables::default())?;
        let scan = loop {
            match stream.next()? {
                Event::Scan(scan) => break scan,
                // Tables alone: the picture follows, in a stream of its own.
                Event::End if stream.frame.is_none() => stream.restart()?,
                Event::End => return Err(broken("a frame without a scan")),
            }
        };
        let frame = stream.frame.clone();
        let frame = frame.ok_or_else(|| broken("a scan without a frame"))?;
        frame.check(limits)?;
        Ok(Self {
            stream,
            frame,
            scan,
        })
    }

    fn orientation(&self) -> Orientation {
        exif::turn(self.stream.exif, self.stream.xmp)
    }

    fn colours(&self) -> Colours {
        Colours::of(&self.frame, self.stream.is_jfif, self.stream.adobe)
    }

    fn area(&self) -> usize {
        usize::from(self.frame.width) * usize::from(self.frame.height)
    }

    /// Bytes that decoding holds at most at one time: the pixels are made when coefficients are gone.
    fn room(&self) -> u64 {
        let planes = picture::bytes(&self.frame, &self.scan);
        let made = 3 * self.area() as u64;
        match self.frame.coding {
            Coding::Sequential | Coding::Progressive => planes.max(self.frame.plane_bytes() + made),
            Coding::Arithmetic { .. } | Coding::Lossless => planes + made,
        }
    }

    /// By how much the sides are divided: what is wanted stays within the picture.
    fn divisor(&self, scaled_to: Option<u32>) -> u32 {
        let side = u32::from(self.frame.width.min(self.frame.height));
        let is_enough =
            |&divisor: &u32| scaled_to.is_some_and(|wanted| side / divisor >= wanted.max(1));
        [8, 4, 2].into_iter().find(is_enough).unwrap_or(1)
    }
}

/// How many bytes decoding takes at most at one time, as the header tells: a plane a component, then
/// what is made, or before, where the picture comes in several scans, coefficients of two bytes.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let header = Header::read(file, limits)?;
    let rgb = pixels::rgb8_bytes(header.frame.width.into(), header.frame.height.into());
    Ok(header
        .room()
        .max(pixels::turned_bytes(rgb, header.orientation())))
}

/// Decodes a picture, and how it wants to be turned. Where only so many pixels of the shorter side
/// are needed as `scaled_to` says, sides may be divided by 2, 4 or 8.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for rare kinds of JPEG.
pub(super) fn decode(file: &[u8], limits: Limits, scaled_to: Option<u32>) -> Result<Still, Error> {
    let mut header = Header::read(file, limits)?;
    limits.check_alloc(header.room())?;
    let (turn, icc) = (header.orientation(), header.stream.icc());
    let still = |width, height, rgb| {
        let rgb = RgbImage::from_raw(width, height, rgb).map(|rgb| Still {
            image: rgb.into(),
            turn,
            icc,
        });
        rgb.ok_or_else(|| fault::broken(ImageFormat::Jpeg, "the decoder gave too few pixels"))
    };
    let colours = header.colours();
    let is_plain = is_plain(file, limits)?;
    if is_plain && quick::is_for(&header.frame, &header.scan) {
        let divisor = header.divisor(scaled_to);
        match quick::decode(file, colours, divisor, limits) {
            Ok(picture) => return still(picture.width as u32, picture.height as u32, picture.data),
            Err(error) => tracing::debug!(%error, "decoding a JPEG picture the careful way"),
        }
    }
    let (width, height) = (header.frame.width.into(), header.frame.height.into());
    let planes = match header.frame.coding {
        Coding::Lossless => return still(width, height, quick::lossless(file, limits)?),
        Coding::Arithmetic { .. } => arithmetic(file, &header.frame, limits)?,
        Coding::Sequential | Coding::Progressive => {
            header.stream.fill_in_tables();
            picture::planes(&mut header.stream, &header.frame, &header.scan, limits)?
        }
    };
    let mut rgb = vec![0; 3 * header.area()];
    rows(&header.frame, &planes, &mut rgb, 3, |rows, out| {
        colour::to_rgb(colours, rows, out);
    });
    still(width, height, rgb)
}

/// True where the scans of a file are followed by an end marker. What comes behind (a thumbnail, a
/// video) does not count. No pixel is decoded.
///
/// # Errors
/// `TooLarge` where the scans are more work than they should be.
fn is_plain(file: &[u8], limits: Limits) -> Result<bool, Error> {
    let mut header = Header::read(file, limits)?;
    let extents = header.frame.extents();
    let mut work = picture::Work::new(&header.frame);
    let mut scan = header.scan;
    loop {
        work.add(&extents, &scan)?;
        match header.stream.next() {
            Ok(Event::Scan(next)) => scan = next,
            Ok(Event::End) => return Ok(true),
            Err(_) => return Ok(false),
        }
    }
}

fn arithmetic(file: &[u8], frame: &Frame, limits: Limits) -> Result<Vec<Plane>, Error> {
    let raw = quick::arithmetic(file, limits)?;
    let extents = frame.extents();
    let of = frame.components.iter().zip(&extents).zip(raw.planes);
    let planes = of.map(|((component, extent), samples)| {
        let mut plane = Plane::new(frame, component, extent);
        if samples.len() != plane.samples.len() {
            return Err(broken("the decoder gave planes of a wrong size"));
        }
        plane.samples = samples;
        Ok(plane)
    });
    planes.collect()
}

/// Fills `out`, of `channels` bytes a pixel, row by row from those of the planes.
fn rows(
    frame: &Frame,
    planes: &[Plane],
    out: &mut [u8],
    channels: usize,
    convert: impl Fn(&[&[u8]], &mut [u8]),
) {
    let width = usize::from(frame.width);
    let mut spare = vec![vec![0; width + 8]; planes.len()];
    for (at, out) in out.chunks_exact_mut(channels * width).enumerate() {
        let rows = planes.iter().zip(&mut spare);
        let rows: Vec<&[u8]> = rows
            .map(|(plane, spare)| plane.picture_row(at, spare))
            .collect();
        convert(&rows, out);
    }
}

#[cfg(test)]
mod tests;
