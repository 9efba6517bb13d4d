//! One call over the bare ABI: everything that the plugin borrows lies in memory of its own, and
//! can be taken out of reach once the call has ended.

use std::io;

use omnizap_contract::{Call, Channels, Inputs, PortType, abi};

use super::Answer;
use super::arena::Arena;
use crate::call::{CallState, Views};
use crate::fault::ErrorBuffers;
use crate::host::inside::{Hook, Inside};
use crate::instance::{Instance, abi_call, finish};
use crate::types;

/// What a call is lent.
#[derive(Clone, Copy)]
pub struct Lent<'a> {
    /// Its inputs.
    pub inputs: &'a Inputs,
    /// A picture in place of every image among them.
    pub picture: Option<&'a Picture>,
    /// Whether reading past the end of them and writing to them crash.
    pub is_guarded: bool,
}

/// A picture in a form that the ABI allows and the service has no cause to use yet.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Pixels a row, maybe 0.
    pub width: usize,
    /// Rows, maybe 0.
    pub height: usize,
    /// Samples of a pixel.
    pub channels: Channels,
    /// `height * width * channels` bytes.
    pub pixels: Vec<u8>,
    /// Bytes between two rows; `None` leaves `strides` NULL.
    pub gap: Option<usize>,
    /// `byte_offset` of the first pixel.
    pub offset: usize,
}

/// A call that has ended.
pub struct Ended {
    /// How.
    pub answer: Answer,
    /// What it was lent.
    pub memory: Memory,
    /// Whether the plugin asked if anybody still waits.
    pub asked_cancel: bool,
}

/// What calls that have ended were lent. Nothing else takes its place until this is dropped.
pub struct Memory {
    arenas: Vec<Arena>,
}

impl Memory {
    /// From here on nobody can touch it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn close(&self) -> io::Result<()> {
        self.arenas.iter().try_for_each(Arena::close)
    }
}

/// A call that has not ended.
struct Frame<'a> {
    /// What the plugin may only read.
    lent: Arena,
    /// The call and its error, which the plugin writes to.
    own: Arena,
    call: *mut abi::Call,
    error: *mut ErrorBuffers,
    state: *mut CallState<'a>,
}

fn enter<'a>(instance: &'a Instance, call: &'a Call, hook: Hook) -> Inside<'a> {
    let stage = &instance.manifest().id;
    instance.host().enter(stage, &call.request_id, hook)
}

pub(super) fn run(instance: &Instance, lent: Lent<'_>, call: &Call) -> io::Result<Ended> {
    let table = instance.table();
    let Some(run) = table.run else {
        return Err(io::Error::other("`run` is NULL"));
    };
    let frame = Frame::new(instance, lent, call)?;
    let inside = enter(instance, call, Hook::Run);
    // SAFETY: the instance is active; everything of the call lives until it returns.
    let status = unsafe { run(table.instance, frame.call) };
    drop(inside);
    // SAFETY: made by `new`, and freed by `end` only.
    let asked_cancel = unsafe { (*frame.state).asked_cancel() };
    let mut arenas = Vec::new();
    let answer = frame.end(status, &mut arenas);
    Ok(Ended {
        answer,
        memory: Memory { arenas },
        asked_cancel,
    })
}

