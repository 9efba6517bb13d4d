//! Outputs handed to the host.

use std::ffi::c_void;

use omnizap_contract::{Error, Outputs, TensorData, Value, abi};

use crate::raw::HostRef;
use crate::stage::Stage;

/// Hands the outputs to the host: texts and numbers are copied by it, big data stay here
/// until it releases them.
pub(super) fn give<S: Stage>(
    host: &HostRef,
    call: *mut abi::Call,
    outputs: Outputs,
) -> Result<(), (abi::Status, Error)> {
    for (index, port) in S::DESCRIPTOR.outputs.iter().enumerate() {
        let Some(value) = outputs.value(port.name) else {
            continue;
        };
        if put(host, call, index, value) != abi::OK {
            let refused = format!("the host refused the output `{}`", port.name);
            return Err((abi::REFUSED, Error::internal(refused)));
        }
    }
    Ok(())
}

fn put(host: &HostRef, call: *mut abi::Call, index: usize, value: &Value) -> abi::Status {
    let Some(put_output) = host.table().put_output else {
        return abi::UNSUPPORTED;
    };
    let mut out = abi::Value::ABSENT;
    out.r#type = crate::descriptor::number(value.port_type());
    let mut shape: Vec<i64> = Vec::new();
    let mut spans: Vec<abi::Span> = Vec::new();
    let mut scores: Vec<abi::Score> = Vec::new();
    let mut json = String::new();
    let mut data: *const u8 = std::ptr::null();
    let mut dtype = (0, 0);
    match value {
        Value::Bytes(bytes) => out.bytes = abi::Span::of_bytes(bytes),
        Value::Image(image) => {
            out.layout = image.channels.count() as u32;
            shape.extend([
                i64::from(image.height),
                i64::from(image.width),
                image.channels.count() as i64,
            ]);
            (data, dtype) = (image.pixels.as_ptr(), (abi::DTYPE_UINT, 8));
        }
        Value::Embedding(embedding) => {
            out.bytes = abi::Span::of(&embedding.model);
            shape.push(embedding.vector.len() as i64);
            (data, dtype) = (embedding.vector.as_ptr().cast(), (abi::DTYPE_FLOAT, 32));
        }
        Value::Tensor(tensor) => {
            shape.extend(tensor.shape.iter().map(|side| *side as i64));
            (data, dtype) = match &tensor.data {
                TensorData::F32(data) => (data.as_ptr().cast(), (abi::DTYPE_FLOAT, 32)),
                TensorData::I64(data) => (data.as_ptr().cast(), (abi::DTYPE_INT, 64)),
                TensorData::U8(data) => (data.as_ptr(), (abi::DTYPE_UINT, 8)),
            };
        }
        Value::Scores(list) => scores.extend(list.iter().map(|score| abi::Score {
            label: abi::Span::of(&score.label),
            logit: score.logit,
            probability: score.probability,
        })),
        Value::Text(text) => out.bytes = abi::Span::of(text),
        Value::TextList(list) => spans.extend(list.iter().map(|text| abi::Span::of(text))),
        Value::Number(number) => out.number = *number,
        Value::Integer(integer) => out.integer = *integer,
        Value::Bool(bool) => out.integer = i64::from(*bool),
        Value::Json(value) => {
            json = value.to_string();
            out.bytes = abi::Span::of(&json);
        }
    }
    if !data.is_null() {
        out.tensor = abi::Tensor {
            data: data.cast_mut().cast(),
            device_type: abi::DEVICE_CPU,
            ndim: shape.len() as i32,
            dtype_code: dtype.0,
            dtype_bits: dtype.1,
            dtype_lanes: 1,
            shape: shape.as_ptr(),
            ..abi::Tensor::EMPTY
        };
    }
    if !spans.is_empty() {
        (out.items, out.item_count) = (spans.as_ptr().cast(), spans.len());
    }
    if !scores.is_empty() {
        (out.items, out.item_count) = (scores.as_ptr().cast(), scores.len());
    }
    // Pixels, bytes and tensors stay where they are: a clone shares them until release.
    let (release, owner): (Option<abi::ReleaseFn>, _) = match value {
        Value::Bytes(_) | Value::Image(_) | Value::Tensor(_) => (
            Some(release_value),
            Box::into_raw(Box::new(value.clone())).cast(),
        ),
        _ => (None, std::ptr::null_mut()),
    };
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    // SAFETY: the call has not returned; all that the value points to lives until then.
    let status = unsafe { put_output(call, index, &raw const out, release, owner) };
    drop((shape, spans, scores, json));
    status
}

unsafe extern "C" fn release_value(owner: *mut c_void) {
    // SAFETY: made by `put`, released once.
    drop(unsafe { Box::from_raw(owner.cast::<Value>()) });
}
