//! One call: inputs lent as views without a copy, outputs taken and checked.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use omnizap_contract::{
    Call, Embedding, Image, Inputs, Outputs, PortType, Score, Scores, Tensor, TensorData, Value,
    abi,
};

use super::manifest::{OutputPort, StageManifest};
use super::types;

/// Most memory that one call may allocate, in bytes.
const MAX_ALLOCATED: usize = 256 << 20;
/// Most items of a list that a plugin gives.
const MAX_ITEMS: usize = 1 << 16;
/// Longest text or JSON that a plugin gives, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// The inputs of a call as the ABI shows them. Pixels, vectors and texts stay where they are.
pub(super) struct Views {
    pub(super) values: Vec<abi::Value>,
    /// What the values point to and no input holds: shapes, lists of spans, JSON texts.
    _shapes: Vec<Box<[i64]>>,
    _spans: Vec<Vec<abi::Span>>,
    _scores: Vec<Vec<abi::Score>>,
    _texts: Vec<String>,
}

impl Views {
    pub(super) fn of(manifest: &StageManifest, inputs: &Inputs) -> Self {
        let mut views = Self {
            values: Vec::with_capacity(manifest.inputs.len()),
            _shapes: Vec::new(),
            _spans: Vec::new(),
            _scores: Vec::new(),
            _texts: Vec::new(),
        };
        for port in &manifest.inputs {
            let value = inputs.get(&port.name);
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
                self._scores.push(scores);
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
                self._spans.push(spans);
            }
            Value::Number(number) => out.number = *number,
            Value::Integer(integer) => out.integer = *integer,
            Value::Bool(bool) => out.integer = i64::from(*bool),
            Value::Json(json) => {
                let text = json.to_string();
                out.bytes = abi::Span::of(&text);
                self._texts.push(text);
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
        let shape: Box<[i64]> = shape.into();
        let tensor = abi::Tensor {
            data: data.cast_mut(),
            device_type: abi::DEVICE_CPU,
            device_id: 0,
            ndim: shape.len() as i32,
            dtype_code,
            dtype_bits,
            dtype_lanes: 1,
            shape: shape.as_ptr(),
            strides: std::ptr::null(),
            byte_offset: 0,
        };
        self._shapes.push(shape);
        tensor
    }
}

/// Memory of the host for outputs of one call.
struct HostBuffer {
    blocks: Box<[Block]>,
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Block(#[expect(dead_code, reason = "read as bytes")] [u8; 64]);

impl HostBuffer {
    fn new(size: usize) -> Self {
        let blocks = vec![Block([0; 64]); size.div_ceil(64).max(1)];
        Self {
            blocks: blocks.into_boxed_slice(),
        }
    }

    fn start(&self) -> usize {
        self.blocks.as_ptr() as usize
    }

    fn len(&self) -> usize {
        self.blocks.len() * 64
    }
}

/// A part of a [`HostBuffer`] that became a value.
struct Taken {
    buffer: Arc<HostBuffer>,
    offset: usize,
    len: usize,
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the part was checked to lie within the buffer, whose every byte is initialised.
        unsafe {
            let start = self.buffer.blocks.as_ptr().cast::<u8>().add(self.offset);
            std::slice::from_raw_parts(start, self.len)
        }
    }
}

/// Memory of a plugin that became a value; dropped, it is released once.
struct Lent {
    data: *const u8,
    len: usize,
    _owner: Owner,
}

struct Owner {
    release: abi::ReleaseFn,
    owner: *mut c_void,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: called once, as the ABI promises the plugin; libraries stay loaded.
        unsafe { (self.release)(self.owner) };
    }
}

// SAFETY: the ABI says that release may be called from any thread, and that the data stay
// unchanged until then.
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the plugin promised these bytes until release, which drop calls.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// What the host keeps of a call while it lasts.
pub(super) struct CallState<'a> {
    call: &'a Call,
    /// Set once the plugin has asked whether anybody still waits.
    asked_cancel: AtomicBool,
    ports: &'a [OutputPort],
    values: Vec<Option<Value>>,
    /// The first output that was refused, and why.
    fault: Option<String>,
    buffers: Vec<Arc<HostBuffer>>,
    allocated: usize,
}