pub(super) fn run_batch(
    instance: &Instance,
    lent: &[Lent<'_>],
    call: &Call,
) -> io::Result<(Vec<Answer>, Memory)> {
    let table = instance.table();
    let Some(run_batch) = table.run_batch else {
        return Err(io::Error::other("`run_batch` is NULL"));
    };
    let frames = lent.iter().map(|lent| Frame::new(instance, *lent, call));
    let frames: Vec<Frame<'_>> = frames.collect::<io::Result<_>>()?;
    let calls: Vec<*mut abi::Call> = frames.iter().map(|frame| frame.call).collect();
    let mut list = Arena::new(lent.iter().all(|lent| lent.is_guarded))?;
    let calls = list.copy_items(&calls)?;
    list.seal()?;
    let inside = enter(instance, call, Hook::RunBatch);
    // SAFETY: the instance is active; everything of the calls lives until it returns.
    let status = unsafe { run_batch(table.instance, calls, frames.len()) };
    drop(inside);
    let mut arenas = vec![list];
    // A status other than OZ_OK fails them all, with the error of the first.
    // SAFETY: the frames' calls and errors are not closed: nobody has their arenas yet.
    let first = frames
        .first()
        .filter(|_| status != abi::OK)
        .map(|first| unsafe { (*first.error).fault(status) });
    let ended = frames.into_iter().map(|frame| {
        // SAFETY: as above.
        let own = unsafe { (*frame.call).status };
        let answer = frame.end(own, &mut arenas);
        match &first {
            Some(fault) => Answer::of(Err(fault.clone())),
            None => answer,
        }
    });
    let answers = ended.collect();
    Ok((answers, Memory { arenas }))
}

impl<'a> Frame<'a> {
    fn new(instance: &'a Instance, lent: Lent<'_>, call: &'a Call) -> io::Result<Self> {
        let manifest = instance.manifest();
        let views = Views::of(manifest, lent.inputs);
        let mut arena = Arena::new(lent.is_guarded)?;
        let mut own = Arena::new(lent.is_guarded)?;
        let mut values = Vec::with_capacity(views.values.len());
        for (port, value) in manifest.inputs.iter().zip(&views.values) {
            values.push(match lent.picture {
                Some(picture) if port.ty == PortType::Image => show(&mut arena, picture)?,
                // SAFETY: the views live until the end of this function.
                _ => unsafe { lend(&mut arena, value) }?,
            });
        }
        let inputs = arena.copy_items(&values)?;
        let request_id = arena.copy(call.request_id.as_bytes())?;
        arena.seal()?;
        let error = own.put(ErrorBuffers::new())?;
        let state = CallState::new(instance.host(), call, &manifest.outputs);
        let state = Box::into_raw(Box::new(state));
        // SAFETY: it was just put there and does not move.
        let out = unsafe { (*error).out() };
        let call = own.put(abi::Call {
            request_id: abi::Span {
                data: request_id,
                len: call.request_id.len(),
            },
            inputs,
            ..abi_call(call, &values, out, state)
        });
        match call {
            Ok(call) => Ok(Self {
                lent: arena,
                own,
                call,
                error,
                state,
            }),
            Err(error) => {
                // SAFETY: made above, and nobody else has it.
                drop(unsafe { Box::from_raw(state) });
                Err(error)
            }
        }
    }

    /// Ends the call: its outputs, and its memory among `arenas`.
    fn end(self, status: abi::Status, arenas: &mut Vec<Arena>) -> Answer {
        // SAFETY: made by `new`; the plugin reaches it through the call only, which must not be
        // used once it has ended.
        let state = unsafe { Box::from_raw(self.state) };
        // SAFETY: not closed: nobody has the arenas yet.
        let answer = Answer::of(finish(*state, unsafe { &*self.error }, status));
        arenas.extend([self.lent, self.own]);
        answer
    }
}

/// A value whose every byte lies in the arena.
///
/// # Safety
/// What the value points to must be readable and as its type says.
unsafe fn lend(arena: &mut Arena, value: &abi::Value) -> io::Result<abi::Value> {
    let mut out = *value;
    // SAFETY (all below): promised by the caller.
    out.bytes = unsafe { span(arena, value.bytes) }?;
    match value.r#type {
        abi::TEXT_LIST if value.item_count > 0 => {
            let items: &[abi::Span] =
                unsafe { std::slice::from_raw_parts(value.items.cast(), value.item_count) };
            let items = items.iter().map(|item| unsafe { span(arena, *item) });
            let items = items.collect::<io::Result<Vec<_>>>()?;
            out.items = arena.copy_items(&items)?.cast();
        }
        abi::SCORES if value.item_count > 0 => {
            let items: &[abi::Score] =
                unsafe { std::slice::from_raw_parts(value.items.cast(), value.item_count) };
            let items = items.iter().map(|item| {
                Ok(abi::Score {
                    label: unsafe { span(arena, item.label) }?,
                    ..*item
                })
            });
            let items = items.collect::<io::Result<Vec<_>>>()?;
            out.items = arena.copy_items(&items)?.cast();
        }
        abi::IMAGE | abi::EMBEDDING | abi::TENSOR => {
            let tensor = &value.tensor;
            let axes = usize::try_from(tensor.ndim).unwrap_or(0);
            let shape = if axes == 0 {
                &[]
            } else {
                unsafe { std::slice::from_raw_parts(tensor.shape, axes) }
            };
            let elements: i64 = shape.iter().product();
            let len = usize::try_from(elements).unwrap_or(0) * usize::from(tensor.dtype_bits) / 8;
            let data = unsafe { bytes(tensor.data.cast(), len) };
            out.tensor.data = arena.copy(data)?.cast();
            out.tensor.shape = arena.copy_items(shape)?;
        }
        _ => {}
    }
    Ok(out)
}

/// # Safety
/// The span must be readable.
unsafe fn span(arena: &mut Arena, span: abi::Span) -> io::Result<abi::Span> {
    if span.data.is_null() {
        return Ok(span);
    }
    // SAFETY: promised by the caller.
    let data = arena.copy(unsafe { bytes(span.data, span.len) })?;
    Ok(abi::Span {
        data,
        len: span.len,
    })
}

/// # Safety
/// `data` must be readable for `len`, or `len` be 0.
unsafe fn bytes<'b>(data: *const u8, len: usize) -> &'b [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// A picture in the arena, with gaps and an offset where it wants them.
fn show(arena: &mut Arena, picture: &Picture) -> io::Result<abi::Value> {
    /// What lies between rows: no pixel.
    const FILL: u8 = 0xA5;
    let samples = picture.channels.count();
    let row = picture.width * samples;
    let stride = row + picture.gap.unwrap_or(0);
    let mut data = vec![FILL; picture.offset];
    for (index, pixels) in picture.pixels.chunks(row.max(1)).enumerate() {
        if index > 0 {
            data.resize(data.len() + picture.gap.unwrap_or(0), FILL);
        }
        data.extend_from_slice(pixels);
    }
    let sides = [picture.height, picture.width, samples].map(|side| side as i64);
    let strides = [stride, samples, 1].map(|step| step as i64);
    let mut value = abi::Value::ABSENT;
    value.r#type = abi::IMAGE;
    value.layout = types::layout(picture.channels);
    value.tensor = abi::Tensor {
        data: arena.copy(&data)?.cast(),
        device_type: abi::DEVICE_CPU,
        ndim: 3,
        dtype_code: abi::DTYPE_UINT,
        dtype_bits: 8,
        dtype_lanes: 1,
        shape: arena.copy_items(&sides)?,
        strides: match picture.gap {
            Some(_) => arena.copy_items(&strides)?,
            None => std::ptr::null(),
        },
        byte_offset: picture.offset as u64,
        ..abi::Tensor::EMPTY
    };
    Ok(value)
}
