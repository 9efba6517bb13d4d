//! In and out of the CPU backend's tensors.

use std::cell::{Cell, RefCell};

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

    /// Keeps what it occupies for later operations of this thread, where no tensor has it.
    pub(super) fn leave(self) {
        let Self(tensor) = self;
        if !tensor.is_unique() || tensor.layout().num_elements() > LARGEST_KEPT {
            return;
        }
        let Ok(room) = tensor.into_data().try_into_vec() else {
            return;
        };
        LEFT.with_borrow_mut(|left| {
            left.push(room);
            if left.len() > MOST_KEPT {
                // The largest take the system longest.
                let smallest = (0..left.len()).min_by_key(|&at| left[at].capacity());
                smallest.map(|at| left.swap_remove(at));
            }
        });
    }
}

/// Elements of the largest buffers that are kept for later operations, and how many a thread keeps:
/// the maps before, within and behind a block. The largest are those behind a stem, where the system
/// would take longer to find memory than the block takes to fill it.
const LARGEST_KEPT: usize = 1 << 20;
const MOST_KEPT: usize = 3;
/// Times what is asked for that a buffer may be long. An embedding must not take a map's: it may be
/// kept for long, and the next map would have none.
const MOST_UNUSED: usize = 64;

thread_local! {
    /// What maps that nobody wants any more have left.
    static LEFT: RefCell<Vec<Vec<f32>>> = RefCell::default();
}

/// Room for so many elements, every one of which is to be written: what was there before still is.
/// Zeros would take one thread as long to write as many an operation takes all of them.
pub(super) fn room(length: usize) -> Vec<f32> {
    let mut room = left(length);
    room.resize(length, 0.0);
    if cfg!(test) {
        room.fill(f32::NAN);
    }
    room
}

/// A buffer with nothing in it, to which so many elements can be added.
pub(super) fn empty(length: usize) -> Vec<f32> {
    let mut room = left(length);
    room.clear();
    room.reserve_exact(length);
    room
}

/// What an earlier map has left and so many elements fit into, as it is, else a new buffer.
fn left(length: usize) -> Vec<f32> {
    let left = LEFT.with_borrow_mut(|left| {
        let fits = |at: &usize| (length..=MOST_UNUSED * length).contains(&left[*at].capacity());
        let fitting = (0..left.len()).filter(fits);
        let smallest = fitting.min_by_key(|&at| left[at].capacity())?;
        Some(left.swap_remove(smallest))
    });
    left.unwrap_or_default()
}

/// Keeps what a tensor occupies for later operations of this thread, where nobody else has it.
pub(super) fn leave<const D: usize>(tensor: Tensor<D>) {
    if let Ok(buffer) = open(tensor) {
        buffer.leave();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn left() -> Vec<usize> {
        let mut left = LEFT.with_borrow(|left| left.iter().map(Vec::capacity).collect::<Vec<_>>());
        left.sort_unstable();
        left
    }

    #[test]
    fn maps_take_what_earlier_ones_left_and_few_numbers_do_not() {
        let map = |length: usize| {
            let mut elements = room(length);
            elements.fill(1.0);
            tensor(elements, [length])
        };
        let lengths = [1 << 10, 1 << 14, 1 << 12, LARGEST_KEPT, LARGEST_KEPT + 1];
        for map in lengths.map(map) {
            let before = left();
            leave(map.clone());
            assert_eq!(left(), before, "another tensor has it");
            leave(map);
        }
        // The largest of those that may be kept.
        assert_eq!(left(), [1 << 12, 1 << 14, LARGEST_KEPT]);
        let (small, large) = (map(5000), map(1 << 15));
        assert_eq!(left(), [1 << 12]);
        leave(small);
        leave(large);
        // A hundredth of one takes none.
        let few = room((1 << 12) / (MOST_UNUSED + 1));
        assert_eq!(left(), [1 << 12, 1 << 14, LARGEST_KEPT]);
        assert!(few.iter().all(|number| number.is_nan()));
    }
}
