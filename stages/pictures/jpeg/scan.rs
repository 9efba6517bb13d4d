//! Entropy-coded data of a scan, decoded as jdhuff.c and jdphuff.c of libjpeg-turbo do it: where
//! data is damaged or missing, with the very coefficients that they would give.

use omnizap_contract::Error;

use super::fault_of::broken;
use super::frame::{Coding, Extent, Frame, Scan};
use super::huffman::{Bits, Table};
use super::stream::{NATURAL_ORDER, Stream, Tables};

/// Coefficients of a block in natural order.
pub(super) type Block = [i16; 64];

/// Most blocks in a unit of an interleaved scan.
const MOST_BLOCKS: usize = 10;

/// Where blocks are decoded to.
pub(super) trait Blocks {
    /// Lets `decode` work on a block, given by its component and its place in it.
    ///
    /// # Errors
    /// That of `decode`.
    fn with(
        &mut self,
        component: usize,
        across: usize,
        down: usize,
        decode: &mut dyn FnMut(&mut Block) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// Coefficients of the whole picture, to which each scan adds.
pub(super) struct Kept {
    components: Vec<(usize, Vec<Block>)>,
}

impl Kept {
    pub(super) fn new(extents: &[Extent]) -> Self {
        let of = |extent: &Extent| {
            let blocks = vec![[0; 64]; extent.padded_across * extent.padded_down];
            (extent.padded_across, blocks)
        };
        Self {
            components: extents.iter().map(of).collect(),
        }
    }

    pub(super) fn block(&self, component: usize, across: usize, down: usize) -> &Block {
        let (row, blocks) = &self.components[component];
        &blocks[down * row + across]
    }
}

impl Blocks for Kept {
    #[inline]
    fn with(
        &mut self,
        component: usize,
        across: usize,
        down: usize,
        decode: &mut dyn FnMut(&mut Block) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (row, blocks) = &mut self.components[component];
        decode(&mut blocks[down * *row + across])
    }
}

/// A component within a scan.
struct Part {
    component: usize,
    across: usize,
    down: usize,
    dc: Option<Table>,
    ac: Option<Table>,
    predicted: i32,
}

/// How the blocks of a scan are coded.
#[derive(Clone, Copy)]
enum Kind {
    Sequential,
    DcFirst,
    DcRefined,
    AcFirst,
    AcRefined,
}

/// What came of a scan.
pub(super) struct Read {
    /// Whether data was missing at its end.
    pub(super) is_short: bool,
    /// The last row of units of the picture for which there was data.
    pub(super) good_units: usize,
}

/// The state of a scan.
struct Decoding<'a> {
    bits: Bits<'a>,
    kind: Kind,
    first: usize,
    last: usize,
    low: u32,
    /// Blocks still to come without a coefficient of the band.
    run: u32,
}

/// Decodes the data of a scan, whose header was read from `stream`, which stands behind it then.
///
/// # Errors
/// `Invalid` where the scan contradicts its frame, needs tables that are not there, or ends early.
pub(super) fn decode(
    stream: &mut Stream<'_>,
    frame: &Frame,
    extents: &[Extent],
    scan: &Scan,
    blocks: &mut impl Blocks,
) -> Result<Read, Error> {
    let kind = kind(frame, scan)?;
    let mut parts = parts(frame, scan, kind, &stream.tables)?;
    let mut rows_in_unit = 1;
    let (units_across, units_down) = if let [part] = parts.as_mut_slice() {
        // A scan of one component has no more blocks than the picture needs.
        rows_in_unit = part.down;
        (part.across, part.down) = (1, 1);
        let extent = extents[part.component];
        (extent.blocks_across, extent.blocks_down)
    } else {
        let in_unit: usize = parts.iter().map(|part| part.across * part.down).sum();
        if in_unit > MOST_BLOCKS {
            return Err(broken("too many blocks in a unit"));
        }
        frame.units()
    };
    let mut decoding = Decoding {
        bits: Bits::new(stream.data(), stream.at, stream.at_end()),
        kind,
        first: scan.first.into(),
        last: scan.last.into(),
        low: scan.low.into(),
        run: 0,
    };
    let interval = u32::from(stream.restart_interval);
    let (mut to_go, mut next_restart) = (interval, 0);
    let mut good_units = 0;
    for down in 0..units_down {
        for across in 0..units_across {
            if !decoding.bits.is_short {
                good_units = down / rows_in_unit;
            }
            if interval > 0 {
                if to_go == 0 {
                    restart(stream, &mut decoding, next_restart)?;
                    for part in &mut parts {
                        part.predicted = 0;
                    }
                    next_restart = (next_restart + 1) & 7;
                    to_go = interval;
                }
                to_go -= 1;
            }
            // What is missing stays as it is: gray, or what earlier scans made of it.
            if decoding.bits.is_short && !matches!(kind, Kind::DcRefined) {
                continue;
            }
            for part in &mut parts {
                for y in 0..part.down {
                    for x in 0..part.across {
                        let (across, down) = (across * part.across + x, down * part.down + y);
                        let component = part.component;
                        blocks.with(component, across, down, &mut |block| {
                            decoding.block(part, block)
                        })?;
                    }
                }
            }
        }
    }
    stream.at = decoding.bits.at;
    stream.unread = decoding.bits.marker;
    Ok(Read {
        is_short: decoding.bits.is_short,
        good_units,
    })
}

fn kind(frame: &Frame, scan: &Scan) -> Result<Kind, Error> {
    if frame.coding != Coding::Progressive {
        return Ok(Kind::Sequential);
    }
    let is_dc = scan.first == 0;
    let is_band = if is_dc {
        scan.last == 0
    } else {
        scan.first <= scan.last && scan.last < 64 && scan.components.len() == 1
    };
    let is_refined = scan.high != 0;
    if !is_band || is_refined && scan.low + 1 != scan.high || scan.low > 13 {
        return Err(broken("a scan that no progression knows"));
    }
    Ok(match (is_dc, is_refined) {
        (true, false) => Kind::DcFirst,
        (true, true) => Kind::DcRefined,
        (false, false) => Kind::AcFirst,
        (false, true) => Kind::AcRefined,
    })
}

fn parts(frame: &Frame, scan: &Scan, kind: Kind, tables: &Tables) -> Result<Vec<Part>, Error> {
    let table = |specs: &[Option<_>; 4], number: u8, is_dc| {
        let spec: Option<&std::sync::Arc<_>> =
            specs.get(usize::from(number)).and_then(Option::as_ref);
        let spec = spec.ok_or_else(|| broken("a Huffman table is missing"))?;
        Table::new(spec, is_dc)
    };
    let wants_dc = matches!(kind, Kind::Sequential | Kind::DcFirst);
    let wants_ac = matches!(kind, Kind::Sequential | Kind::AcFirst | Kind::AcRefined);
    let part = |&(component, dc, ac): &(usize, u8, u8)| {
        let sampling = frame.components[component];
        Ok(Part {
            component,
            across: sampling.across.into(),
            down: sampling.down.into(),
            dc: wants_dc.then(|| table(&tables.dc, dc, true)).transpose()?,
            ac: wants_ac.then(|| table(&tables.ac, ac, false)).transpose()?,
            predicted: 0,
        })
    };
    scan.components.iter().map(part).collect()
}

/// Goes behind the restart marker that is due, or makes the best of another
/// (`jpeg_resync_to_restart` of jdmarker.c).
fn restart(stream: &mut Stream<'_>, decoding: &mut Decoding<'_>, due: u8) -> Result<(), Error> {
    decoding.bits.discard();
    decoding.run = 0;
    stream.at = decoding.bits.at;
    let mut marker = decoding.bits.marker;
    if marker == 0 {
        marker = stream.next_marker()?;
    }
    loop {
        let from_due = marker.wrapping_sub(0xD0).wrapping_sub(due) & 7;
        match marker {
            // A prior one: the one that is due may follow.
            ..0xC0 => marker = stream.next_marker()?,
            0xD0..=0xD7 if from_due >= 6 => marker = stream.next_marker()?,
            // One of the next, or the end: the interval is empty.
            0xD0..=0xD7 if matches!(from_due, 1 | 2) => break,
            0xD0..=0xD7 => {
                marker = 0;
                break;
            }
            _ => break,
        }
    }
    decoding.bits.at = stream.at;
    decoding.bits.marker = marker;
    if marker == 0 {
        decoding.bits.is_short = false;
    }
    Ok(())
}

impl Decoding<'_> {
    #[inline]
    fn block(&mut self, part: &mut Part, block: &mut Block) -> Result<(), Error> {
        match (self.kind, &part.dc, &part.ac) {
            (Kind::Sequential, Some(dc), Some(ac)) => {
                let count = self.bits.symbol(dc)?;
                let difference = self.bits.signed(count.into())?;
                part.predicted = part.predicted.wrapping_add(difference);
                block[0] = part.predicted as i16;
                self.sequential(ac, block)
            }
            (Kind::DcFirst, Some(dc), _) => {
                let count = self.bits.symbol(dc)?;
                let difference = self.bits.signed(count.into())?;
                part.predicted = part.predicted.wrapping_add(difference);
                block[0] = (part.predicted << self.low) as i16;
                Ok(())
            }
            (Kind::DcRefined, ..) => {
                block[0] |= (self.bits.take(1)? << self.low) as i16;
                Ok(())
            }
            (Kind::AcFirst, _, Some(ac)) => self.ac_first(ac, block),
            (Kind::AcRefined, _, Some(ac)) => self.ac_refined(ac, block),
            _ => Err(broken("a Huffman table is missing")),
        }
    }

