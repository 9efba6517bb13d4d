//! Reading safetensors: a header in JSON, then the tensors' bytes. The header is parsed once and
//! each tensor read when it is taken, whatever its alignment.
//!
//! burn-store parses the header again for each tensor, which takes most of the time of an import.
//! <https://huggingface.co/docs/safetensors/index#format>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use burn::tensor::{bf16, f16};
use serde::Deserialize;

/// The longest header that is read, as in the reference implementation.
const LONGEST_HEADER: u64 = 100_000_000;

/// The bytes of a file.
#[derive(Clone)]
pub(super) struct Input(Place);

#[derive(Clone)]
enum Place {
    Disk(Arc<Mutex<File>>),
    Program(&'static [u8]),
}

impl Input {
    /// On disk.
    pub(super) fn of_file(file: File) -> Self {
        Self(Place::Disk(Arc::new(Mutex::new(file))))
    }

    /// In the program.
    pub(super) fn of_program(bytes: &'static [u8]) -> Self {
        Self(Place::Program(bytes))
    }

    /// How many.
    fn size(&self) -> Result<u64, String> {
        match &self.0 {
            Place::Disk(file) => {
                let file = file.lock().map_err(|_| FAILED.to_owned())?;
                let metadata = file.metadata().map_err(|error| error.to_string())?;
                Ok(metadata.len())
            }
            Place::Program(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Some of them.
    fn read(&self, start: u64, length: usize) -> Result<Cow<'static, [u8]>, String> {
        match &self.0 {
            Place::Disk(file) => {
                let mut file = file.lock().map_err(|_| FAILED.to_owned())?;
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| error.to_string())?;
                Ok(Cow::Owned(bytes))
            }
            Place::Program(bytes) => {
                let bytes = bytes
                    .get(start as usize..)
                    .and_then(|rest| rest.get(..length));
                bytes
                    .map(Cow::Borrowed)
                    .ok_or_else(|| "too short".to_owned())
            }
        }
    }
}

/// What a reader says behind one that panicked.
const FAILED: &str = "another reader failed";

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Described {
    dtype: Element,
    shape: Vec<usize>,
    /// First byte and the one after the last, from the end of the header.
    data_offsets: [u64; 2],
}

/// The elements that a trained model may have.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    U8,
    #[serde(rename = "BOOL")]
    Bool,
}

impl Element {
    fn size(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }
}

/// A tensor that is still in its file.
pub(crate) struct Stored {
    input: Input,
    element: Element,
    pub(super) shape: Vec<usize>,
    start: u64,
    length: usize,
}

/// The tensors of a file by name.
///
/// # Errors
/// What is wrong with the header, or that the file's length is not what it says.
pub(super) fn open(input: Input) -> Result<BTreeMap<String, Stored>, String> {
    let size = input.size()?;
    let length = input.read(0, 8).map_err(|_| "no header".to_owned())?;
    let length = length.as_array().ok_or("no header")?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER || length > size - 8 {
        return Err(format!("a header of {length} bytes in a file of {size}"));
    }
    let header = input.read(8, length as usize)?;
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|error| format!("header: {error}"))?;
    let (begin, mut end) = (8 + length, 8 + length);
    let mut tensors = BTreeMap::new();
    for (name, value) in header {
        if name == "__metadata__" {
            continue;
        }
        let described: Described =
            serde_json::from_value(value).map_err(|error| format!("'{name}': {error}"))?;
        let [first, last] = described.data_offsets;
        let elements = described
            .shape
            .iter()
            .try_fold(1u64, |product, side| product.checked_mul(*side as u64));
        let bytes = elements.and_then(|elements| elements.checked_mul(described.dtype.size()));
        if last < first || bytes != Some(last - first) || last > size - begin {
            return Err(format!(
                "'{name}' is said to be at {first} to {last} of {}",
                size - begin
            ));
        }
        end = end.max(begin + last);
        let stored = Stored {
            input: input.clone(),
            element: described.dtype,
            shape: described.shape,
            start: begin + first,
            length: (last - first) as usize,
        };
        tensors.insert(name, stored);
    }
    if end != size {
        return Err(format!("{size} bytes, its header tells of {end}"));
    }
    Ok(tensors)
}

impl Stored {
    /// Whether the elements are bytes.
    pub(super) fn is_bytes(&self) -> bool {
        self.element == Element::U8
    }

    /// The values in single precision.
    ///
    /// # Errors
    /// That the file cannot be read, or the elements are no floating point numbers.
    pub(super) fn values(&self) -> Result<Vec<f32>, String> {
        let bytes = self.bytes()?;
        let halves = bytes.as_chunks::<2>().0;
        Ok(match self.element {
            Element::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
            Element::F64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes) as f32)
                .collect(),
            Element::F16 => halves
                .iter()
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .collect(),
            Element::BF16 => halves
                .iter()
                .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
                .collect(),
            Element::I64 | Element::I32 | Element::U8 | Element::Bool => {
                return Err("elements are integers, expected floating point".to_owned());
            }
        })
    }

    /// The elements as they are stored.
    ///
    /// # Errors
    /// That the file cannot be read.
    pub(super) fn bytes(&self) -> Result<Cow<'static, [u8]>, String> {
        self.input.read(self.start, self.length)
    }

    /// The elements where they lie, if they are of half precision and a part of the program, on a
    /// machine that reads numbers in the file's order.
    pub(super) fn halves_of_program(&self) -> Option<&'static [u8]> {
        if self.element != Element::F16 || cfg!(target_endian = "big") {
            return None;
        }
        match self.bytes() {
            Ok(Cow::Borrowed(halves)) => Some(halves),
            _ => None,
        }
    }
}
