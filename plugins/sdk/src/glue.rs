//! The functions behind the C ABI. Each catches panics, so that none leaves the plugin.

#![allow(unsafe_code, reason = "the plugin's side of the boundary")]
#![allow(missing_docs, reason = "for the export macro only")]

mod form;

use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use omnizap_contract::{Channels, Error, ErrorKind, Options, Outputs, TensorData, Value, abi};
use serde_json::{Map, Value as Json};

use crate::stage::{Call, ImageView, Inputs, Log, Stage};

/// A constant of the plugin's file.
#[repr(transparent)]
pub struct Constant<T>(pub T);

// SAFETY: constants are never written to, and what they point to is constant too.
unsafe impl<T> Sync for Constant<T> {}

pub const ENTRY: abi::Entry = abi::Entry {
    magic: abi::MAGIC,
    struct_size: size_of::<abi::Entry>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    min_host_minor: 0,
    name: abi::Span::EMPTY,
    version: abi::Span::EMPTY,
    build: abi::Span::EMPTY,
    stages: std::ptr::null(),
    stage_count: 0,
    init: None,
    deinit: None,
    get_factory: None,
};

pub type HostPointer = *const abi::Host;
pub type StagePointer = *mut abi::Stage;

/// What the export macro knows and `create` needs.
pub trait Create {
    fn create(host: HostPointer, id: &str) -> Option<StagePointer>;
}

type CreateFn = unsafe extern "C" fn(
    *const abi::Host,
    abi::Span,
    *mut *mut abi::Stage,
    *mut abi::ErrorOut,
) -> abi::Status;

#[must_use]
pub const fn factory(create: CreateFn) -> abi::StageFactory {
    abi::StageFactory {
        struct_size: size_of::<abi::StageFactory>() as u32,
        reserved: 0,
        create: Some(create),
    }
}

#[must_use]
pub fn factory_of(id: abi::Span, factory: &'static abi::StageFactory) -> *const c_void {
    // SAFETY: the host lends the span for the call.
    if unsafe { bytes(id) } == abi::STAGE_FACTORY.as_bytes() {
        std::ptr::from_ref(factory).cast()
    } else {
        std::ptr::null()
    }
}

/// # Safety
/// Called by the host, as the ABI says.
pub unsafe extern "C" fn create<C: Create>(
    host: *const abi::Host,
    id: abi::Span,
    stage: *mut *mut abi::Stage,
    error: *mut abi::ErrorOut,
) -> abi::Status {
    guard(error, || {
        // SAFETY: the host lends the span, and `stage` is its place for the result.
        let id = std::str::from_utf8(unsafe { bytes(id) }).unwrap_or_default();
        let Some(made) = C::create(host, id) else {
            return Err((
                abi::INTERNAL,
                Error::internal("the plugin has no such stage"),
            ));
        };
        // SAFETY: as above.
        unsafe { *stage = made };
        Ok(())
    })
}

struct Shell<S> {
    host: HostRef,
    active: Option<S>,
}

#[must_use]
pub fn make<S: Stage>(host: *const abi::Host) -> StagePointer {
    let shell: Box<Shell<S>> = Box::new(Shell {
        host: HostRef(host),
        active: None,
    });
    let batches = S::DESCRIPTOR.max_batch > 1;
    Box::into_raw(Box::new(abi::Stage {
        struct_size: size_of::<abi::Stage>() as u32,
        reserved: 0,
        instance: Box::into_raw(shell).cast(),
        validate_config: Some(validate_config::<S>),
        activate: Some(activate::<S>),
        run: Some(run::<S>),
        run_batch: if batches { Some(run_batch::<S>) } else { None },
        deactivate: Some(deactivate::<S>),
        destroy: Some(destroy::<S>),
        get_extension: Some(get_extension::<S>),
    }))
}

