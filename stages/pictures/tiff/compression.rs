//! The rows of a strip or a tile, made out of what is stored.

use std::io::{self, Read};

use flate2::bufread::DeflateDecoder;
use image::ImageFormat;
use lzma_rust2::XzReader;
use omnizap_contract::Error;
use ruzstd::decoding::StreamingDecoder;
use weezl::{BitOrder, LzwStatus, decode::Decoder as Lzw};

use super::fax::{Fax, Scheme};
use super::ifd::unread;
use super::rows::{Rows, damaged, ends_early};
use crate::fault;

/// The most that zstandard may look back: what it takes at its level 19.
pub(super) const ZSTD_WINDOW: u64 = 8 << 20;

/// The most that LZMA may take: its highest preset looks back 64 MiB.
pub(super) const LZMA_MEMORY: u64 = 66 << 20;

/// How strips and tiles are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Raw,
    Fax(Scheme),
    Lzw,
    /// The JPEG of 1992, which the directory describes; later it was given up.
    OldJpeg,
    Jpeg,
    Deflate,
    PackBits,
    Lzma,
    Zstd,
}

impl Compression {
    /// Reads the tag.
    ///
    /// # Errors
    /// `UnsupportedType` where it is none of ours.
    pub(super) fn of(value: u64, t4_options: u64) -> Result<Self, Error> {
        let name = match value {
            1 => return Ok(Self::Raw),
            2 => return Ok(Self::Fax(Scheme::Runs { is_word: false })),
            3 => {
                let is_two_dimensional = t4_options & 1 == 1;
                return Ok(Self::Fax(Scheme::Group3 { is_two_dimensional }));
            }
            4 => return Ok(Self::Fax(Scheme::Group4)),
            5 => return Ok(Self::Lzw),
            6 => return Ok(Self::OldJpeg),
            7 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32771 => return Ok(Self::Fax(Scheme::Runs { is_word: true })),
            32773 => return Ok(Self::PackBits),
            34925 => return Ok(Self::Lzma),
            50000 => return Ok(Self::Zstd),
            32766 => "NeXT",
            32809 => "ThunderScan",
            32908 | 32909 => "Pixar",
            33003 | 33004 | 33005 | 34712 => "JPEG 2000",
            34661 => "JBIG",
            34676 | 34677 => "SGI Log",
            34887 => "LERC",
            34892 => "lossy DNG",
            50001 => "WebP",
            50002 | 52546 => "JPEG XL",
            other => return Err(unread(&format!("compression {other}"))),
        };
        Err(unread(&format!("{name} compression")))
    }

    /// Whether rows may hold differences; elsewhere libtiff does not look at the predictor.
    pub(super) fn has_predictor(self) -> bool {
        matches!(self, Self::Lzw | Self::Deflate | Self::Lzma | Self::Zstd)
    }

    /// Begins to decompress a strip or a tile that is `width` pixels wide.
    ///
    /// # Errors
    /// As [`fault_of`].
    pub(super) fn open(self, bytes: &[u8], width: u32) -> Result<Box<dyn Rows + '_>, Error> {
        Ok(match self {
            Self::Raw => Box::new(Streamed(bytes)),
            Self::Fax(scheme) => Box::new(Fax::new(bytes, scheme, width)),
            Self::Lzw => Box::new(Streamed(LzwReader::new(bytes))),
            Self::Deflate => Box::new(Deflated::new(bytes)?),
            Self::Lzma => {
                let kib = (LZMA_MEMORY >> 10) as u32;
                Box::new(Streamed(XzReader::new_mem_limit(bytes, false, kib)))
            }
            Self::PackBits => Box::new(PackBits {
                bytes,
                run: Run::Literal(0),
            }),
            Self::Zstd => {
                let opened = StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW);
                let reader =
                    opened.map_err(|error| fault::broken(ImageFormat::Tiff, error.to_string()))?;
                Box::new(Streamed(reader))
            }
            // Whole pictures, not rows: the module `inner_jpeg` reads them.
            Self::OldJpeg | Self::Jpeg => {
                return Err(fault::broken(ImageFormat::Tiff, "a JPEG has no rows"));
            }
        })
    }
}

/// A stream of bytes that rows are cut from.
struct Streamed<R>(R);

impl<R: Read> Rows for Streamed<R> {
    fn row(&mut self, row: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(row)
    }
}

