//! In and out of the CPU backend's tensors.

use std::cell::Cell;

use burn::backend::Flex;
use burn::tensor::{Bytes, DType, Shape, Tensor};

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

/// Runs on one of rayon's threads, so that the hundreds of operations of a tower share work with
/// the others from there and do not each hand it over and wait.
pub(crate) fn on_the_pool<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| run())
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
            Ok(Buffer(primitive.to_contiguous()))
        }
        Err(_) => Err(tensor),
    }
}

/// A contiguous tensor of the CPU backend.
pub(super) struct Buffer(burn::backend::flex::FlexTensor);

impl Buffer {
    pub(super) fn read(&self) -> &[f32] {
        self.0.storage()
    }

    /// Copied first if another tensor shares the elements.
    pub(super) fn write(&mut self) -> &mut [f32] {
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
