//! A whole picture from its stream, whatever its scans and samplings: to the pixels of
//! libjpeg-turbo, without its speed. What cameras write goes another way, see `jpeg.rs`.

use omnizap_contract::Error;

use super::fault_of::broken;
use super::frame::{Coding, Extent, Frame, Scan};
use super::scan::{self, Block, Blocks, Kept};
use super::stream::{Event, Stream, Tables};
use super::upsample::Plane;
use super::{idct, too_many_scans};
use crate::limits::Limits;

/// Blocks that scans may visit, besides a number of times all blocks: the work of hostile files.
const FREE_VISITS: u64 = 32 << 20;
/// How often scans may visit all blocks.
pub(super) const MOST_VISITS: u64 = 64;
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
        let plane = &mut self.planes[component];
        if let Some(steps) = &self.quantization[component] {
            let stride = plane.stride;
            idct::block(&block, steps, plane.block(across, down), stride);
        }
        Ok(())
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
    let is_single = is_single(frame, first);
    let mut quantization = vec![None; extents.len()];
    latch(&mut quantization, frame, first, &stream.tables)?;
    let kept = if is_single {
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
        None => scan::decode(stream, frame, &extents, first, &mut direct)?,
        Some(kept) => {
            for (component, extent) in extents.iter().enumerate() {
                for (down, row) in kept.rows(component).take(extent.blocks_down).enumerate() {
                    for (across, block) in row.iter().take(extent.blocks_across).enumerate() {
                        direct.with(component, across, down, &mut |to| {
                            *to = *block;
                            Ok(())
                        })?;
                    }
                }
            }
        }
    }
    Ok(direct.planes)
}

/// Decodes all scans up to the end marker.
fn all_scans(
    stream: &mut Stream<'_>,
    frame: &Frame,
    extents: &[Extent],
    first: &Scan,
    quantization: &mut [Option<[u16; 64]>],
) -> Result<Kept, Error> {
    let mut work = Work::new(frame);
    let mut kept = Kept::new(extents);
    let mut next;
    let mut scan = first;
    loop {
        work.add(extents, scan)?;
        latch(quantization, frame, scan, &stream.tables)?;
        scan::decode(stream, frame, extents, scan, &mut kept)?;
        match stream.next()? {
            Event::Scan(found) => next = found,
            Event::End => return Ok(kept),
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
