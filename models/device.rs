//! Where a model computes: which devices there are, how each is opened, and how it is given its work.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::error::Error;
use crate::net::ops;
use crate::precision::Precision;

/// A device on which a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Burn's `flex` backend with kernels of ours: SIMD and threads, no driver.
    #[default]
    Cpu,
    /// A GPU by Burn's `wgpu` backend and Vulkan, where the crate has its feature `wgpu`.
    Wgpu,
}

impl Device {
    /// Every device, whether this build has it or not.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Wgpu];

    /// The device's name, as settings and answers have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        }
    }

    /// Its name and the precision, where that is not single, as answers show them.
    pub fn name_in(self, precision: Precision) -> &'static str {
        match (self, precision) {
            (Self::Cpu, Precision::Bf16) => "cpu (bf16)",
            (device, _) => device.name(),
        }
    }

    /// The device of this name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        let is_it = |device: &Self| device.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    /// Whether this build has it, and computes in this precision on it. Nothing is opened.
    ///
    /// # Errors
    /// [`Error::DeviceNotBuilt`] and [`Error::PrecisionOfDevice`].
    pub fn check(self, precision: Precision) -> Result<(), Error> {
        match (self, precision) {
            (Self::Cpu, _) => Ok(()),
            (Self::Wgpu, _) if cfg!(not(feature = "wgpu")) => Err(Error::DeviceNotBuilt {
                device: self.name(),
            }),
            (Self::Wgpu, Precision::F32) => Ok(()),
            (Self::Wgpu, precision) => Err(Error::PrecisionOfDevice {
                device: self.name(),
                precision: precision.name(),
            }),
        }
    }

    /// Opens it, or gives it again: a device is opened once a process.
    ///
    /// # Errors
    /// Those of [`Device::check`], and [`Error::NoDevice`] where no driver gives one.
    pub(crate) fn open(self, precision: Precision) -> Result<burn::tensor::Device, Error> {
        self.check(precision)?;
        match self {
            Self::Cpu => Ok(burn::tensor::Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => wgpu::open(),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu => unreachable!("the check refuses it"),
        }
    }

    /// Runs something for so many pictures, and gives what came of them in their order: on the
    /// processor for some at a time, on a GPU for all of them at once.
    pub(crate) fn for_pictures<T: Send>(
        self,
        count: usize,
        run: impl Fn(Range<usize>) -> T + Send + Sync,
    ) -> Vec<T> {
        match self {
            Self::Cpu => ops::for_pictures(count, run),
            Self::Wgpu => vec![run(0..count)],
        }
    }

    /// Waits until all that was put onto it is there.
    ///
    /// # Errors
    /// [`Error::DeviceFailed`], where its memory is too small for one.
    pub(crate) fn finish(self, open: &burn::tensor::Device) -> Result<(), Error> {
        open.sync().map_err(|error| self.failed(error))
    }

    /// Waits for a tensor, and fetches its elements.
    ///
    /// # Errors
    /// [`Error::DeviceFailed`].
    pub(crate) fn read<const D: usize>(self, tensor: Tensor<D>) -> Result<Vec<f32>, Error> {
        let read = tensor.try_into_vec_as::<f32>();
        read.map_err(|error| self.failed(error))
    }

    fn failed(self, reason: impl ToString) -> Error {
        Error::DeviceFailed {
            device: self.name(),
            reason: reason.to_string(),
        }
    }

    /// Runs a tower: with all threads of the processor, or where only a GPU has work, with none but
    /// this one.
    pub(crate) fn run<T: Send>(self, run: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Cpu => ops::on_the_pool(run),
            Self::Wgpu => run(),
        }
    }
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use std::sync::{Mutex, PoisonError};

    use burn::tensor::Device;
    use burn::tensor::wgpu::WgpuBackend;
    use burn::tensor::wgpu::wgpu::DeviceType;

    use crate::error::Error;

    /// The device once it is open: Burn opens none twice.
    static OPEN: Mutex<Option<Device>> = Mutex::new(None);

    pub(super) fn open() -> Result<Device, Error> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = &*open {
            return Ok(device.clone());
        }
        let options = Device::wgpu_options().graphics_api(WgpuBackend::Vulkan);
        let (device, setup) = options.init_with_setup().map_err(|error| Error::NoDevice {
            device: super::Device::Wgpu.name(),
            reason: error.to_string(),
        })?;
        let found = setup.adapter.get_info();
        tracing::info!(name = found.name, driver = found.driver, "device opened");
        if found.device_type == DeviceType::Cpu {
            tracing::warn!(
                name = found.name,
                "this is no GPU but a program that stands in for one: the device cpu is faster"
            );
        }
        Ok(open.insert(device).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in Device::ALL {
            assert_eq!(Device::of_name(device.name()), Some(device));
        }
        assert_eq!(Device::of_name("WGPU"), Some(Device::Wgpu));
        assert_eq!(Device::of_name("cuda"), None);
        assert_eq!(Device::default(), Device::Cpu);
        assert_eq!(Device::Cpu.name_in(Precision::Bf16), "cpu (bf16)");
        assert_eq!(Device::Wgpu.name_in(Precision::F32), "wgpu");
    }

    #[test]
    fn what_cannot_be_is_told_before_anything_is_opened() {
        for precision in Precision::ALL {
            assert!(Device::Cpu.check(precision).is_ok());
        }
        let said = |precision| match Device::Wgpu.check(precision) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        if cfg!(feature = "wgpu") {
            assert_eq!(said(Precision::F32), "");
            let said = said(Precision::Bf16);
            assert!(said.contains("CLIP_PRECISION"), "{said}");
        } else {
            let said = said(Precision::F32);
            assert!(said.contains("--features wgpu"), "{said}");
        }
    }

    #[test]
    fn every_device_runs_all_pictures_in_their_order() {
        for device in Device::ALL {
            for count in [1, 2, 5, 16] {
                let pictures = device.for_pictures(count, |some| some.collect::<Vec<_>>());
                let all: Vec<usize> = pictures.into_iter().flatten().collect();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
            assert_eq!(device.run(|| 7), 7);
        }
    }
}
