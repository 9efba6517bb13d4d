//! Where a model computes.

use crate::precision::Precision;

/// A device on which a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Burn's `flex` backend: SIMD and threads, no driver.
    #[default]
    Cpu,
}

impl Device {
    /// The device's name.
    pub fn name(self) -> &'static str {
        self.name_in(Precision::F32)
    }

    /// Its name and the precision, where that is not single, as answers show them.
    pub fn name_in(self, precision: Precision) -> &'static str {
        match (self, precision) {
            (Self::Cpu, Precision::F32) => "cpu",
            (Self::Cpu, Precision::Bf16) => "cpu (bf16)",
        }
    }

    pub(crate) fn burn(self) -> burn::tensor::Device {
        match self {
            Self::Cpu => burn::tensor::Device::flex(),
        }
    }
}
