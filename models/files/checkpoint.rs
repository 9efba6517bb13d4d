//! A checkpoint as its authors publish it: tensors by name, in safetensors or PyTorch's format,
//! read lazily and taken out one by one, so that what is left over shows.

mod safetensors;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use burn::store::burn_pack::Tensor as Stored;
use burn::store::{ModuleStore, PytorchStore, bridge};
use burn::tensor::{Bytes, f16};

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::common::names::nearest;

use crate::error::Error;
use crate::files::mapping;
use safetensors::Input;

/// The endings of checkpoint files.
pub(crate) const ENDINGS: &[&str] = &["safetensors", "pt", "pth", "bin"];

/// Endings of the names of tensors that say nothing: counters of training steps, and the numbers from
/// 0 on by which old versions of transformers look positions up.
const MEANINGLESS: [&str; 2] = [".num_batches_tracked", ".position_ids"];

/// Beside a tensor of bytes: `[scale, minimum]`, so that a byte means `byte * scale + minimum`, as
/// TensorFlow.js quantises. <https://github.com/tensorflow/tfjs/tree/master/tfjs-converter>
const QUANTIZATION: &str = ".quantization";

/// The tensors of a checkpoint that nobody has taken yet.
pub(crate) struct Checkpoint {
    tensors: BTreeMap<String, Entry>,
    /// The architecture that it is read as, for errors.
    model: String,
}

/// A tensor, in the file or made from others.
pub(crate) enum Entry {
    PyTorch(Stored),
    Safetensors(safetensors::Stored),
    Made { shape: Vec<usize>, values: Vec<f32> },
}

impl Checkpoint {
    /// Opens a file in the format that its ending names. Values are read later.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`], [`Error::Io`] when it cannot be opened, [`Error::Unreadable`] when
    /// it is damaged.
    pub(crate) fn open(path: &Path, model: &str) -> Result<Self, Error> {
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        // Opened here, so that a missing file is not taken for a damaged one.
        let file = File::open(path).map_err(|source| Error::Io {
            action: "open the checkpoint",
            path: path.to_owned(),
            source,
        })?;
        let tensors = match ending {
            "safetensors" => safetensors::open(Input::of_file(file)).map(stored),
            "pt" | "pth" | "bin" => pytorch(path),
            _ => return Err(Error::UnknownFormat(path.to_owned())),
        };
        let tensors = tensors.map_err(|reason| Error::Unreadable {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self::new(tensors, model))
    }

    /// Reads safetensors that are part of the program.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub(crate) fn from_safetensors(bytes: &'static [u8], model: &str) -> Result<Self, Error> {
        let tensors =
            safetensors::open(Input::of_program(bytes)).map_err(|reason| Error::Unreadable {
                path: model.into(),
                reason,
            })?;
        Ok(Self::new(stored(tensors), model))
    }

    fn new(tensors: BTreeMap<String, Entry>, model: &str) -> Self {
        // A training run saves its optimizer beside the weights, and names them for its wrapper.
        const WEIGHTS: &str = "state_dict.";
        let nested = tensors.keys().any(|key| key.starts_with(WEIGHTS));
        let tensors = tensors
            .into_iter()
            .filter(|(key, _)| !MEANINGLESS.iter().any(|ending| key.ends_with(ending)))
            .filter(|(key, _)| !nested || key.starts_with(WEIGHTS))
            .map(|(key, entry)| {
                let key = key.strip_prefix(WEIGHTS).unwrap_or(&key);
                (key.strip_prefix("module.").unwrap_or(key).to_owned(), entry)
            })
            .collect();
        Self {
            tensors,
            model: model.to_owned(),
        }
    }

    /// Whether a tensor of this name is still there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Whether any tensor's name starts with `key` and a dot.
    pub(crate) fn has_under(&self, key: &str) -> bool {
        let under = |name: &str| {
            name.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.keys().any(under)
    }

    /// Gives every tensor a new name, or makes others of it.
    pub(crate) fn rename(
        &mut self,
        mut with: impl FnMut(&str, Entry) -> Result<Vec<(String, Entry)>, Error>,
    ) -> Result<(), Error> {
        let mut renamed = BTreeMap::new();
        for (key, entry) in std::mem::take(&mut self.tensors) {
            renamed.extend(with(&key, entry)?);
        }
        self.tensors = renamed;
        Ok(())
    }

    /// The names that are left.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All that is left.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (String, Entry)> {
        self.tensors.into_iter()
    }

    /// Takes a tensor out, in single precision.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::WrongShape`], [`Error::NotFinite`], [`Error::Unreadable`].
    pub(crate) fn take(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let entry = self.entry(key, shape)?;
        self.values(entry, key)
    }

