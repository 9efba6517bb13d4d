//! A whole picture from its stream, whatever its scans and samplings: to the pixels of
//! libjpeg-turbo, without its speed. What cameras write goes another way, see `jpeg.rs`.

use omnizap_contract::Error;

use super::fault_of::{broken, too_many_scans, truncated};
use super::frame::{Coding, Extent, Frame, Scan};
use super::idct;
use super::scan::{self, Block, Blocks, Kept};
use super::smooth::Progress;
use super::stream::{Event, Stream, Tables};
use super::upsample::Plane;
use crate::limits::Limits;

/// Blocks that scans may visit, besides a number of times all blocks: the work of hostile files.
const FREE_VISITS: u64 = 4 << 20;
/// How often scans may visit all blocks.
const MOST_VISITS: u64 = 16;
/// Most scans; usual pictures have about ten.
pub(super) const MOST_SCANS: usize = 512;

/// Counts the work of scans.
pub(super) struct Work {
    scans: usize,
    visits: u64,
    most: u64,
}

impl Work {
    pub(super) fn new(frame: &Frame) -> Self {
        Self {
            scans: 0,
            visits: 0,
            most: FREE_VISITS + MOST_VISITS * frame.blocks(),
        }
    }

    /// # Errors
    /// `TooLarge` where the scans of a file are too much work.
    pub(super) fn add(&mut self, extents: &[Extent], scan: &Scan) -> Result<(), Error> {
        let blocks = scan.components.iter().map(|each| extents[each.0].blocks());
        self.visits += blocks.sum::<u64>();
        self.scans += 1;
        if self.scans > MOST_SCANS || self.visits > self.most {
            return Err(too_many_scans());
        }
        Ok(())
    }
}

/// Bytes that are held while planes are decoded.
pub(super) fn bytes(frame: &Frame, scan: &Scan) -> u64 {
    let kept = if is_single(frame, scan) { 0 } else { 2 };
    frame.plane_bytes() * (1 + kept)
}

/// True where the first scan is the whole picture.
pub(super) fn is_single(frame: &Frame, scan: &Scan) -> bool {
    frame.coding == Coding::Sequential && scan.components.len() == frame.components.len()
}

/// Planes that a scan is decoded to at once.
struct Direct {
    planes: Vec<Plane>,
    quantization: Vec<Option<[u16; 64]>>,
}

impl Blocks for Direct {
    #[inline]
    fn with(
        &mut self,
        component: usize,
        across: usize,
        down: usize,
        decode: &mut dyn FnMut(&mut Block) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut block = [0; 64];
        decode(&mut block)?;
        self.put((component, across, down), &block);
        Ok(())
    }
}

impl Direct {
    #[inline]
    fn put(&mut self, (component, across, down): (usize, usize, usize), block: &Block) {
        let plane = &mut self.planes[component];
        if let Some(steps) = &self.quantization[component] {
            let stride = plane.stride;
            idct::block(block, steps, plane.block(across, down), stride);
        }
    }
}

/// Decodes the planes of a picture whose first scan's header was just read. The frame was checked.
///
/// # Errors
/// `Invalid` or `TooLarge`.
pub(super) fn planes(
    stream: &mut Stream<'_>,
    frame: &Frame,
    first: &Scan,
    limits: Limits,
) -> Result<Vec<Plane>, Error> {
    limits.check_alloc(bytes(frame, first))?;
    let extents = frame.extents();
    let mut quantization = vec![None; extents.len()];
    latch(&mut quantization, frame, first, &stream.tables)?;
    let kept = if is_single(frame, first) {
        None
    } else {
        Some(all_scans(
            stream,
            frame,
            &extents,
            first,
            &mut quantization,
        )?)
    };
    let of = frame.components.iter().zip(&extents);
    let mut direct = Direct {
        planes: of
            .map(|(component, extent)| Plane::new(frame, component, extent))
            .collect(),
        quantization,
    };
    match kept {
        None => {
            let read = scan::decode(stream, frame, &extents, first, &mut direct)?;
            if read.is_short {
                after_short_data(stream)?;
            }
        }
        Some((kept, progress)) => {
            let is_smoothed =
                frame.coding == Coding::Progressive && progress.is_unrefined(&direct.quantization);
            for (component, extent) in extents.iter().enumerate() {
                let Some(steps) = direct.quantization[component] else {
                    continue;
                };
                for down in 0..extent.blocks_down {
                    for across in 0..extent.blocks_across {
                        let at = (component, across, down);
                        if is_smoothed {
                            let block = progress.smoothed(&kept, frame, extent, at, &steps);
                            direct.put(at, &block);
                        } else {
                            direct.put(at, kept.block(component, across, down));
                        }
                    }
                }
            }
        }
    }
    Ok(direct.planes)
}

/// What follows where a scan had too little data: as with libjpeg, whatever is no marker that may
/// stand there spoils the picture. Where nothing was missing, nobody asks.
fn after_short_data(stream: &mut Stream<'_>) -> Result<(), Error> {
    match stream.next() {
        Ok(Event::End) => Ok(()),
        Ok(Event::Scan(_)) => Err(broken("a scan after the last one")),
        // The file ends, and the picture was complete as far as its data goes.
        Err(error) if error.code() == truncated().code() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Decodes all scans up to the end marker.
fn all_scans(
    stream: &mut Stream<'_>,
    frame: &Frame,
    extents: &[Extent],
    first: &Scan,
    quantization: &mut [Option<[u16; 64]>],
) -> Result<(Kept, Progress), Error> {
    let mut work = Work::new(frame);
    let mut kept = Kept::new(extents);
    let mut progress = Progress::new(extents.len());
    let mut next;
    let mut scan = first;
    loop {
        work.add(extents, scan)?;
        latch(quantization, frame, scan, &stream.tables)?;
        let read = scan::decode(stream, frame, extents, scan, &mut kept)?;
        progress.add(scan, read.good_units);
        match stream.next()? {
            Event::Scan(found) => next = found,
            Event::End => return Ok((kept, progress)),
        }
        scan = &next;
    }
}

/// Each component keeps the quantization table of its first scan.
fn latch(
    latched: &mut [Option<[u16; 64]>],
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
) -> Result<(), Error> {
    for &(component, ..) in &scan.components {
        if latched[component].is_none() {
            let number = usize::from(frame.components[component].quantization);
            let table = tables.quantization.get(number).copied().flatten();
            latched[component] =
                Some(table.ok_or_else(|| broken("a quantization table is missing"))?);
        }
    }
    Ok(())
}
