//! A call of the host, as a stage reads it.

use std::marker::PhantomData;

use omnizap_contract::{Channels, abi};

use super::read::{bytes, text};
use crate::view::ImageView;

/// A call that has not returned.
#[derive(Clone, Copy)]
pub struct CallRef<'a>(pub(super) *mut abi::Call, PhantomData<&'a ()>);

// SAFETY: what a stage reads of a call does not change while it lasts.
unsafe impl Sync for CallRef<'_> {}
// SAFETY: as above.
unsafe impl Send for CallRef<'_> {}

impl<'a> CallRef<'a> {
    /// # Safety
    /// The call must not return before the reference is gone.
    pub(crate) unsafe fn new(call: *mut abi::Call) -> Self {
        Self(call, PhantomData)
    }

    fn value(&self, index: usize, ty: u32) -> Option<&'a abi::Value> {
        // SAFETY: the call has not returned, and `inputs` has `input_count` values.
        unsafe {
            let call = &*self.0;
            let value = (index < call.input_count).then(|| &*call.inputs.add(index))?;
            (value.r#type == ty).then_some(value)
        }
    }

    pub(crate) fn request_id(&self) -> &'a str {
        // SAFETY: the call has not returned.
        unsafe { text((*self.0).request_id) }
    }

    pub(crate) fn remaining_ns(&self) -> u64 {
        // SAFETY: the call has not returned.
        unsafe { (*self.0).remaining_ns }
    }

    pub(crate) fn text(&self, index: usize) -> Option<&'a str> {
        // SAFETY: lent until the call returns.
        self.value(index, abi::TEXT)
            .map(|value| unsafe { text(value.bytes) })
    }

    pub(crate) fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: lent until the call returns.
        self.value(index, abi::BYTES)
            .map(|value| unsafe { bytes(value.bytes) })
    }

    pub(crate) fn number(&self, index: usize) -> Option<f64> {
        self.value(index, abi::NUMBER).map(|value| value.number)
    }

    pub(crate) fn integer(&self, index: usize) -> Option<i64> {
        self.value(index, abi::INTEGER).map(|value| value.integer)
    }

    pub(crate) fn bool(&self, index: usize) -> Option<bool> {
        self.value(index, abi::BOOL).map(|value| value.integer != 0)
    }

    pub(crate) fn embedding(&self, index: usize) -> Option<&'a [f32]> {
        let value = self.value(index, abi::EMBEDDING)?;
        // SAFETY: an embedding is f32 [dim], lent until the call returns.
        unsafe {
            let dim = usize::try_from(*value.tensor.shape).ok()?;
            let first = usize::try_from(value.tensor.byte_offset).ok()?;
            let data = value
                .tensor
                .data
                .cast::<u8>()
                .cast_const()
                .wrapping_add(first);
            let data = data.cast::<f32>();
            let is_readable = !data.is_null() && data.is_aligned();
            is_readable.then(|| std::slice::from_raw_parts(data, dim))
        }
    }

    pub(crate) fn image(&self, index: usize) -> Option<ImageView<'a>> {
        let value = self.value(index, abi::IMAGE)?;
        let channels = match value.layout {
            abi::GRAY => Channels::Gray,
            abi::RGB => Channels::Rgb,
            abi::RGBA => Channels::Rgba,
            _ => return None,
        };
        // SAFETY: an image is u8 [height, width, samples], lent until the call returns.
        unsafe {
            let tensor = &value.tensor;
            let height = usize::try_from(*tensor.shape).ok()?;
            let width = usize::try_from(*tensor.shape.add(1)).ok()?;
            let len = height * width * channels.count();
            let first = usize::try_from(tensor.byte_offset).ok()?;
            let pixels = bytes(abi::Span {
                data: tensor.data.cast::<u8>().cast_const().wrapping_add(first),
                len,
            });
            (pixels.len() == len).then_some(ImageView {
                width,
                height,
                channels,
                pixels,
            })
        }
    }
}