    /// Takes a tensor out, in half precision, from where it lies if it is a part of the program.
    ///
    /// # Errors
    /// As [`Checkpoint::take`]; [`Error::NotFinite`] also where a number has no half.
    pub(crate) fn take_half(&mut self, key: &str, shape: &[usize]) -> Result<Bytes, Error> {
        let entry = self.entry(key, shape)?;
        let halves = match entry.halves_of_program() {
            Some(halves) => mapping::of_program(halves),
            None => {
                let values = self.values(entry, key)?.into_iter();
                let halves: Vec<f16> = values.map(f16::from_f32).collect();
                Bytes::from_elems(halves).shared()
            }
        };
        let mut numbers = halves.as_chunks().0.iter();
        match numbers.all(|bytes| f16::from_ne_bytes(*bytes).is_finite()) {
            true => Ok(halves),
            false => Err(Error::NotFinite(key.to_owned())),
        }
    }

    /// The values of a tensor that was taken out, in single precision.
    fn values(&mut self, entry: Entry, key: &str) -> Result<Vec<f32>, Error> {
        let values = match self.tensors.remove(&format!("{key}{QUANTIZATION}")) {
            Some(quantization) => entry.dequantised(quantization.values(key)?, key)?,
            None => entry.values(key)?,
        };
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(Error::NotFinite(key.to_owned())),
        }
    }

    /// Takes a tensor out that has this shape.
    fn entry(&mut self, key: &str, shape: &[usize]) -> Result<Entry, Error> {
        let entry = self.tensors.remove(key).ok_or_else(|| Error::MissingKey {
            key: key.to_owned(),
            nearest: nearest(key, self.keys()).map(str::to_owned),
            model: self.model.clone(),
        })?;
        // A scalar is saved as [] or as [1].
        let scalar = |shape: &[usize]| shape.iter().product::<usize>() == 1;
        if entry.shape() != shape && !(scalar(&entry.shape()) && scalar(shape)) {
            return Err(Error::WrongShape {
                key: key.to_owned(),
                found: entry.shape(),
                expected: shape.to_vec(),
                model: self.model.clone(),
            });
        }
        Ok(entry)
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// [`Error::UnusedKeys`].
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(key) => Err(Error::UnusedKeys {
                key: key.clone(),
                count: self.tensors.len(),
                model: self.model,
            }),
        }
    }
}

impl Entry {
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::PyTorch(tensor) => tensor.shape.to_vec(),
            Self::Safetensors(tensor) => tensor.shape.clone(),
            Self::Made { shape, .. } => shape.clone(),
        }
    }

    /// The elements where they lie, if they are halves inside the program.
    fn halves_of_program(&self) -> Option<&'static [u8]> {
        match self {
            Self::Safetensors(tensor) => tensor.halves_of_program(),
            _ => None,
        }
    }

    /// The values that quantised ones stand for, in single precision.
    fn dequantised(self, quantization: Vec<f32>, key: &str) -> Result<Vec<f32>, Error> {
        let damaged = |reason: String| Error::Unreadable {
            path: key.into(),
            reason,
        };
        let (Self::Safetensors(tensor), [scale, minimum]) = (self, quantization.as_slice()) else {
            return Err(damaged("its quantisation is no scale and minimum".into()));
        };
        if !tensor.is_bytes() {
            return Err(damaged("it has a quantisation and is no bytes".into()));
        }
        let (scale, minimum) = (f64::from(*scale), f64::from(*minimum));
        let bytes = tensor.bytes().map_err(damaged)?;
        let value = |byte| (f64::from(byte) * scale + minimum) as f32;
        Ok(bytes.iter().map(|byte| value(*byte)).collect())
    }

    /// The values in single precision.
    pub(crate) fn values(self, key: &str) -> Result<Vec<f32>, Error> {
        let damaged = |reason: String| Error::Unreadable {
            path: key.into(),
            reason,
        };
        let tensor = match self {
            Self::Made { values, .. } => return Ok(values),
            Self::PyTorch(tensor) => tensor,
            Self::Safetensors(tensor) => return tensor.values().map_err(damaged),
        };
        let data = bridge::into_data(tensor).map_err(|error| damaged(error.to_string()))?;
        if !data.dtype().is_float() {
            return Err(damaged(format!(
                "elements are {:?}, expected floating point",
                data.dtype()
            )));
        }
        data.convert::<f32>()
            .try_into_vec()
            .map_err(|error| damaged(format!("{error:?}")))
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn digest(path: &Path) -> Result<Sha256Hex, Error> {
    File::open(path)
        .and_then(Sha256Hex::of_reader)
        .map_err(|source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })
}

fn stored(tensors: BTreeMap<String, safetensors::Stored>) -> BTreeMap<String, Entry> {
    let entry = |(key, tensor)| (key, Entry::Safetensors(tensor));
    tensors.into_iter().map(entry).collect()
}

/// The tensors of a PyTorch file by name.
fn pytorch(path: &Path) -> Result<BTreeMap<String, Entry>, String> {
    // Renumbering would close the gaps that `nn.Sequential` leaves in names.
    let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
    let tensors = store.get_all_tensors().map_err(|error| error.to_string())?;
    Ok(tensors
        .iter()
        .map(|(key, tensor)| (key.clone(), Entry::PyTorch(tensor.clone())))
        .collect())
}