/// Runs `work`; an error or a panic is left in the host's struct.
fn guard(
    error: *mut abi::ErrorOut,
    work: impl FnOnce() -> Result<(), (abi::Status, Error)>,
) -> abi::Status {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => abi::OK,
        Ok(Err((status, reason))) => {
            report(error, &reason);
            status
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "a panic without a message".into());
            report(error, &Error::new(ErrorKind::Internal, text));
            abi::PANIC
        }
    }
}

fn report(error: *mut abi::ErrorOut, reason: &Error) {
    // SAFETY: the host lends its struct, and the memory it names, for the call.
    let Some(out) = (unsafe { error.as_mut() }) else {
        return;
    };
    let cause = std::error::Error::source(reason).map(ToString::to_string);
    let message = cause.unwrap_or_else(|| reason.message().to_owned());
    // SAFETY: as above.
    unsafe {
        out.message_len = write(&message, out.message, out.message_capacity);
        out.code_len = write(reason.code(), out.code, out.code_capacity);
    }
    let after = reason.retry_after().map_or(0, |after| after.as_millis());
    out.retry_after_ms = u64::try_from(after).unwrap_or(u64::MAX);
}

/// Writes as much of a text as fits, cut between characters.
///
/// # Safety
/// `to` must be writable for `capacity`.
unsafe fn write(text: &str, to: *mut u8, capacity: usize) -> usize {
    let mut len = text.len().min(capacity);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: promised by the caller.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, len) };
    len
}

fn status_of(error: Error) -> (abi::Status, Error) {
    let status = match error.kind() {
        ErrorKind::Malformed
        | ErrorKind::TooLarge
        | ErrorKind::UnsupportedType
        | ErrorKind::Invalid => abi::INVALID,
        ErrorKind::Busy => abi::BUSY,
        ErrorKind::Unavailable => abi::UNAVAILABLE,
        ErrorKind::Deadline => abi::DEADLINE,
        ErrorKind::Internal => abi::INTERNAL,
    };
    (status, error)
}

/// # Safety
/// The span must be readable for as long as the result is used.
unsafe fn bytes<'a>(span: abi::Span) -> &'a [u8] {
    if span.len == 0 || span.data.is_null() {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(span.data, span.len) }
}

/// # Safety
/// As [`bytes`].
unsafe fn text<'a>(span: abi::Span) -> &'a str {
    // SAFETY: promised by the caller.
    std::str::from_utf8(unsafe { bytes(span) }).unwrap_or_default()
}

/// # Safety
/// `options` must be readable for `count`.
unsafe fn read_options(options: *const abi::ConfigOption, count: usize) -> Options {
    let mut values = Map::new();
    for index in 0..count {
        // SAFETY: promised by the caller, here and below.
        let option = unsafe { *options.add(index) };
        let value = option.value;
        let value = match value.r#type {
            abi::BOOL => Json::from(value.integer != 0),
            abi::INTEGER => Json::from(value.integer),
            abi::NUMBER => Json::from(value.number),
            abi::TEXT => Json::from(unsafe { text(value.bytes) }),
            abi::TEXT_LIST => {
                let items: *const abi::Span = value.items.cast();
                let items = (0..value.item_count).map(|at| unsafe { text(*items.add(at)) });
                items.collect()
            }
            _ => Json::Null,
        };
        values.insert(unsafe { text(option.name) }.to_owned(), value);
    }
    Options::from_checked(values)
}

/// # Safety
/// `instance` must be one of ours.
unsafe fn shell<'a, S>(instance: *mut c_void) -> &'a Shell<S> {
    // SAFETY: promised by the caller.
    unsafe { &*instance.cast::<Shell<S>>() }
}

