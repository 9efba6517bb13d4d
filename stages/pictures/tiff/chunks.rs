//! Strips and tiles: where they are in the file, and their rows.

use image::ImageFormat;
use omnizap_contract::Error;

use super::canvas::{Canvas, Place};
use super::compression::Compression;
use super::ifd::{Directory, Values, tag};
use super::inner_jpeg;
use super::layout::{Colours, Layout};
use super::rows::fault_of;
use super::samples::Narrow;
use crate::fault;
use crate::limits::Limits;

/// Reads all strips or tiles.
///
/// # Errors
/// `Invalid` where one is broken or ends early, `UnsupportedType` where a JPEG within is of a kind
/// that is not read.
pub(super) fn read(
    directory: &Directory<'_>,
    layout: &Layout,
    limits: Limits,
) -> Result<Canvas, Error> {
    let mut canvas = Canvas::new(layout);
    let narrow = Narrow::of(layout);
    let mut jpeg = inner_jpeg::Reader::of(directory, limits);
    let mut chunks = Chunks::of(directory, layout)?;
    for (index, place) in places(layout) {
        let bytes = chunks.bytes(index)?;
        if is_jpeg(layout) {
            jpeg.read(bytes, layout, &mut canvas, &narrow, place)?;
        } else if layout.is_bit_reversed {
            let bytes: Vec<u8> = bytes.iter().map(|byte| byte.reverse_bits()).collect();
            read_rows(&bytes, layout, &mut canvas, &narrow, place)?;
        } else {
            read_rows(bytes, layout, &mut canvas, &narrow, place)?;
        }
    }
    Ok(canvas)
}

fn is_jpeg(layout: &Layout) -> bool {
    matches!(layout.compression, Compression::Jpeg | Compression::OldJpeg)
}

