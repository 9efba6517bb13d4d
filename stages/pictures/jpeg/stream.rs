//! The markers of a JPEG stream, read as tolerantly as libjpeg reads them: bytes that belong to
//! nothing are skipped, wherever they stand.

use std::sync::Arc;

use omnizap_contract::Error;

use super::fault_of::{broken, rare, truncated};
use super::frame::{Coding, Component, Frame, Scan};
use super::huffman::{AtEnd, Spec};

/// Zigzag to natural order; the 16 further entries catch runs that lead out of a block.
#[rustfmt::skip]
pub(super) const NATURAL_ORDER: [u8; 80] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
];

const EOI: u8 = 0xD9;

/// Tables that a stream has defined so far.
#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) quantization: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<Arc<Spec>>; 4],
    pub(super) ac: [Option<Arc<Spec>>; 4],
}

/// What stands next in a stream.
pub(super) enum Event {
    /// The header of a scan; its data follows.
    Scan(Scan),
    /// The end marker.
    End,
}

/// A stream that is read from marker to marker.
pub(super) struct Stream<'a> {
    data: &'a [u8],
    /// Where the next byte is read.
    pub(super) at: usize,
    at_end: AtEnd,
    /// A marker that was read and not yet acted on; 0 is none.
    pub(super) unread: u8,
    pub(super) tables: Tables,
    pub(super) restart_interval: u16,
    pub(super) frame: Option<Frame>,
    pub(super) is_jfif: bool,
    /// The transform that the Adobe marker names.
    pub(super) adobe: Option<u8>,
    /// The first EXIF segment, behind its name.
    pub(super) exif: Option<&'a [u8]>,
    /// The last XMP packet.
    pub(super) xmp: Option<&'a [u8]>,
    /// The segments of an ICC profile: number, count, content.
    icc: Vec<(u8, u8, &'a [u8])>,
}

impl<'a> Stream<'a> {
    /// # Errors
    /// `Invalid` where the start marker is missing.
    pub(super) fn new(data: &'a [u8], at_end: AtEnd, tables: Tables) -> Result<Self, Error> {
        if !data.starts_with(b"\xff\xd8") {
            return Err(broken("no start marker"));
        }
        Ok(Self {
            data,
            at: 2,
            at_end,
            unread: 0,
            tables,
            restart_interval: 0,
            frame: None,
            is_jfif: false,
            adobe: None,
            exif: None,
            xmp: None,
            icc: Vec::new(),
        })
    }

