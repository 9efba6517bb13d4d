//! Bodies that a server packed, though it was not asked to: some do for whoever asks.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// The body as it was before it was packed, up to one byte over `most`, so that what is longer is
/// known to be.
///
/// # Errors
/// The packing is not known, or broken.
pub(super) fn unpacked(body: Bytes, headers: &HeaderMap, most: usize) -> io::Result<Bytes> {
    let packing = headers.get(CONTENT_ENCODING);
    let packing = packing.map(|packing| packing.to_str().unwrap_or("?").trim());
    match packing.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => read(GzDecoder::new(&*body), most),
        // With the frame of zlib or, of old, without it.
        Some("deflate") => read(ZlibDecoder::new(&*body), most)
            .or_else(|_| read(DeflateDecoder::new(&*body), most)),
        Some(_) => Err(io::Error::other(
            "the server packed its answer in a way that was not asked for",
        )),
    }
}

fn read(packed: impl Read, most: usize) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    packed.take(most as u64 + 1).read_to_end(&mut plain)?;
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn under(packing: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, packing.parse().unwrap());
        headers
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let plain = b"words words words";
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        gzip.write_all(plain).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(plain).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), level);
        bare.write_all(plain).unwrap();
        let gzip = gzip.finish().unwrap();
        for (packing, body) in [
            ("GZip", gzip.clone()),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
            ("identity", plain.to_vec()),
        ] {
            let read = unpacked(body.into(), &under(packing), 100).unwrap();
            assert_eq!(&*read, plain, "{packing}");
        }
        let plainly = unpacked(Bytes::from_static(plain), &HeaderMap::new(), 100).unwrap();
        assert_eq!(&*plainly, plain);
        assert!(unpacked(Bytes::from_static(plain), &under("gzip"), 100).is_err());
        assert!(unpacked(gzip.into(), &under("br"), 100).is_err());
    }

    #[test]
    fn a_bomb_is_unpacked_up_to_the_limit() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for _ in 0..100 {
            gzip.write_all(&[b' '; 10_000]).unwrap();
        }
        let read = unpacked(gzip.finish().unwrap().into(), &under("gzip"), 1000).unwrap();
        assert_eq!(read.len(), 1001);
    }
}
