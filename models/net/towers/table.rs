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

    /// Channels of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The rows of some tokens, `[tokens, width]`.
    pub(super) fn rows(&self, ids: &[u32]) -> Vec<f32> {
        let bytes = self.entries.as_bytes();
        let size = self.entries.dtype().size();
        let row = |id: &u32| &bytes[*id as usize * self.width * size..][..self.width * size];
        let rows = ids.iter().map(row);
        match self.entries.dtype() {
            DType::F16 => rows
                .flat_map(|row| row.as_chunks().0)
                .map(|bytes| f16::from_ne_bytes(*bytes).to_f32())
                .collect(),
            _ => rows
                .flat_map(|row| row.as_chunks().0)
                .map(|bytes| f32::from_ne_bytes(*bytes))
                .collect(),
        }
    }

    /// Rows that were made on the host, `[rows, width]`, on the tower's device.
    pub(super) fn tensor(&self, rows: Vec<f32>, width: usize) -> Tensor<2> {
        let count = rows.len() / width;
        Tensor::from_data(TensorData::new(rows, [count, width]), &self.device)
    }
}