/// Whether some strip or tile is a progressive JPEG, which takes more memory than others.
///
/// # Errors
/// As [`read`], as far as the directory tells.
pub(super) fn is_progressive(directory: &Directory<'_>, layout: &Layout) -> Result<bool, Error> {
    if !is_jpeg(layout) {
        return Ok(false);
    }
    let mut chunks = Chunks::of(directory, layout)?;
    for (index, _) in places(layout) {
        if inner_jpeg::is_progressive(chunks.bytes(index)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The strips or tiles that are of use: their numbers, and where they belong.
fn places(layout: &Layout) -> impl Iterator<Item = (u64, Place)> {
    let planes: Vec<Option<usize>> = if layout.is_planar {
        let channels = 0..layout.used();
        channels
            .map(|channel| Some(layout.sample_of(channel)))
            .collect()
    } else {
        vec![None]
    };
    let grid = layout.grid;
    let of_plane = u64::from(grid.across) * u64::from(grid.down);
    planes.into_iter().flat_map(move |plane| {
        let first = plane.unwrap_or(0) as u64 * of_plane;
        (0..of_plane).map(move |number| {
            let across = (number % u64::from(grid.across)) as u32;
            let down = (number / u64::from(grid.across)) as u32;
            let place = Place {
                plane,
                left: across * grid.width,
                top: down * grid.height,
            };
            (first + number, place)
        })
    })
}

/// Reads the rows of a strip or a tile that are within the picture.
fn read_rows(
    bytes: &[u8],
    layout: &Layout,
    canvas: &mut Canvas,
    narrow: &Narrow,
    place: Place,
) -> Result<(), Error> {
    let grid = layout.grid;
    let mut source = layout.compression.open(bytes, grid.width)?;
    let bottom = layout.height.min(place.top.saturating_add(grid.height));
    let subsampled = match &layout.colours {
        Colours::YCbCr(ycbcr) if ycbcr.is_subsampled() => Some(ycbcr),
        _ => None,
    };
    let (size, down) = match subsampled {
        Some(ycbcr) => (ycbcr.block_row_bytes(grid.width), ycbcr.down),
        None => (layout.row_bytes() as usize, 1),
    };
    let mut row = vec![0; size];
    let mut pixels = vec![[0; 3]; subsampled.map_or(0, |_| grid.width as usize)];
    for top in (place.top..bottom).step_by(down as usize) {
        source.row(&mut row).map_err(fault_of)?;
        if let Some(ycbcr) = subsampled {
            for line in 0..down.min(bottom - top) {
                ycbcr.row(&row, line, &mut pixels);
                let top = top + line;
                canvas.put_pixels(layout, &pixels, Place { top, ..place });
            }
        } else {
            let step = layout.samples_of_chunk();
            layout
                .predictor
                .undo(&mut row, layout.bits, step, layout.order);
            canvas.put(layout, narrow, &row, Place { top, ..place });
        }
    }
    // A tile is whole where the picture is not: what is missing shows that it is broken.
    if grid.is_tiled && layout.compression != Compression::Raw {
        for _ in bottom.div_ceil(down)..place.top.saturating_add(grid.height).div_ceil(down) {
            source.row(&mut row).map_err(fault_of)?;
        }
    }
    source.finish().map_err(fault_of)
}

/// Where the strips or tiles are.
struct Chunks<'a> {
    file: &'a [u8],
    /// All there is to read, where it is one stream that strips do not tell of.
    only: Option<&'a [u8]>,
    offsets: Option<Values<'a>>,
    counts: Option<Values<'a>>,
    is_raw: bool,
    /// Bytes of a raw strip or tile.
    raw_bytes: usize,
    is_only_one: bool,
    /// How many bytes of the file may still be read, those that are read twice counted twice.
    left: u64,
}

impl<'a> Chunks<'a> {
    fn of(directory: &Directory<'a>, layout: &Layout) -> Result<Self, Error> {
        let grid = layout.grid;
        let (offsets, counts) = if grid.is_tiled {
            (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)
        };
        let only = match layout.compression {
            Compression::OldJpeg => Some(inner_jpeg::old_stream(directory)?),
            _ => None,
        };
        let planes = if layout.is_planar { layout.samples } else { 1 };
        let rows = u64::from(grid.height.min(layout.height));
        let raw_bytes = rows * layout.row_bytes() + layout.ycbcr_bytes() * rows;
        let of_rows = layout.row_bytes() * u64::from(grid.across) * u64::from(layout.height);
        Ok(Self {
            file: directory.file,
            only,
            offsets: directory.find(offsets),
            counts: directory.find(counts),
            raw_bytes: usize::try_from(raw_bytes).unwrap_or(usize::MAX),
            is_raw: layout.compression == Compression::Raw,
            is_only_one: u64::from(grid.across) * u64::from(grid.down) * planes as u64 == 1,
            // Compressed data are hardly larger than what they were.
            left: 2 * (directory.file.len() as u64 + of_rows * planes as u64) + (1 << 20),
        })
    }

    /// The bytes of one strip or tile; to the file's end where nothing says how many they are, or
    /// where that does not matter.
    fn bytes(&mut self, index: u64) -> Result<&'a [u8], Error> {
        let truncated = || fault::truncated(ImageFormat::Tiff);
        let broken = |reason| fault::broken(ImageFormat::Tiff, reason);
        if let Some(bytes) = self.only {
            return Ok(bytes);
        }
        let offsets = self.offsets;
        let offsets = offsets.ok_or_else(|| broken("it does not say where its pixels are"))?;
        let mut index = usize::try_from(index).unwrap_or(usize::MAX);
        if self.is_only_one && self.is_raw {
            // Of several offsets where one is needed Pillow takes the last.
            index = offsets.len().saturating_sub(1);
        }
        let offset = offsets.get(index);
        let offset = offset.ok_or_else(|| broken("it has too few strips or tiles"))?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.file.get(offset..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(truncated)?;
        if self.is_raw {
            return Ok(&rest[..rest.len().min(self.raw_bytes)]);
        }
        let bytes = match self.counts.map(|counts| counts.get(index)) {
            None => rest,
            Some(None) => return Err(broken("it does not say how long its strips are")),
            Some(Some(0)) if self.is_only_one => rest,
            Some(Some(0)) => return Err(broken("a strip or a tile is empty")),
            Some(Some(count)) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                rest.get(..count).ok_or_else(truncated)?
            }
        };
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| broken("its strips or tiles lie one over another"))?;
        Ok(bytes)
    }
}
