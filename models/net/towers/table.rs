//! The embeddings of a vocabulary. A text needs a few rows of it, so that they are read where they
//! are, mapped from the record, and the table is never laid out in memory or put onto a device.

use burn::tensor::{DType, Device, Tensor, TensorData, f16};

use crate::error::Error;
use crate::net::weights::Scope;

/// A row for each token.
pub(super) struct TokenTable {
    /// `[vocabulary, width]`, in single or half precision.
    entries: TensorData,
    width: usize,
    device: Device,
}

impl TokenTable {
    pub(super) fn new(
        vocabulary: usize,
        width: usize,
        half: bool,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        let dtype = if half { DType::F16 } else { DType::F32 };
        let (entries, device) = scope.take_data("tokens", &[vocabulary, width], dtype)?;
        Ok(Self {
            entries,
            width,
            device,
        })
    }

    /// The device that rows are for.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The rows of some tokens: `[tokens, width]`.
    pub(super) fn rows(&self, ids: &[u32]) -> Tensor<2> {
        let bytes = self.entries.as_bytes();
        let size = self.entries.dtype().size();
        let row = |id: &u32| &bytes[*id as usize * self.width * size..][..self.width * size];
        let rows = ids.iter().map(row);
        let values: Vec<f32> = match self.entries.dtype() {
            DType::F16 => rows
                .flat_map(|row| row.as_chunks().0)
                .map(|bytes| f16::from_ne_bytes(*bytes).to_f32())
                .collect(),
            _ => rows
                .flat_map(|row| row.as_chunks().0)
                .map(|bytes| f32::from_ne_bytes(*bytes))
                .collect(),
        };
        Tensor::from_data(
            TensorData::new(values, [ids.len(), self.width]),
            &self.device,
        )
    }
}