impl<'a> CallState<'a> {
    pub(super) fn new(call: &'a Call, ports: &'a [OutputPort]) -> Self {
        Self {
            call,
            asked_cancel: AtomicBool::new(false),
            ports,
            values: vec![None; ports.len()],
            fault: None,
            buffers: Vec::new(),
            allocated: 0,
        }
    }

    pub(super) fn asked_cancel(&self) -> bool {
        self.asked_cancel.load(Ordering::Relaxed)
    }

    /// The outputs of a call that ended with this status. An output that was refused
    /// outweighs whatever the stage made of it; one that is missing is a fault only where
    /// the stage says that all is well.
    pub(super) fn into_outputs(self, status: abi::Status) -> Result<Option<Outputs>, String> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if status != abi::OK {
            return Ok(None);
        }
        let mut outputs = Outputs::new();
        for (port, value) in self.ports.iter().zip(self.values) {
            match value {
                Some(value) => outputs = outputs.with(port.port.name.clone(), value),
                None if port.port.optional => {}
                None => return Err(format!("it gave no output `{}`", port.port.name)),
            }
        }
        Ok(Some(outputs))
    }

    /// # Safety
    /// The value and what it points to must be readable for the call.
    unsafe fn put(
        &mut self,
        output: u32,
        value: &abi::Value,
        owner: Option<Owner>,
    ) -> Result<(), String> {
        let index = output as usize;
        let Some(declared) = self.ports.get(index) else {
            return Err(format!(
                "it gave output number {output}, and it declares {}",
                self.ports.len()
            ));
        };
        let name = &declared.port.name;
        let about = |reason: String| format!("its output `{name}` {reason}");
        if self.values[index].is_some() {
            return Err(about("was given twice".into()));
        }
        let ty = types::port_type(value.r#type);
        if ty != Some(declared.port.ty) {
            let found = ty.map_or("of an unknown type", PortType::name);
            return Err(about(format!(
                "is {found}, declared is {}",
                declared.port.ty
            )));
        }
        // SAFETY: promised by the caller.
        let taken = unsafe { self.take(declared, value, owner) }.map_err(about)?;
        if !taken.is_finite() {
            return Err(about("holds a number that is NaN or infinite".into()));
        }
        self.values[index] = Some(taken);
        Ok(())
    }

    /// # Safety
    /// As [`Self::put`].
    unsafe fn take(
        &self,
        declared: &OutputPort,
        value: &abi::Value,
        owner: Option<Owner>,
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
        owner: Option<Owner>,
    ) -> Result<Bytes, String> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        if data.is_null() {
            return Err("points to nothing".into());
        }
        if let Some(owner) = owner {
            return Ok(Bytes::from_owner(Lent {
                data,
                len,
                _owner: owner,
            }));
        }
        for buffer in &self.buffers {
            let offset = (data as usize).wrapping_sub(buffer.start());
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

/// The start and the shape of a tensor that is row-major without gaps.
///
/// # Safety
/// `shape` and `strides` must be readable for `ndim` entries.
unsafe fn flat(
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
        // SAFETY: promised by the caller.
        let side = unsafe { *tensor.shape.add(axis) };
        let side = usize::try_from(side).map_err(|_| format!("has an axis of length {side}"))?;
        let product = elements.checked_mul(side);
        // Twice the limit of what the host would allocate is no output of anything.
        elements = product
            .filter(|elements| elements.saturating_mul(size) <= 2 * MAX_ALLOCATED)
            .ok_or_else(|| format!("has {side} in its shape: too large"))?;
        shape.push(side);
    }
    if !tensor.strides.is_null() {
        let mut step = 1_i64;
        for axis in (0..axes).rev() {
            // SAFETY: promised by the caller.
            let stride = unsafe { *tensor.strides.add(axis) };
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

fn check_shape(declared: &OutputPort, shape: &[usize]) -> Result<(), String> {
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
unsafe fn copy<T: Copy + Default>(data: *const u8, len: usize) -> Arc<[T]> {
    let mut out = vec![T::default(); len];
    // SAFETY: promised by the caller; bytes, so that no alignment is asked of the plugin.
    unsafe { std::ptr::copy_nonoverlapping(data, out.as_mut_ptr().cast(), len * size_of::<T>()) };
    out.into()
}

/// # Safety
/// The span must be readable.
unsafe fn utf8<'s>(span: abi::Span) -> Result<&'s str, String> {
    if span.len == 0 {
        return Ok("");
    }
    if span.data.is_null() {
        return Err("points to nothing".into());
    }
    if span.len > MAX_TEXT {
        return Err(format!(
            "holds a text of {} bytes, at most {MAX_TEXT} are allowed",
            span.len
        ));
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(span.data, span.len) };
    std::str::from_utf8(bytes).map_err(|_| "is not valid UTF-8".into())
}

/// # Safety
/// `items` must be readable for `item_count` of `T`.
unsafe fn items<'s, T>(value: &abi::Value) -> Result<&'s [T], String> {
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

/// The state behind a call that a plugin hands back.
///
/// # Safety
/// `call` is null or a call of ours that has not returned, and the plugin uses it from one
/// thread at a time, as the ABI says.
unsafe fn state<'s>(call: *mut abi::Call) -> Option<&'s mut CallState<'s>> {
    // SAFETY: promised by the caller.
    unsafe { call.as_ref()?.context.cast::<CallState<'s>>().as_mut() }
}

pub(super) unsafe extern "C" fn put_output(
    call: *mut abi::Call,
    output: u32,
    value: *const abi::Value,
    release: Option<abi::ReleaseFn>,
    owner: *mut c_void,
) -> abi::Status {
    let owner = release.map(|release| Owner { release, owner });
    // SAFETY: the plugin hands back its call and lends the value.
    let (state, value) = unsafe { (state(call), value.as_ref()) };
    let Some(state) = state else {
        return abi::REFUSED;
    };
    let put = match value {
        // SAFETY: the plugin lends what the value points to.
        Some(value) => unsafe { state.put(output, value, owner) },
        None => Err(format!("it gave NULL as output number {output}")),
    };
    match put {
        Ok(()) => abi::OK,
        Err(reason) => {
            state.fault.get_or_insert(reason);
            abi::REFUSED
        }
    }
}

pub(super) unsafe extern "C" fn allocate(call: *mut abi::Call, size: usize) -> *mut c_void {
    // SAFETY: the plugin hands back its call.
    let Some(state) = (unsafe { state(call) }) else {
        return std::ptr::null_mut();
    };
    if size > MAX_ALLOCATED - state.allocated {
        return std::ptr::null_mut();
    }
    state.allocated += size;
    let buffer = Arc::new(HostBuffer::new(size));
    let start = buffer.blocks.as_ptr().cast_mut().cast();
    state.buffers.push(buffer);
    start
}

pub(super) unsafe extern "C" fn is_cancelled(call: *const abi::Call) -> i32 {
    // SAFETY: the plugin hands back its call; this only reads what no output changes.
    let state = unsafe {
        call.as_ref()
            .map(|call| call.context.cast::<CallState<'_>>())
    };
    // SAFETY: as above.
    let state = state.and_then(|state| unsafe { state.as_ref() });
    let call = state.map(|state| {
        state.asked_cancel.store(true, Ordering::Relaxed);
        state.call
    });
    i32::from(call.is_none_or(Call::is_over))
}
