//! Pictures made for a test: of any size, with known samples.

/// A square gray TIFF without compression, of 8 or 16 bits a sample; `value` gives the 8-bit
/// sample at (x, y), which 16 bits hold 257-fold (TIFF 6.0, baseline).
pub(crate) fn gray_tiff(side: u32, bits: u32, value: impl Fn(u32, u32) -> u32) -> Vec<u8> {
    const HEADER: u32 = 8;
    let size = side * side * bits / 8;
    let mut tiff = b"II*\0".to_vec();
    tiff.extend((HEADER + size).to_le_bytes());
    for sample in (0..side * side).map(|index| value(index % side, index / side)) {
        if bits == 16 {
            tiff.extend((sample as u16 * 257).to_le_bytes());
        } else {
            tiff.push(sample as u8);
        }
    }
    // Width, height, bits, compression none, black is zero, offset, samples, rows, bytes.
    let tags: [(u16, u32); 9] = [
        (256, side),
        (257, side),
        (258, bits),
        (259, 1),
        (262, 1),
        (273, HEADER),
        (277, 1),
        (278, side),
        (279, size),
    ];
    tiff.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        const LONG: u16 = 4;
        tiff.extend(tag.to_le_bytes());
        tiff.extend(LONG.to_le_bytes());
        tiff.extend(1_u32.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend(0_u32.to_le_bytes());
    tiff
}
