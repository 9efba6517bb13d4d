//! What a plugin's pointers point to, read with every length checked first.

use std::sync::Arc;

use omnizap_contract::abi;

use super::MAX_ALLOCATED;
use crate::manifest::OutputPort;

/// Most items of a list that a plugin gives.
const MAX_ITEMS: usize = 1 << 16;
/// Largest tensor or picture that a plugin gives, in bytes: twice the limit of what the host would
/// allocate is no output of anything.
pub(super) const MAX_TENSOR: usize = 2 * MAX_ALLOCATED;
/// Longest text or JSON that a plugin gives, in bytes.
pub(super) const MAX_TEXT: usize = 16 << 20;

/// The start and the shape of a tensor that is row-major without gaps.
///
/// # Safety
/// `shape` and `strides` must be readable for `ndim` entries.
pub(super) unsafe fn flat(
    tensor: &abi::Tensor,
    (code, bits): (u8, u8),
    size: usize,
) -> Result<(*const u8, Vec<usize>), String> {
    if (tensor.dtype_code, tensor.dtype_bits, tensor.dtype_lanes) != (code, bits, 1) {
        return Err(format!(
            "has the dtype {}/{} x {}, expected {code}/{bits} x 1",
            tensor.dtype_code, tensor.dtype_bits, tensor.dtype_lanes
        ));
    }
    if tensor.device_type != abi::DEVICE_CPU {
        return Err(format!(
            "is on device {}, expected 1 (CPU)",
            tensor.device_type
        ));
    }
    let axes = usize::try_from(tensor.ndim)
        .ok()
        .filter(|axes| *axes <= abi::MAX_AXES);
    let axes =
        axes.ok_or_else(|| format!("has {} axes, expected 0 to {}", tensor.ndim, abi::MAX_AXES))?;
    if axes > 0 && tensor.shape.is_null() {
        return Err("has no shape".into());
    }
    let mut shape = Vec::with_capacity(axes);
    let mut elements = 1_usize;
    for axis in 0..axes {
        // SAFETY: promised by the caller; at any address.
        let side = unsafe { tensor.shape.add(axis).read_unaligned() };
        let side = usize::try_from(side).map_err(|_| format!("has an axis of length {side}"))?;
        let product = elements.checked_mul(side);
        elements = product
            .filter(|elements| elements.saturating_mul(size) <= MAX_TENSOR)
            .ok_or_else(|| format!("has {side} in its shape: too large"))?;
        shape.push(side);
    }
    if !tensor.strides.is_null() {
        let mut step = 1_i64;
        for axis in (0..axes).rev() {
            // SAFETY: promised by the caller; at any address.
            let stride = unsafe { tensor.strides.add(axis).read_unaligned() };
            if shape[axis] > 1 && stride != step {
                return Err("has gaps or another order: give it row-major".into());
            }
            step = step.saturating_mul(shape[axis] as i64);
        }
    }
    if tensor.data.is_null() && elements > 0 {
        return Err("points to nothing".into());
    }
    let offset = usize::try_from(tensor.byte_offset).map_err(|_| "has a huge byte_offset")?;
    Ok((
        tensor.data.cast::<u8>().cast_const().wrapping_add(offset),
        shape,
    ))
}

pub(super) fn check_shape(declared: &OutputPort, shape: &[usize]) -> Result<(), String> {
    let Some(wanted) = &declared.shape else {
        return Ok(());
    };
    let fits = wanted.len() == shape.len()
        && wanted
            .iter()
            .zip(shape)
            .all(|(wanted, side)| *wanted < 0 || *wanted as usize == *side);
    if fits {
        return Ok(());
    }
    let wanted: Vec<String> = wanted
        .iter()
        .map(|side| {
            if *side < 0 {
                "any".into()
            } else {
                side.to_string()
            }
        })
        .collect();
    Err(format!(
        "has the shape {shape:?}, declared is [{}]",
        wanted.join(", ")
    ))
}

/// # Safety
/// `data` must be readable for `len` elements, or `len` be 0.
pub(super) unsafe fn copy<T: Copy + Default>(data: *const u8, len: usize) -> Arc<[T]> {
    let mut out = vec![T::default(); len];
    // SAFETY: promised by the caller; bytes, so that no alignment is asked of the plugin.
    unsafe { std::ptr::copy_nonoverlapping(data, out.as_mut_ptr().cast(), len * size_of::<T>()) };
    out.into()
}

/// The length of a text, if it may be that long.
pub(super) fn utf8_len(span: abi::Span) -> Result<usize, String> {
    if span.len > MAX_TEXT {
        return Err(format!(
            "holds a text of {} bytes, at most {MAX_TEXT} are allowed",
            span.len
        ));
    }
    if span.len > 0 && span.data.is_null() {
        return Err("points to nothing".into());
    }
    Ok(span.len)
}

/// # Safety
/// The span must be readable.
pub(super) unsafe fn utf8<'s>(span: abi::Span) -> Result<&'s str, String> {
    let len = utf8_len(span)?;
    if len == 0 {
        return Ok("");
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(span.data, len) };
    std::str::from_utf8(bytes).map_err(|_| "is not valid UTF-8".into())
}

/// # Safety
/// `items` must be readable for `item_count` of `T`.
pub(super) unsafe fn items<'s, T>(value: &abi::Value) -> Result<&'s [T], String> {
    if value.item_count == 0 {
        return Ok(&[]);
    }
    if value.items.is_null() || !value.items.cast::<T>().is_aligned() {
        return Err("points to nothing, or not to items".into());
    }
    if value.item_count > MAX_ITEMS {
        return Err(format!(
            "has {} items, at most {MAX_ITEMS} are allowed",
            value.item_count
        ));
    }
    // SAFETY: promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts(value.items.cast(), value.item_count) })
}
