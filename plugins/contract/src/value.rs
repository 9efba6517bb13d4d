//! The values that travel between stages.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::OptionType;

/// The type of a port, and of the value that passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortType {
    /// Raw bytes, such as an uploaded file.
    Bytes,
    /// Decoded pixels: [`Image`].
    Image,
    /// A vector and the model that made it: [`Embedding`].
    Embedding,
    /// Labels with logit and probability: [`Scores`].
    Scores,
    /// A dense array of numbers: [`Tensor`].
    Tensor,
    /// One UTF-8 string.
    Text,
    /// A list of UTF-8 strings.
    TextList,
    /// A finite 64-bit floating point number.
    Number,
    /// A signed 64-bit integer.
    Integer,
    /// True or false.
    Bool,
    /// Any JSON value.
    Json,
}

impl PortType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Bytes,
        Self::Image,
        Self::Embedding,
        Self::Scores,
        Self::Tensor,
        Self::Text,
        Self::TextList,
        Self::Number,
        Self::Integer,
        Self::Bool,
        Self::Json,
    ];

    /// The type of an option that holds such a value, of any size; `None` for types that no
    /// option has.
    #[must_use]
    pub const fn option_type(self) -> Option<OptionType> {
        Some(match self {
            Self::Text => OptionType::Text,
            Self::TextList => OptionType::TextList,
            Self::Number => OptionType::Number {
                min: f64::MIN,
                max: f64::MAX,
            },
            Self::Integer => OptionType::Integer {
                min: i64::MIN,
                max: i64::MAX,
            },
            Self::Bool => OptionType::Bool,
            _ => return None,
        })
    }

    /// The value that JSON of just this type stands for; `None` for other JSON, and for types
    /// that JSON cannot hold.
    #[must_use]
    pub fn value_of(self, json: &Json) -> Option<Value> {
        match (self, json) {
            (Self::Text, Json::String(text)) => Some(Value::from(text.as_str())),
            (Self::Number, Json::Number(number)) => number.as_f64().map(Value::from),
            (Self::Integer, Json::Number(number)) => number.as_i64().map(Value::from),
            (Self::Bool, Json::Bool(bool)) => Some(Value::from(*bool)),
            (Self::TextList, Json::Array(items)) => {
                let items = items.iter().map(|item| item.as_str().map(Arc::from));
                items.collect::<Option<Vec<Arc<str>>>>().map(Value::from)
            }
            (Self::Json, _) => Some(Value::from(json.clone())),
            _ => None,
        }
    }

    /// The name that pipeline files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Image => "image",
            Self::Embedding => "embedding",
            Self::Scores => "scores",
            Self::Tensor => "tensor",
            Self::Text => "text",
            Self::TextList => "text_list",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Bool => "bool",
            Self::Json => "json",
        }
    }

    /// The type of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value. Cloning copies a pointer, never pixels or vectors.
#[derive(Clone, Debug)]
pub enum Value {
    /// Raw bytes.
    Bytes(Bytes),
    /// Decoded pixels.
    Image(Arc<Image>),
    /// A vector and the model that made it.
    Embedding(Arc<Embedding>),
    /// Labels with logit and probability.
    Scores(Arc<Scores>),
    /// A dense array of numbers.
    Tensor(Arc<Tensor>),
    /// One string.
    Text(Arc<str>),
    /// A list of strings.
    TextList(Arc<[Arc<str>]>),
    /// A finite number.
    Number(f64),
    /// An integer.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// Any JSON value.
    Json(Arc<serde_json::Value>),
}

impl Value {
    /// The port type that carries this value.
    #[must_use]
    pub const fn port_type(&self) -> PortType {
        match self {
            Self::Bytes(_) => PortType::Bytes,
            Self::Image(_) => PortType::Image,
            Self::Embedding(_) => PortType::Embedding,
            Self::Scores(_) => PortType::Scores,
            Self::Tensor(_) => PortType::Tensor,
            Self::Text(_) => PortType::Text,
            Self::TextList(_) => PortType::TextList,
            Self::Number(_) => PortType::Number,
            Self::Integer(_) => PortType::Integer,
            Self::Bool(_) => PortType::Bool,
            Self::Json(_) => PortType::Json,
        }
    }

