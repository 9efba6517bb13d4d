//! Prepared pictures and tokens as the towers take them.

use burn::tensor::Device;

use crate::config::Input;
use crate::input::pixels::Pixels;
use crate::input::tokenizer::Tokens;
use crate::net::ops::Map;
use crate::net::towers::Text;

/// What one image tower takes of pictures.
pub(super) struct Normalised {
    side: usize,
    /// `value = table[channel][byte]`: scaled to 0..1 and normalised.
    table: [[f32; 256]; 3],
}

impl Normalised {
    /// Of a tower with this input.
    pub(super) fn new(input: Input) -> Self {
        let image = input.image;
        let value = |channel: usize, byte: usize| {
            (byte as f32 / 255.0 - image.mean[channel]) / image.std[channel]
        };
        Self {
            side: image.size,
            table: std::array::from_fn(|channel| std::array::from_fn(|byte| value(channel, byte))),
        }
    }

    /// The side of the tower's pictures in pixels.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Those of the pictures that are for the tower of this number.
    pub(super) fn map(&self, images: &[Pixels], tower: usize, device: &Device) -> Map {
        let squares = images
            .iter()
            .filter_map(|pixels| pixels.of_towers().nth(tower));
        let pixels = squares.flat_map(|square| square.rgb().as_chunks::<3>().0);
        Map::of_pictures(images.len(), self.side, device, |values| {
            for pixel in pixels {
                let value = |channel: usize| self.table[channel][usize::from(pixel[channel])];
                values.extend_from_slice(&[value(0), value(1), value(2)]);
            }
        })
    }
}

/// A text.
pub(super) fn text(tokens: &Tokens) -> Text<'_> {
    Text {
        ids: tokens.ids(),
        end: tokens.end(),
    }
}
