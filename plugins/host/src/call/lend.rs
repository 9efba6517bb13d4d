//! Inputs lent to a plugin: views of values, without a copy.

use std::ffi::c_void;
use std::sync::Arc;

use omnizap_contract::{Inputs, TensorData, Value, abi};

use crate::manifest::StageManifest;
use crate::types;

/// The inputs of a call as the ABI shows them. Pixels, vectors and texts stay where they are.
pub(crate) struct Views {
    pub(crate) values: Vec<abi::Value>,
    /// Shapes of few sides, with room for one of each input: it never grows, so they stay
    /// where the views say.
    shapes: Vec<[i64; FEW_SIDES]>,
    kept: Vec<Kept>,
}

/// As many sides as pictures, embeddings and most tensors have.
const FEW_SIDES: usize = 4;

/// What the values point to and no input holds.
#[expect(dead_code, reason = "read by the plugin")]
enum Kept {
    Shape(Arc<[i64]>),
    Spans(Vec<abi::Span>),
    Scores(Vec<abi::Score>),
    Text(String),
}

impl Views {
    pub(crate) fn of(manifest: &StageManifest, inputs: &Inputs) -> Self {
        let mut views = Self {
            values: Vec::with_capacity(manifest.inputs.len()),
            shapes: Vec::with_capacity(manifest.inputs.len()),
            kept: Vec::new(),
        };
        for port in &manifest.inputs {
            let value = inputs.value(&port.name);
            let view = value.map_or(abi::Value::ABSENT, |value| views.view(value));
            views.values.push(view);
        }
        views
    }

    fn view(&mut self, value: &Value) -> abi::Value {
        let mut out = abi::Value::ABSENT;
        out.r#type = types::number(value.port_type());
        match value {
            Value::Bytes(bytes) => out.bytes = abi::Span::of_bytes(bytes),
            Value::Image(image) => {
                let shape = [
                    i64::from(image.height),
                    i64::from(image.width),
                    image.channels.count() as i64,
                ];
                out.layout = types::layout(image.channels);
                out.tensor =
                    self.tensor(image.pixels.as_ptr().cast(), &shape, (abi::DTYPE_UINT, 8));
            }
            Value::Embedding(embedding) => {
                let shape = [embedding.vector.len() as i64];
                let data = embedding.vector.as_ptr().cast();
                out.tensor = self.tensor(data, &shape, (abi::DTYPE_FLOAT, 32));
                out.bytes = abi::Span::of(&embedding.model);
            }
            Value::Scores(scores) => {
                let scores: Vec<abi::Score> = scores
                    .iter()
                    .map(|score| abi::Score {
                        label: abi::Span::of(&score.label),
                        logit: score.logit,
                        probability: score.probability,
                    })
                    .collect();
                out.items = scores.as_ptr().cast();
                out.item_count = scores.len();
                self.kept.push(Kept::Scores(scores));
            }
            Value::Tensor(tensor) => {
                let shape: Vec<i64> = tensor.shape.iter().map(|side| *side as i64).collect();
                let (data, dtype): (*const c_void, _) = match &tensor.data {
                    TensorData::F32(data) => (data.as_ptr().cast(), (abi::DTYPE_FLOAT, 32)),
                    TensorData::I64(data) => (data.as_ptr().cast(), (abi::DTYPE_INT, 64)),
                    TensorData::U8(data) => (data.as_ptr().cast(), (abi::DTYPE_UINT, 8)),
                };
                out.tensor = self.tensor(data, &shape, dtype);
            }
            Value::Text(text) => out.bytes = abi::Span::of(text),
            Value::TextList(list) => {
                let spans: Vec<abi::Span> = list.iter().map(|text| abi::Span::of(text)).collect();
                out.items = spans.as_ptr().cast();
                out.item_count = spans.len();
                self.kept.push(Kept::Spans(spans));
            }
            Value::Number(number) => out.number = *number,
            Value::Integer(integer) => out.integer = *integer,
            Value::Bool(bool) => out.integer = i64::from(*bool),
            Value::Json(json) => {
                let text = json.to_string();
                out.bytes = abi::Span::of(&text);
                self.kept.push(Kept::Text(text));
            }
        }
        out
    }

    fn tensor(
        &mut self,
        data: *const c_void,
        shape: &[i64],
        (dtype_code, dtype_bits): (u8, u8),
    ) -> abi::Tensor {
        let lent = if shape.len() <= FEW_SIDES && self.shapes.len() < self.shapes.capacity() {
            let mut few = [0; FEW_SIDES];
            few[..shape.len()].copy_from_slice(shape);
            self.shapes.push(few);
            self.shapes[self.shapes.len() - 1].as_ptr()
        } else {
            // Shared memory, which a pointer may lead into while its holder moves.
            let shape: Arc<[i64]> = shape.into();
            let start = shape.as_ptr();
            self.kept.push(Kept::Shape(shape));
            start
        };
        abi::Tensor {
            data: data.cast_mut(),
            device_type: abi::DEVICE_CPU,
            device_id: 0,
            ndim: shape.len() as i32,
            dtype_code,
            dtype_bits,
            dtype_lanes: 1,
            shape: lent,
            strides: std::ptr::null(),
            byte_offset: 0,
        }
    }
}