    /// False where a number in it is NaN or infinite. Looks at every number of a
    /// vector, so it costs a pass over embeddings and tensors.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Number(number) => number.is_finite(),
            Self::Embedding(embedding) => embedding.vector.iter().all(|x| x.is_finite()),
            Self::Scores(scores) => scores
                .iter()
                .all(|score| score.logit.is_finite() && score.probability.is_finite()),
            Self::Tensor(tensor) => match &tensor.data {
                TensorData::F32(data) => data.iter().all(|x| x.is_finite()),
                TensorData::I64(_) | TensorData::U8(_) => true,
            },
            _ => true,
        }
    }

    /// What the value looks like in a response: a JSON value. Bytes, pixels and
    /// tensors are summarised by their size and shape, never spelled out.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            Self::Bytes(bytes) => json!({ "bytes": bytes.len() }),
            Self::Image(image) => json!({
                "width": image.width, "height": image.height, "channels": image.channels.count(),
            }),
            Self::Embedding(embedding) => json!({
                "model": &*embedding.model, "vector": *embedding.vector,
            }),
            Self::Scores(scores) => serde_json::Value::Object(
                scores
                    .iter()
                    .map(|score| (score.label.to_string(), json!(score.probability)))
                    .collect(),
            ),
            Self::Tensor(tensor) => json!({
                "dtype": tensor.data.dtype_name(), "shape": tensor.shape,
            }),
            Self::Text(text) => json!(&**text),
            Self::TextList(list) => list.iter().map(|text| json!(&**text)).collect(),
            Self::Number(number) => json!(number),
            Self::Integer(integer) => json!(integer),
            Self::Bool(bool) => json!(bool),
            Self::Json(json) => serde_json::Value::clone(json),
        }
    }

    /// The same, without a copy of JSON that nobody else has.
    #[must_use]
    pub fn into_json(self) -> serde_json::Value {
        match self {
            Self::Json(json) => Arc::unwrap_or_clone(json),
            other => other.to_json(),
        }
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Image> for Value {
    fn from(image: Image) -> Self {
        Self::Image(Arc::new(image))
    }
}

impl From<Embedding> for Value {
    fn from(embedding: Embedding) -> Self {
        Self::Embedding(Arc::new(embedding))
    }
}

impl From<Scores> for Value {
    fn from(scores: Scores) -> Self {
        Self::Scores(Arc::new(scores))
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(Arc::new(tensor))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Arc<str>>> for Value {
    fn from(list: Vec<Arc<str>>) -> Self {
        Self::TextList(list.into())
    }
}

impl From<Arc<[Arc<str>]>> for Value {
    fn from(list: Arc<[Arc<str>]>) -> Self {
        Self::TextList(list)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(Arc::new(json))
    }
}

/// How the samples of a pixel are laid out: 8 bits each, interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One sample: luminance.
    Gray,
    /// Three samples: red, green, blue.
    Rgb,
    /// Four samples: red, green, blue and straight (not premultiplied) alpha.
    Rgba,
}

impl Channels {
    /// Samples, and so bytes, per pixel.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// Decoded pixels: `[height, width, channels]`, 8 bits a sample, rows without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row; at least 1.
    pub width: u32,
    /// Rows; at least 1.
    pub height: u32,
    /// Samples per pixel.
    pub channels: Channels,
    /// `height * width * channels` bytes.
    pub pixels: Bytes,
}

impl Image {
    /// An image of those pixels, or `None` where their number does not fit the
    /// shape or a side is 0.
    #[must_use]
    pub fn new(width: u32, height: u32, channels: Channels, pixels: Bytes) -> Option<Self> {
        let samples = (width as usize)
            .checked_mul(height as usize)?
            .checked_mul(channels.count())?;
        (width > 0 && height > 0 && samples == pixels.len()).then_some(Self {
            width,
            height,
            channels,
            pixels,
        })
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Image({}x{} {:?})",
            self.width, self.height, self.channels
        )
    }
}

/// A vector in the space of one model: `[dim]`, L2 norm 1 unless its port says otherwise.
#[derive(Clone, PartialEq)]
pub struct Embedding {
    /// Which model, with which weights, made it: vectors of different models
    /// are never compared.
    pub model: Arc<str>,
    /// The numbers.
    pub vector: Arc<[f32]>,
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding([{}] of {})", self.vector.len(), self.model)
    }
}

/// What one label got.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The label, as the request spelled it.
    pub label: Arc<str>,
    /// Scaled cosine before the softmax.
    pub logit: f64,
    /// Share of 1 among all the labels of its list.
    pub probability: f64,
}

/// One score a label, in the order of the request's labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(pub Vec<Score>);

impl std::ops::Deref for Scores {
    type Target = [Score];
    fn deref(&self) -> &[Score] {
        &self.0
    }
}

/// The numbers of a [`Tensor`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floating point.
    F32(Arc<[f32]>),
    /// 64-bit signed integers.
    I64(Arc<[i64]>),
    /// 8-bit unsigned integers.
    U8(Bytes),
}

impl TensorData {
    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::U8(data) => data.len(),
        }
    }

    /// True where there is no number at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the element type: `f32`, `i64` or `u8`.
    #[must_use]
    pub const fn dtype_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::I64(_) => "i64",
            Self::U8(_) => "u8",
        }
    }
}

/// A dense array: `shape` in elements, row-major without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many numbers as the product of the shape.
    pub data: TensorData,
}

impl Tensor {
    /// A tensor of that shape, or `None` where the numbers do not fill it.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: TensorData) -> Option<Self> {
        let elements = shape
            .iter()
            .try_fold(1usize, |product, side| product.checked_mul(*side))?;
        (elements == data.len()).then_some(Self { shape, data })
    }
}

impl From<Arc<Image>> for Value {
    fn from(value: Arc<Image>) -> Self {
        Self::Image(value)
    }
}

impl From<Arc<Embedding>> for Value {
    fn from(value: Arc<Embedding>) -> Self {
        Self::Embedding(value)
    }
}

impl From<Arc<Scores>> for Value {
    fn from(value: Arc<Scores>) -> Self {
        Self::Scores(value)
    }
}

impl From<Arc<Tensor>> for Value {
    fn from(value: Arc<Tensor>) -> Self {
        Self::Tensor(value)
    }
}

impl From<Arc<Json>> for Value {
    fn from(json: Arc<Json>) -> Self {
        Self::Json(json)
    }
}