/// Deflated data with a header before them and a checksum behind (RFC 1950).
struct Deflated<'a> {
    reader: DeflateDecoder<&'a [u8]>,
    /// The two sums of the checksum.
    sums: (u32, u32),
}

impl<'a> Deflated<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = bytes.split_at_checked(2);
        let (header, rest) = header.ok_or_else(|| fault::truncated(ImageFormat::Tiff))?;
        let (method, flags) = (header[0], header[1]);
        let is_known = method & 0x0F == 8
            && u16::from_be_bytes([method, flags]) % 31 == 0
            && flags & 0x20 == 0;
        if !is_known {
            let reason = "deflated data have no header";
            return Err(fault::broken(ImageFormat::Tiff, reason));
        }
        Ok(Self {
            reader: DeflateDecoder::new(rest),
            sums: (1, 0),
        })
    }
}

impl Rows for Deflated<'_> {
    fn row(&mut self, row: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(row)?;
        // So many bytes do not overflow the sums.
        for part in row.chunks(5552) {
            let (mut one, mut two) = self.sums;
            for &byte in part {
                one += u32::from(byte);
                two += one;
            }
            self.sums = (one % 65_521, two % 65_521);
        }
        Ok(())
    }

    /// The checksum counts where the data end with the last row and it is there, as with libtiff.
    fn finish(&mut self) -> io::Result<()> {
        if !matches!(self.reader.read(&mut [0]), Ok(0)) {
            return Ok(());
        }
        let stored = self.reader.get_ref().first_chunk();
        let (one, two) = self.sums;
        match stored {
            Some(&stored) if u32::from_be_bytes(stored) != two << 16 | one => {
                Err(damaged("the checksum of deflated data is another"))
            }
            _ => Ok(()),
        }
    }
}

struct LzwReader<'a> {
    decoder: Lzw,
    bytes: &'a [u8],
}

impl<'a> LzwReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // The first writers had the bits the other way round, and codes grew one code later. Their
        // data begins with the low bits of the clear code, 256.
        let is_old = matches!(bytes, [0, second, ..] if second & 1 == 1);
        let decoder = if is_old {
            Lzw::new(BitOrder::Lsb, 8)
        } else {
            Lzw::with_tiff_size_switch(BitOrder::Msb, 8)
        };
        Self { decoder, bytes }
    }
}

impl Read for LzwReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let step = self.decoder.decode_bytes(self.bytes, buffer);
            self.bytes = &self.bytes[step.consumed_in..];
            match step.status {
                Err(_) if step.consumed_out > 0 => return Ok(step.consumed_out),
                Err(_) => return Err(damaged("the LZW data has a code that is none")),
                Ok(LzwStatus::Ok) if step.consumed_out == 0 && !buffer.is_empty() => {}
                Ok(_) => return Ok(step.consumed_out),
            }
        }
    }
}

enum Run {
    Literal(usize),
    Repeated(u8, usize),
}

/// Apple's scheme: a count, and behind it as many bytes, or one that is repeated.
struct PackBits<'a> {
    bytes: &'a [u8],
    run: Run,
}

impl PackBits<'_> {
    fn take(&mut self) -> io::Result<u8> {
        let (&first, rest) = self.bytes.split_first().ok_or_else(ends_early)?;
        self.bytes = rest;
        Ok(first)
    }
}

impl Rows for PackBits<'_> {
    fn row(&mut self, mut row: &mut [u8]) -> io::Result<()> {
        while !row.is_empty() {
            let done = match &mut self.run {
                Run::Literal(0) | Run::Repeated(_, 0) => {
                    let count = self.take()?;
                    self.run = match count {
                        0..=127 => Run::Literal(usize::from(count) + 1),
                        128 => Run::Literal(0),
                        _ => Run::Repeated(self.take()?, 257 - usize::from(count)),
                    };
                    0
                }
                Run::Literal(left) => {
                    let part = (*left).min(row.len());
                    let (bytes, rest) = self.bytes.split_at_checked(part).ok_or_else(ends_early)?;
                    row[..part].copy_from_slice(bytes);
                    self.bytes = rest;
                    *left -= part;
                    part
                }
                Run::Repeated(byte, left) => {
                    let part = (*left).min(row.len());
                    row[..part].fill(*byte);
                    *left -= part;
                    part
                }
            };
            row = &mut row[done..];
        }
        Ok(())
    }
}