unsafe extern "C" fn validate_config<S: Stage>(
    _: *mut c_void,
    options: *const abi::ConfigOption,
    count: usize,
    error: *mut abi::ErrorOut,
) -> abi::Status {
    guard(error, || {
        // SAFETY: the host lends the options.
        let options = unsafe { read_options(options, count) };
        S::check(&options).map_err(|fault| {
            // SAFETY: the host lends its struct.
            if let Some(out) = unsafe { error.as_mut() } {
                // SAFETY: as above.
                out.option_len = unsafe { write(&fault.option, out.option, out.option_capacity) };
            }
            (abi::CONFIG, Error::new(ErrorKind::Invalid, fault.message))
        })
    })
}

unsafe extern "C" fn activate<S: Stage>(
    instance: *mut c_void,
    options: *const abi::ConfigOption,
    count: usize,
    error: *mut abi::ErrorOut,
) -> abi::Status {
    guard(error, || {
        // SAFETY: one at a time, with no run in flight; the host lends the options.
        let shell = unsafe { &mut *instance.cast::<Shell<S>>() };
        let options = unsafe { read_options(options, count) };
        let log = Log(Arc::new(shell.host));
        shell.active = Some(S::new(&options, log).map_err(status_of)?);
        Ok(())
    })
}

unsafe extern "C" fn run<S: Stage>(instance: *mut c_void, call: *mut abi::Call) -> abi::Status {
    // SAFETY: the host lends its call.
    let error = unsafe { (*call).error };
    guard(error, || {
        // SAFETY: an instance of ours, that is active.
        let shell = unsafe { shell::<S>(instance) };
        let stage = shell.active.as_ref();
        let stage = stage.ok_or_else(|| status_of(Error::internal("run before activate")))?;
        // SAFETY: the host lends its call.
        unsafe { form::check(call) }?;
        let (inputs, one) = lend::<S>(call, shell.host);
        let outputs = stage.run(&inputs, &one).map_err(status_of)?;
        give::<S>(shell.host, call, outputs)
    })
}

unsafe extern "C" fn run_batch<S: Stage>(
    instance: *mut c_void,
    calls: *const *mut abi::Call,
    count: usize,
) -> abi::Status {
    if count == 0 {
        return abi::OK;
    }
    // SAFETY: the host lends its calls.
    let calls = unsafe { std::slice::from_raw_parts(calls, count) };
    // SAFETY: as above.
    guard(unsafe { (*calls[0]).error }, || {
        // SAFETY: an instance of ours, that is active.
        let shell = unsafe { shell::<S>(instance) };
        let stage = shell.active.as_ref();
        let stage = stage.ok_or_else(|| status_of(Error::internal("run before activate")))?;
        for call in calls {
            // SAFETY: as above.
            unsafe { form::check(*call) }?;
        }
        let batch: Vec<_> = calls
            .iter()
            .map(|call| lend::<S>(*call, shell.host))
            .collect();
        let results = stage.run_batch(&batch);
        if results.len() != count {
            return Err(status_of(Error::internal(
                "run_batch gave another number of results",
            )));
        }
        for (call, result) in calls.iter().zip(results) {
            // SAFETY: the host lends its calls.
            let error = unsafe { (**call).error };
            let status = guard(error, || {
                give::<S>(shell.host, *call, result.map_err(status_of)?)
            });
            // SAFETY: as above.
            unsafe { (**call).status = status };
        }
        Ok(())
    })
}

fn lend<'a, S: Stage>(call: *mut abi::Call, host: HostRef) -> (Inputs<'a>, Call<'a>) {
    let call = CallRef(call, PhantomData);
    let inputs = Inputs {
        call,
        names: S::DESCRIPTOR.inputs,
    };
    (inputs, Call { call, host })
}

unsafe extern "C" fn deactivate<S: Stage>(instance: *mut c_void) {
    // A destructor that panics has nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: one at a time, with no run in flight.
        unsafe { (*instance.cast::<Shell<S>>()).active = None };
    }));
}

unsafe extern "C" fn destroy<S: Stage>(stage: *mut abi::Stage) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: both were made by `make`, and nothing uses them after.
        unsafe {
            let stage = Box::from_raw(stage);
            drop(Box::from_raw(stage.instance.cast::<Shell<S>>()));
        }
    }));
}

