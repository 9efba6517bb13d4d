//! Where a model computes. The CPU backend is always there, others are features.

use crate::Error;

/// The names of the devices of this build.
pub const AVAILABLE: &[&str] = &[
    "cpu",
    #[cfg(feature = "wgpu")]
    "wgpu",
];

/// A device on which a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Burn's `flex` backend: SIMD and threads, no driver.
    #[default]
    Cpu,
    /// A GPU through WebGPU.
    #[cfg(feature = "wgpu")]
    Wgpu,
}

impl Device {
    /// The device of this name (`cpu`, and what the build's features add).
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], naming those of this build.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "cpu" => Ok(Self::Cpu),
            #[cfg(feature = "wgpu")]
            "wgpu" | "gpu" => Ok(Self::Wgpu),
            _ => Err(Error::UnknownDevice(name.to_owned())),
        }
    }

    /// The device's name, as answers show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            #[cfg(feature = "wgpu")]
            Self::Wgpu => "wgpu",
        }
    }

    pub(crate) fn burn(self) -> burn::tensor::Device {
        match self {
            Self::Cpu => burn::tensor::Device::flex(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => burn::tensor::Device::wgpu(Default::default()),
        }
    }
}