    /// Goes on with a stream that follows, with the tables of this one.
    ///
    /// # Errors
    /// `Invalid` where none follows.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Err(truncated());
        }
        if !rest.starts_with(b"\xff\xd8") {
            return Err(broken("no start marker"));
        }
        self.at += 2;
        self.restart_interval = 0;
        (self.is_jfif, self.adobe) = (false, None);
        Ok(())
    }

    /// Frames of motion JPEG leave out the Huffman tables that all of them have (T.81, annex K).
    pub(super) fn fill_in_tables(&mut self) {
        if self
            .frame
            .as_ref()
            .is_none_or(|frame| frame.coding == Coding::Sequential)
        {
            self.tables.fill_in();
        }
    }

    /// Reads on to the next scan or the end.
    ///
    /// # Errors
    /// `Invalid` where the stream ends or contradicts itself, `UnsupportedType` for kinds of JPEG
    /// that nobody here decodes.
    pub(super) fn next(&mut self) -> Result<Event, Error> {
        loop {
            if self.unread == 0 {
                self.unread = self.next_marker()?;
            }
            let marker = std::mem::take(&mut self.unread);
            match marker {
                EOI => return Ok(Event::End),
                // Restart markers and TEM stand alone.
                0xD0..=0xD7 | 0x01 => {}
                0xD8 => return Err(broken("a second start marker")),
                0xDA => return Ok(Event::Scan(self.scan()?)),
                0xC5..=0xC7 | 0xCD..=0xCF => {
                    return Err(rare("of several resolutions (hierarchical JPEG)"));
                }
                0xF7 => return Err(rare("coded by JPEG-LS")),
                // No length stands behind these as far as anybody knows.
                0x02..=0xBF | 0xC8 | 0xDE | 0xDF | 0xF0..=0xFD => {
                    return Err(broken(format!("an unknown marker 0xFF{marker:02X}")));
                }
                _ => {
                    let segment = self.segment()?;
                    self.take_in(marker, segment)?;
                }
            }
        }
    }

    /// The ICC profile, where all its parts are there.
    pub(super) fn icc(&self) -> Option<Vec<u8>> {
        let count = self.icc.first()?.1;
        let mut profile = Vec::new();
        for number in 1..=count {
            let part = self.icc.iter().find(|part| part.0 == number)?;
            profile.extend_from_slice(part.2);
        }
        Some(profile)
    }

    /// The code of the next marker, behind which the stream stands then.
    ///
    /// # Errors
    /// `Invalid` where the stream ends.
    pub(super) fn next_marker(&mut self) -> Result<u8, Error> {
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let Some(skipped) = rest.iter().position(|&byte| byte == 0xFF) else {
                return self.ended();
            };
            // Any number of 0xFF may fill the space before a marker.
            let Some(fill) = rest[skipped..].iter().position(|&byte| byte != 0xFF) else {
                return self.ended();
            };
            let marker = rest[skipped + fill];
            self.at += skipped + fill + 1;
            if marker != 0 {
                return Ok(marker);
            }
        }
    }

    fn ended(&mut self) -> Result<u8, Error> {
        self.at = self.data.len();
        match self.at_end {
            AtEnd::Refuse => Err(truncated()),
            AtEnd::EndMarker => Ok(EOI),
        }
    }

    /// The bytes from where the stream stands.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(super) fn at_end(&self) -> AtEnd {
        self.at_end
    }

    /// The content of a segment, which is skipped. A length too small for itself is one of nothing.
    pub(super) fn segment(&mut self) -> Result<&'a [u8], Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        let length = usize::from(length.ok_or_else(truncated)?).max(2);
        let content = rest.get(2..length).ok_or_else(truncated)?;
        self.at += length;
        Ok(content)
    }

    fn take_in(&mut self, marker: u8, content: &'a [u8]) -> Result<(), Error> {
        match marker {
            0xC0 | 0xC1 => self.start_frame(content, Coding::Sequential),
            0xC2 => self.start_frame(content, Coding::Progressive),
            0xC3 | 0xCB => self.start_frame(content, Coding::Lossless),
            0xC9 => self.start_frame(content, Coding::Arithmetic { progressive: false }),
            0xCA => self.start_frame(content, Coding::Arithmetic { progressive: true }),
            0xC4 => self.huffman_tables(content),
            0xDB => self.quantization_tables(content),
            0xDD => match content {
                &[high, low] => {
                    self.restart_interval = u16::from_be_bytes([high, low]);
                    Ok(())
                }
                _ => Err(broken("a restart interval of a wrong length")),
            },
            0xE0 => {
                self.is_jfif |= content.len() >= 14 && content.starts_with(b"JFIF\0");
                Ok(())
            }
            0xE1 => {
                if let Some(exif) = content.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert(exif);
                } else if let Some(xmp) = content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = Some(xmp);
                }
                Ok(())
            }
            0xE2 => {
                if let Some([number, count, part @ ..]) = content.strip_prefix(b"ICC_PROFILE\0") {
                    self.icc.push((*number, *count, part));
                }
                Ok(())
            }
            0xEE => {
                if content.starts_with(b"Adobe")
                    && let Some(&transform) = content.get(11)
                {
                    self.adobe = Some(transform);
                }
                Ok(())
            }
            // Other applications' data, comments, conditioning of the arithmetic coder, a height.
            _ => Ok(()),
        }
    }

    fn start_frame(&mut self, content: &[u8], coding: Coding) -> Result<(), Error> {
        if self.frame.is_some() {
            return Err(broken("a second frame"));
        }
        let Some((&[precision, h1, h0, w1, w0, count], components)) = content.split_first_chunk()
        else {
            return Err(broken("a frame header that is too short"));
        };
        let (components, rest) = components.as_chunks::<3>();
        if !rest.is_empty() || components.len() != usize::from(count) {
            return Err(broken("a frame header of a wrong length"));
        }
        let components = components
            .iter()
            .map(|&[id, sampling, quantization]| Component {
                id,
                across: sampling >> 4,
                down: sampling & 15,
                quantization,
            });
        self.frame = Some(Frame {
            coding,
            precision,
            width: u16::from_be_bytes([w1, w0]),
            height: u16::from_be_bytes([h1, h0]),
            components: components.collect(),
        });
        Ok(())
    }

    /// The header of a scan, as `get_sos` of jdmarker.c takes it.
    fn scan(&mut self) -> Result<Scan, Error> {
        let content = self.segment()?;
        let Some(frame) = &self.frame else {
            return Err(broken("a scan before the frame"));
        };
        let Some((&count, rest)) = content.split_first() else {
            return Err(broken("a scan header that is too short"));
        };
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(broken("a scan header of a wrong length"));
        }
        let (selectors, parameters) = rest.split_at(2 * count);
        let mut components: Vec<(usize, u8, u8)> = Vec::with_capacity(count);
        for &[id, tables] in selectors.as_chunks::<2>().0 {
            // Where components share an id, each is taken once, in their order.
            let found =
                frame
                    .components
                    .iter()
                    .take(4)
                    .enumerate()
                    .position(|(index, component)| {
                        component.id == id && components.iter().all(|&(taken, ..)| taken != index)
                    });
            let Some(index) = found else {
                return Err(broken("a scan of an unknown component"));
            };
            components.push((index, tables >> 4, tables & 15));
        }
        Ok(Scan {
            components,
            first: parameters[0],
            last: parameters[1],
            high: parameters[2] >> 4,
            low: parameters[2] & 15,
        })
    }

    fn huffman_tables(&mut self, mut content: &[u8]) -> Result<(), Error> {
        while content.len() > 16 {
            let (index, rest) = (content[0], &content[1..]);
            let Some((counts, rest)) = rest.split_first_chunk::<16>() else {
                break;
            };
            let count: usize = counts.iter().map(|&count| usize::from(count)).sum();
            if count > 256 || count > rest.len() {
                return Err(broken("a Huffman table of too many codes"));
            }
            let (values, rest) = rest.split_at(count);
            let kind = if index & 0x10 == 0 {
                &mut self.tables.dc
            } else {
                &mut self.tables.ac
            };
            let slot = kind.get_mut(usize::from(index & !0x10));
            *slot.ok_or_else(|| broken("a Huffman table of a wrong number"))? =
                Some(Arc::new(Spec::new(counts, values)));
            content = rest;
        }
        if content.is_empty() {
            Ok(())
        } else {
            Err(broken("Huffman tables of a wrong length"))
        }
    }

    fn quantization_tables(&mut self, mut content: &[u8]) -> Result<(), Error> {
        while let Some((&first, rest)) = content.split_first() {
            let slot = self.tables.quantization.get_mut(usize::from(first & 15));
            let slot = slot.ok_or_else(|| broken("a quantization table of a wrong number"))?;
            let size = if first >> 4 == 0 { 1 } else { 2 };
            let Some((values, rest)) = rest.split_at_checked(64 * size) else {
                return Err(broken("quantization tables of a wrong length"));
            };
            let mut table = [0; 64];
            for (value, &place) in values.chunks(size).zip(&NATURAL_ORDER) {
                let number = value
                    .iter()
                    .fold(0, |all, &byte| all << 8 | u16::from(byte));
                table[usize::from(place)] = number;
            }
            *slot = Some(table);
            content = rest;
        }
        Ok(())
    }
}
