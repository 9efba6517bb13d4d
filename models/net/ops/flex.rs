//! In and out of the CPU backend's tensors.

use std::cell::Cell;

use burn::backend::Flex;
use burn::tensor::{Bytes, DType, Shape, Tensor};

use super::share::on_the_pool;

thread_local! {
    /// Whether this thread leaves our kernels out, to compare with Burn's operations.
    static STOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs what every other device runs: Burn's own operations only.
pub(crate) fn with_stock_operations<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    /// Puts the kernels back, even when the run panics.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            STOCK.set(false);
        }
    }
    on_the_pool(|| {
        STOCK.set(true);
        let _back = Back;
        run()
    })
}

/// Whether this thread leaves our kernels out.
pub(super) fn is_stock() -> bool {
    STOCK.get()
}

/// The elements of a tensor on the CPU backend, contiguous; the tensor itself when it is on
/// another device.
#[allow(
    clippy::result_large_err,
    reason = "the error is the tensor itself, handed back"
)]
pub(super) fn open<const D: usize>(tensor: Tensor<D>) -> Result<Buffer, Tensor<D>> {
    if is_stock() || tensor.dtype() != DType::F32 {
        return Err(tensor);
    }
    match tensor.clone().try_into_primitive::<Flex>() {
        Ok(primitive) => {
            drop(tensor);
            Ok(Buffer::of(primitive))
        }
        Err(_) => Err(tensor),
    }
}

/// A contiguous tensor of the CPU backend, which may be a part of another one.
pub(super) struct Buffer(burn::backend::flex::FlexTensor);

impl Buffer {
    fn of(tensor: burn::backend::flex::FlexTensor) -> Self {
        Self(match tensor.layout().is_contiguous() {
            true => tensor,
            false => tensor.to_contiguous(),
        })
    }

    pub(super) fn read(&self) -> &[f32] {
        let layout = self.0.layout();
        &self.0.storage()[layout.start_offset()..][..layout.num_elements()]
    }

    /// Copied first if another tensor shares the elements.
    pub(super) fn write(&mut self) -> &mut [f32] {
        // As it is where it is all of its elements.
        self.0 = self.0.to_contiguous();
        self.0.storage_mut()
    }

    pub(super) fn close<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.0)
    }
}

/// A new tensor on the CPU backend.
pub(super) fn tensor<const D: usize>(elements: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    use burn::backend::flex::{FlexTensor, Layout};
    let layout = Layout::contiguous(Shape::from(shape));
    Tensor::from_primitive::<Flex>(FlexTensor::new(
        Bytes::from_elems(elements),
        layout,
        DType::F32,
    ))
}
