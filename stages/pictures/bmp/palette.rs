//! The colours that indices stand for.

/// 256 colours; those that the file lacks are black.
#[derive(Clone, Debug)]
pub(super) struct Palette([[u8; 3]; 256]);

impl Palette {
    /// Of entries of `step` bytes, which begin with blue, green and red.
    pub(super) fn new(entries: &[u8], step: usize) -> Self {
        let mut colours = [[0; 3]; 256];
        for (colour, entry) in colours.iter_mut().zip(entries.chunks(step)) {
            if let [blue, green, red, ..] = *entry {
                *colour = [red, green, blue];
            }
        }
        Self(colours)
    }

    /// A palette whose first entries are the grays of their indices says that the picture is gray:
    /// Pillow goes on so behind its end.
    pub(super) fn or_gray(self, entries: usize) -> Self {
        let grays: [[u8; 3]; 256] = std::array::from_fn(|index| [index as u8; 3]);
        // Two that are black and nearly black are none.
        let is_gray = entries != 2 && self.0.iter().zip(&grays).take(entries).all(|(a, b)| a == b);
        if is_gray { Self(grays) } else { self }
    }

    pub(super) fn colour(&self, index: u8) -> [u8; 3] {
        self.0[usize::from(index)]
    }
}
