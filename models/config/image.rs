//! How an image becomes the input of a tower.

use serde::{Deserialize, Serialize};

use super::check::ensure;
use crate::error::Error;

/// How an image becomes the tower's input: resized to a square, normalised.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ImageConfig {
    /// Side of the square input in pixels.
    #[serde(rename = "image_size")]
    pub size: usize,
    /// Subtracted from each channel after scaling to 0..1.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// How it becomes a square.
    #[serde(default, rename = "resize_mode")]
    pub resize: Resize,
}

/// How an image of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shortest side to the square's, then the centre of the longer one.
    #[default]
    Shortest,
    /// Both sides to the square's.
    Squash,
}

/// Pillow's antialiased resampling filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle of support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, of support 2.
    Bicubic,
}

impl ImageConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure((16..=1024).contains(&self.size), || {
            format!("image_size {} is not between 16 and 1024", self.size)
        })?;
        ensure(self.std.iter().all(|std| *std > 0.0), || {
            format!("std {:?} has an entry that is not positive", self.std)
        })
    }
}