trait Batch {
    const EXTENSION: abi::ExtBatch;
}

impl<S: Stage> Batch for S {
    const EXTENSION: abi::ExtBatch = abi::ExtBatch {
        struct_size: size_of::<abi::ExtBatch>() as u32,
        max_batch: S::DESCRIPTOR.max_batch,
    };
}

unsafe extern "C" fn get_extension<S: Stage>(_: *mut c_void, id: abi::Span) -> *const c_void {
    // SAFETY: the host lends the span.
    if S::DESCRIPTOR.max_batch > 1 && unsafe { bytes(id) } == abi::EXT_BATCH.as_bytes() {
        let extension: &'static abi::ExtBatch = &<S as Batch>::EXTENSION;
        return std::ptr::from_ref(extension).cast();
    }
    std::ptr::null()
}

/// Hands the outputs to the host: texts and numbers are copied by it, big data stay here
/// until it releases them.
fn give<S: Stage>(
    host: HostRef,
    call: *mut abi::Call,
    outputs: Outputs,
) -> Result<(), (abi::Status, Error)> {
    for (index, port) in S::DESCRIPTOR.outputs.iter().enumerate() {
        let Some(value) = outputs.get(port.name()) else {
            continue;
        };
        if host.put(call, index, value) != abi::OK {
            let refused = format!("the host refused the output `{}`", port.name());
            return Err((abi::REFUSED, Error::internal(refused)));
        }
    }
    Ok(())
}

/// The host's table. It outlives every instance.
#[derive(Clone, Copy)]
pub struct HostRef(*const abi::Host);

// SAFETY: the ABI lets the table be used from any thread.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

impl HostRef {
    fn extension<T>(self, id: &'static str) -> Option<&'static T> {
        // SAFETY: the table is valid, the span a constant; an extension of that id is a T.
        unsafe {
            let get = (*self.0).get_extension?;
            get(self.0, abi::Span::of(id)).cast::<T>().as_ref()
        }
    }

    pub(crate) fn log(self, level: u32, message: &str) {
        let extension = self.extension::<abi::ExtLog>(abi::EXT_LOG);
        if let Some(log) = extension.and_then(|extension| extension.log) {
            // SAFETY: the table is valid, the span is lent for the call.
            unsafe { log(self.0, level, abi::Span::of(message)) };
        }
    }

    pub(crate) fn count(self, counter: &str, amount: f64) {
        let extension = self.extension::<abi::ExtMetrics>(abi::EXT_METRICS);
        if let Some(add) = extension.and_then(|extension| extension.add) {
            // SAFETY: as above.
            unsafe { add(self.0, abi::Span::of(counter), amount) };
        }
    }

    pub(crate) fn is_cancelled(self, call: &CallRef<'_>) -> bool {
        let extension = self.extension::<abi::ExtCancel>(abi::EXT_CANCEL);
        let asked = extension.and_then(|extension| extension.is_cancelled);
        // SAFETY: the call has not returned.
        asked.is_some_and(|is_cancelled| unsafe { is_cancelled(call.0) } != 0)
    }

    fn put(self, call: *mut abi::Call, index: usize, value: &Value) -> abi::Status {
        // SAFETY: the table is valid.
        let Some(put_output) = (unsafe { (*self.0).put_output }) else {
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
}

unsafe extern "C" fn release_value(owner: *mut c_void) {
    // SAFETY: made by `put`, released once.
    drop(unsafe { Box::from_raw(owner.cast::<Value>()) });
}

/// A call that has not returned.
#[derive(Clone, Copy)]
pub struct CallRef<'a>(*mut abi::Call, PhantomData<&'a ()>);

// SAFETY: what a stage reads of a call does not change while it lasts.
unsafe impl Sync for CallRef<'_> {}
// SAFETY: as above.
unsafe impl Send for CallRef<'_> {}

impl<'a> CallRef<'a> {
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