    #[inline]
    fn sequential(&mut self, ac: &Table, block: &mut Block) -> Result<(), Error> {
        let mut at = 1;
        while at < 64 {
            let symbol = self.bits.symbol(ac)?;
            let (zeros, count) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if count > 0 {
                at += zeros;
                block[usize::from(NATURAL_ORDER[at])] = self.bits.signed(count)? as i16;
            } else if zeros == 15 {
                at += 15;
            } else {
                break;
            }
            at += 1;
        }
        Ok(())
    }

    fn ac_first(&mut self, ac: &Table, block: &mut Block) -> Result<(), Error> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut at = self.first;
        while at <= self.last {
            let symbol = self.bits.symbol(ac)?;
            let (zeros, count) = (symbol >> 4, u32::from(symbol & 15));
            if count > 0 {
                at += usize::from(zeros);
                let value = self.bits.signed(count)? << self.low;
                block[usize::from(NATURAL_ORDER[at])] = value as i16;
            } else if zeros == 15 {
                at += 15;
            } else {
                self.run = self.run_of(zeros)? - 1;
                break;
            }
            at += 1;
        }
        Ok(())
    }

    /// The length of a run of blocks whose band is over.
    fn run_of(&mut self, power: u8) -> Result<u32, Error> {
        let more = if power == 0 {
            0
        } else {
            self.bits.take(power.into())?
        };
        Ok((1 << power) + more as u32)
    }

    fn ac_refined(&mut self, ac: &Table, block: &mut Block) -> Result<(), Error> {
        let (plus, minus) = (1_i16 << self.low, -1_i16 << self.low);
        let mut at = self.first;
        if self.run == 0 {
            while at <= self.last {
                let symbol = self.bits.symbol(ac)?;
                let mut zeros = i32::from(symbol >> 4);
                let mut new = 0;
                if symbol & 15 != 0 {
                    new = if self.bits.take(1)? == 1 { plus } else { minus };
                } else if zeros != 15 {
                    self.run = self.run_of(symbol >> 4)?;
                    break;
                }
                // Past coefficients that are there, each with a bit of its own, and `zeros` others.
                while at <= self.last {
                    let value = &mut block[usize::from(NATURAL_ORDER[at])];
                    if *value != 0 {
                        self.correct(value, plus, minus)?;
                    } else {
                        zeros -= 1;
                        if zeros < 0 {
                            break;
                        }
                    }
                    at += 1;
                }
                if new != 0 {
                    block[usize::from(NATURAL_ORDER[at])] = new;
                }
                at += 1;
            }
        }
        if self.run > 0 {
            for &place in NATURAL_ORDER.get(at..=self.last).unwrap_or_default() {
                let value = &mut block[usize::from(place)];
                if *value != 0 {
                    self.correct(value, plus, minus)?;
                }
            }
            self.run -= 1;
        }
        Ok(())
    }

    #[inline]
    fn correct(&mut self, value: &mut i16, plus: i16, minus: i16) -> Result<(), Error> {
        if self.bits.take(1)? == 1 && *value & plus == 0 {
            *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
        }
        Ok(())
    }
}
