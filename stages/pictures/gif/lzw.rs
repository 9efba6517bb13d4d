//! The compression of a frame: LZW with codes of growing size, in blocks of up to 255 bytes
//! (GIF89a, appendix F).
//!
//! Written here and not taken from a crate because it must end where Pillow's ends: as soon as the
//! frame is full, whatever follows, and with an error where a code cannot be.

/// No code has more bits than this.
const MAX_BITS: u32 = 12;
/// How many strings a table holds.
const TABLE: usize = 1 << MAX_BITS;

/// Why a frame could not be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The data ends before the frame is full.
    Truncated,
    /// A code that no encoder writes.
    Broken,
}

/// A string of the table: it stands in what was decoded already.
#[derive(Clone, Copy, Default)]
struct Entry {
    start: usize,
    length: usize,
}

/// Fills `indices` from the blocks that `data` begins with. `data_bits` is the least size of a
/// code, without the two codes that mean no colour.
///
/// # Errors
/// Where the data does not fill it.
pub(super) fn decode(data: &[u8], data_bits: u8, indices: &mut [u8]) -> Result<(), Fault> {
    let data_bits = u32::from(data_bits);
    if data_bits >= MAX_BITS {
        return Err(Fault::Broken);
    }
    if indices.is_empty() {
        return Ok(());
    }
    let clear = 1usize << data_bits;
    let end = clear + 1;
    let mut bits = Bits::new(data);
    let mut table = [Entry::default(); TABLE];
    let mut size = data_bits + 1;
    let mut next = clear + 2;
    // The string before, none behind a clear code.
    let mut last: Option<Entry> = None;
    let mut at = 0;
    loop {
        let code = bits.take(size).ok_or(Fault::Truncated)?;
        if code == clear {
            size = data_bits + 1;
            next = clear + 2;
            last = None;
            continue;
        }
        if code == end {
            return Err(Fault::Truncated);
        }
        if code > next || last.is_none() && code > clear {
            return Err(Fault::Broken);
        }
        if let Some(last) = last
            && next < TABLE
        {
            // The string before and the first colour of this one, which is about to stand
            // behind it.
            table[next] = Entry {
                start: last.start,
                length: last.length + 1,
            };
        }
        let written = if code < clear {
            indices[at] = code as u8;
            1
        } else {
            let entry = *table.get(code).ok_or(Fault::Broken)?;
            let length = entry.length.min(indices.len() - at);
            copy(indices, entry.start, at, length);
            length
        };
        if last.is_some() && next < TABLE {
            if next == (1 << size) - 1 && size < MAX_BITS {
                size += 1;
            }
            next += 1;
        }
        last = Some(Entry {
            start: at,
            length: written,
        });
        at += written;
        if at == indices.len() {
            return Ok(());
        }
    }
}

/// Copies forwards; a string that is not whole yet goes on with its own beginning.
fn copy(indices: &mut [u8], from: usize, to: usize, length: usize) {
    if from + length <= to {
        indices.copy_within(from..from + length, to);
    } else {
        for offset in 0..length {
            indices[to + offset] = indices[from + offset];
        }
    }
}

/// Codes out of blocks.
struct Bits<'a> {
    /// Behind the block that is being read.
    rest: &'a [u8],
    block: &'a [u8],
    /// What was read and not taken, the next bit lowest.
    held: u32,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            rest: data,
            block: &[],
            held: 0,
            count: 0,
        }
    }

    /// The next code. None at the end, which is also where a block is cut.
    fn take(&mut self, size: u32) -> Option<usize> {
        while self.count < size {
            let (&byte, block) = match self.block.split_first() {
                Some(split) => split,
                None => self.next_block()?,
            };
            self.block = block;
            self.held |= u32::from(byte) << self.count;
            self.count += 8;
        }
        let code = self.held & ((1 << size) - 1);
        self.held >>= size;
        self.count -= size;
        Some(code as usize)
    }

    /// The first byte and the rest of the next block. Empty ones, which end a frame's data, are
    /// passed over, as Pillow does: a frame that is not full yet goes on.
    fn next_block(&mut self) -> Option<(&'a u8, &'a [u8])> {
        loop {
            let (&length, rest) = self.rest.split_first()?;
            let (block, rest) = rest.split_at_checked(length.into())?;
            self.rest = rest;
            if let Some(split) = block.split_first() {
                return Some(split);
            }
        }
    }
}
