//! Files of weights read to their end, with no model to make of them: what the fuzz targets of
//! `fuzz/` run.

use std::path::Path;

use burn::tensor::DType;

use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::files::record;

/// A tensor that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// How many numbers it has; `None` where they are none that a model is made of.
    pub numbers: Option<usize>,
}

/// The tensors of a checkpoint, in the format that its ending names.
///
/// # Errors
/// As opening it as a model's, but for what would be missing in one.
pub fn checkpoint(path: &Path) -> Result<Vec<Found>, Error> {
    let checkpoint = Checkpoint::open(path, "bare")?;
    let entries = checkpoint.into_entries();
    let found = entries.map(|(name, entry)| {
        let shape = entry.shape();
        let numbers = entry.values(&name).ok().map(|values| values.len());
        Found {
            name,
            shape,
            numbers,
        }
    });
    Ok(found.collect())
}

/// The tensors of a record that was kept of a checkpoint.
///
/// # Errors
/// Why it is none, or damaged.
pub fn record(path: &Path) -> Result<Vec<Found>, String> {
    let weights = record::weights(record::open(path)?.0)?;
    let found = weights.into_data().into_iter();
    let found = found.map(|(name, data)| {
        // Packed numbers are as many as their scheme says: no record of ours has any.
        let is_plain = !matches!(data.dtype(), DType::QFloat(_));
        let len = data.as_bytes().len();
        Found {
            shape: data.shape().to_vec(),
            numbers: is_plain.then(|| len / data.dtype().size()),
            name,
        }
    });
    Ok(found.collect())
}
