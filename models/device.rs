//! Where a model computes.

/// A device on which a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Burn's `flex` backend: SIMD and threads, no driver.
    #[default]
    Cpu,
}

impl Device {
    /// The device's name, as answers show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }

    pub(crate) fn burn(self) -> burn::tensor::Device {
        match self {
            Self::Cpu => burn::tensor::Device::flex(),
        }
    }
}
