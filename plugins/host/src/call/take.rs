//! Outputs taken from a plugin: checked against what it declares, and copied only where the
//! host keeps them in another form.

use std::sync::Arc;

use bytes::Bytes;
use omnizap_contract::{Embedding, Image, PortType, Score, Scores, Tensor, TensorData, Value, abi};

use super::Given;
use super::memory::{Lent, Owner, Taken};
use super::read::{check_shape, copy, flat, items, utf8};
use crate::manifest::OutputPort;
use crate::types;

impl Given {
    /// # Safety
    /// As [`Self::put`].
    pub(super) unsafe fn take(
        &self,
        declared: &OutputPort,
        value: &abi::Value,
        owner: &mut Option<Owner>,
    ) -> Result<Value, String> {
        // SAFETY (all below): the plugin lends what the value points to for the call.
        Ok(match declared.port.ty {
            PortType::Bytes => {
                let span = value.bytes;
                Value::Bytes(unsafe { self.bytes(span.data, span.len, owner) }?)
            }
            PortType::Image => {
                let (data, shape) = unsafe { flat(&value.tensor, (abi::DTYPE_UINT, 8), 1) }?;
                let channels = types::channels(value.layout)
                    .ok_or_else(|| format!("has the unknown layout {}", value.layout))?;
                let [height, width, samples] = shape[..] else {
                    return Err(format!(
                        "has the shape {shape:?}, expected [height, width, samples]"
                    ));
                };
                let side = |side: usize| u32::try_from(side).ok().filter(|side| *side > 0);
                let (Some(width), Some(height)) = (side(width), side(height)) else {
                    return Err(format!(
                        "has the shape {shape:?}, expected sides of at least 1"
                    ));
                };
                if samples != channels.count() {
                    return Err(format!(
                        "has the shape {shape:?}, and its layout has {} samples a pixel",
                        channels.count()
                    ));
                }
                let len = shape.iter().product();
                let pixels = unsafe { self.bytes(data, len, owner) }?;
                let image = Image::new(width, height, channels, pixels);
                Value::from(image.ok_or("has pixels that do not fill its shape")?)
            }
            PortType::Embedding => {
                let (data, shape) = unsafe { flat(&value.tensor, (abi::DTYPE_FLOAT, 32), 4) }?;
                check_shape(declared, &shape)?;
                if shape.len() != 1 {
                    return Err(format!("has the shape {shape:?}, expected [dim]"));
                }
                Value::from(Embedding {
                    model: unsafe { utf8(value.bytes) }?.into(),
                    vector: unsafe { copy::<f32>(data, shape[0]) },
                })
            }
            PortType::Tensor => {
                let code = (value.tensor.dtype_code, value.tensor.dtype_bits);
                let size = match code {
                    (abi::DTYPE_FLOAT, 32) => 4,
                    (abi::DTYPE_INT, 64) => 8,
                    (abi::DTYPE_UINT, 8) => 1,
                    (code, bits) => {
                        return Err(format!(
                            "has the dtype {code}/{bits}, expected f32, i64 or u8"
                        ));
                    }
                };
                let (data, shape) = unsafe { flat(&value.tensor, code, size) }?;
                check_shape(declared, &shape)?;
                let len = shape.iter().product();
                let data = match size {
                    4 => TensorData::F32(unsafe { copy::<f32>(data, len) }),
                    8 => TensorData::I64(unsafe { copy::<i64>(data, len) }),
                    _ => TensorData::U8(unsafe { self.bytes(data, len, owner) }?),
                };
                Value::from(Tensor::new(shape, data).ok_or("does not fill its shape")?)
            }
            PortType::Scores => {
                let scores: &[abi::Score] = unsafe { items(value) }?;
                let mut list = Vec::with_capacity(scores.len());
                for score in scores {
                    list.push(Score {
                        label: unsafe { utf8(score.label) }?.into(),
                        logit: score.logit,
                        probability: score.probability,
                    });
                }
                Value::from(Scores(list))
            }
            PortType::Text => Value::from(unsafe { utf8(value.bytes) }?),
            PortType::TextList => {
                let spans: &[abi::Span] = unsafe { items(value) }?;
                let texts = spans
                    .iter()
                    .map(|span| Ok(Arc::from(unsafe { utf8(*span) }?)));
                Value::from(texts.collect::<Result<Vec<Arc<str>>, String>>()?)
            }
            PortType::Number => Value::Number(value.number),
            PortType::Integer => Value::Integer(value.integer),
            PortType::Bool => match value.integer {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("is the bool {other}, expected 0 or 1")),
            },
            PortType::Json => {
                let json = serde_json::from_str::<serde_json::Value>(unsafe { utf8(value.bytes) }?);
                Value::from(json.map_err(|error| format!("is not JSON: {error}"))?)
            }
        })
    }

    /// Bytes that the host owns, that the plugin releases, or else a copy.
    ///
    /// # Safety
    /// As [`Self::put`].
    unsafe fn bytes(
        &self,
        data: *const u8,
        len: usize,
        owner: &mut Option<Owner>,
    ) -> Result<Bytes, String> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        if data.is_null() {
            return Err("points to nothing".into());
        }
        if let Some(owner) = owner.take() {
            return Ok(Bytes::from_owner(Lent {
                data,
                len,
                _owner: owner,
            }));
        }
        for buffer in &self.buffers {
            let offset = (data as usize).wrapping_sub(buffer.start() as usize);
            if offset < buffer.len() && len <= buffer.len() - offset {
                return Ok(Bytes::from_owner(Taken {
                    buffer: buffer.clone(),
                    offset,
                    len,
                }));
            }
        }
        // SAFETY: promised by the caller.
        Ok(Bytes::copy_from_slice(unsafe {
            std::slice::from_raw_parts(data, len)
        }))
    }
}
