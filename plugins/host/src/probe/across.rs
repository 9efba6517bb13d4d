//! A value on its way across the boundary and back: lent as an input and given back as an output, by
//! the functions that a plugin would call. Everything about it comes out of a few bytes: the value,
//! whose memory it lies in, and what of its form is spoiled on the way. The fuzz target `values`
//! runs this, and Miri does.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use omnizap_contract::{
    Bytes, Call, Cancel, Channels, Embedding, Image, Input, Inputs, Output, PortType, Score,
    Scores, Tensor, TensorData, Value, abi,
};

use crate::call::{CallState, FUNCTIONS, Views};
use crate::fault::ErrorBuffers;
use crate::host::HostTable;
use crate::instance::{abi_call, finish};
use crate::manifest::{OutputPort, StageManifest};

/// The one port, of both sides.
pub const PORT: &str = "value";
/// Beyond what any list, text or array may hold.
const TOO_MUCH: usize = 1 << 40;

/// A value that went across.
#[derive(Debug)]
pub struct Crossed {
    /// As it was lent.
    pub given: Value,
    /// What was done to it on the way.
    pub spoiled: Option<&'static str>,
    /// What it came back as, or why it was refused.
    pub back: Result<Value, String>,
    /// How often memory that was lent with it was released; `None` where none was.
    pub releases: Option<Arc<AtomicUsize>>,
}

/// Sends a value across. Any bytes will do: what a plugin could do only by lying about its own
/// memory is left out.
#[must_use]
pub fn cross(bytes: &[u8]) -> Crossed {
    let mut bits = Bits(bytes);
    let given = bits.value();
    let ty = given.port_type();
    let manifest = StageManifest {
        id: "acme/pass".into(),
        doc: String::new(),
        flags: 0,
        options: Vec::new(),
        inputs: vec![Input::optional(PORT, ty, "")],
        outputs: vec![OutputPort {
            port: Output::new(PORT, ty, ""),
            shape: None,
        }],
    };
    let ports = Arc::from(manifest.inputs.clone());
    let inputs = Inputs::new(ports, vec![Some(given.clone())]);
    let views = Views::of(&manifest, &inputs);
    let call = Call {
        request_id: "across".into(),
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: Cancel::default(),
    };
    let mut error = ErrorBuffers::new();
    let mut state = CallState::new(host(), &call, &manifest.outputs);
    let mut abi_call = abi_call(&call, &views.values, error.out(), &mut state);
    // SAFETY: the call and all that it points to live until the end of this function.
    let (spoiled, releases) = unsafe { pass(&raw mut abi_call, &mut bits) };
    let back = finish(state, &error, abi::OK).map_err(|fault| fault.message);
    let back = back.and_then(|outputs| {
        let back = outputs.value(PORT).cloned();
        back.ok_or_else(|| format!("no output `{PORT}`"))
    });
    Crossed {
        given,
        spoiled,
        back,
        releases,
    }
}

/// The table of a plugin that is not there.
fn host() -> &'static HostTable {
    static HOST: OnceLock<&HostTable> = OnceLock::new();
    HOST.get_or_init(|| HostTable::leak("acme", false, &FUNCTIONS))
}

/// Memory that a plugin lends: a copy of what it was lent itself.
struct Own {
    data: Vec<u8>,
    releases: Arc<AtomicUsize>,
}

unsafe extern "C" fn release(owner: *mut c_void) {
    // SAFETY: made by `pass`, and released once.
    let own = unsafe { Box::from_raw(owner.cast::<Own>()) };
    own.releases.fetch_add(1, Ordering::Relaxed);
}

/// The plugin: gives back what it was lent. What was done to it, and the count of releases of
/// memory of its own.
///
/// # Safety
/// The call must not have ended.
unsafe fn pass(
    call: *mut abi::Call,
    bits: &mut Bits<'_>,
) -> (Option<&'static str>, Option<Arc<AtomicUsize>>) {
    // SAFETY (all below): promised by the caller; the table lives for good and has all functions.
    let table = unsafe { &*host().table() };
    let (Some(allocate), Some(put_output)) = (table.allocate, table.put_output) else {
        return (None, None);
    };
    let mut value = unsafe { *(*call).inputs };
    // Where the big data lie: as the host lent them, in memory that it gave, or in the plugin's own.
    let data = unsafe { data_of(&value) };
    let mut own = None;
    match bits.byte() % 3 {
        1 => {
            let place = unsafe { allocate(call, data.len()) }.cast::<u8>();
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), place, data.len()) };
            set_data(&mut value, place);
        }
        2 => {
            let releases = Arc::new(AtomicUsize::new(0));
            let mut lent = Box::new(Own {
                data: data.to_vec(),
                releases: releases.clone(),
            });
            set_data(&mut value, lent.data.as_mut_ptr());
            own = Some((Box::into_raw(lent), releases));
        }
        _ => {}
    }
    let mut kept = Kept::default();
    let mut spoiled = unsafe { spoil(&mut value, data.len(), bits, &mut kept) };
    let (owner, release): (*mut c_void, Option<abi::ReleaseFn>) = match &own {
        Some((own, _)) => (own.cast(), Some(release)),
        None => (std::ptr::null_mut(), None),
    };
    let (index, given): (u32, *const abi::Value) = match bits.byte() {
        1 => {
            spoiled = Some("a number that no output has");
            (1 + u32::from(bits.byte()), &raw const value)
        }
        2 => {
            spoiled = Some("NULL");
            (0, std::ptr::null())
        }
        3 => {
            spoiled = Some("given twice");
            unsafe { put_output(call, 0, &raw const value, None, std::ptr::null_mut()) };
            (0, &raw const value)
        }
        _ => (0, &raw const value),
    };
    unsafe { put_output(call, index, given, release, owner) };
    (spoiled, own.map(|(_, releases)| releases))
}

/// The bytes of pixels, a vector, an array or a file.
///
/// # Safety
/// The value must be one that the host lends.
unsafe fn data_of<'v>(value: &abi::Value) -> &'v [u8] {
    let (start, len) = match value.r#type {
        abi::BYTES => (value.bytes.data, value.bytes.len),
        abi::IMAGE | abi::EMBEDDING | abi::TENSOR => {
            let axes = usize::try_from(value.tensor.ndim).unwrap_or(0);
            // SAFETY (all below): promised by the caller.
            let sides = (0..axes).map(|axis| unsafe { *value.tensor.shape.add(axis) });
            let elements = sides.product::<i64>() as usize;
            let data = value.tensor.data.cast::<u8>().cast_const();
            (data, elements * usize::from(value.tensor.dtype_bits / 8))
        }
        _ => return &[],
    };
    if len == 0 {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(start, len) }
}

fn set_data(value: &mut abi::Value, place: *mut u8) {
    match value.r#type {
        abi::BYTES => value.bytes.data = place,
        abi::IMAGE | abi::EMBEDDING | abi::TENSOR => value.tensor.data = place.cast(),
        _ => {}
    }
}

/// What a spoiled value points to.
#[derive(Default)]
struct Kept {
    shape: Vec<i64>,
    strides: Vec<i64>,
    text: Vec<u8>,
}

/// Spoils the form of a value whose data are `len` bytes; what was done.
///
/// # Safety
/// The value must be one that the host lends, its data maybe in other memory.
unsafe fn spoil(
    value: &mut abi::Value,
    len: usize,
    bits: &mut Bits<'_>,
    kept: &mut Kept,
) -> Option<&'static str> {
    const SIDES: [i64; 10] = [0, 1, 2, 3, 7, -1, 1 << 20, 1 << 40, i64::MAX, i64::MIN];
    let is_array = matches!(value.r#type, abi::IMAGE | abi::EMBEDDING | abi::TENSOR);
    let is_list = matches!(value.r#type, abi::SCORES | abi::TEXT_LIST);
    let axes = usize::try_from(value.tensor.ndim).unwrap_or(0);
    let what = match bits.byte() {
        1 => {
            let ty = u32::from(bits.byte());
            if ty == value.r#type {
                return None;
            }
            value.r#type = ty;
            "another type"
        }
        2 => {
            value.layout = u32::from(bits.byte());
            "another layout"
        }
        3 if is_array => {
            // An element that is larger than it is would be read past the end.
            let dtype = (bits.byte(), bits.byte(), u16::from(bits.byte()));
            let is_read = matches!(dtype, (0, 64, 1) | (1, 8, 1) | (2, 32, 1));
            if is_read && dtype.1 > value.tensor.dtype_bits {
                return None;
            }
            let tensor = &mut value.tensor;
            (tensor.dtype_code, tensor.dtype_bits, tensor.dtype_lanes) = dtype;
            "another dtype"
        }
        4 if is_array => {
            let sides = usize::from(bits.byte()) % (abi::MAX_AXES + 2);
            let side = |_| SIDES[usize::from(bits.byte()) % SIDES.len()];
            kept.shape = (0..sides).map(side).collect();
            let size = usize::from(value.tensor.dtype_bits / 8);
            let elements = kept.shape.iter().try_fold(1_usize, |all, side| {
                let all = all.checked_mul(usize::try_from(*side).ok()?)?;
                (all.checked_mul(size)? < TOO_MUCH).then_some(all)
            });
            // Either they are there, or they are so many that nobody may look for them.
            if elements.is_some_and(|elements| elements * size > len) {
                return None;
            }
            value.tensor.shape = kept.shape.as_ptr();
            value.tensor.ndim = sides as i32;
            "another shape"
        }
        5 if is_array => {
            value.tensor.ndim = [-1, i32::MIN, 9, i32::MAX][usize::from(bits.byte() % 4)];
            "as many axes as none has"
        }
        6 if is_array => {
            kept.strides = (0..axes)
                .map(|_| SIDES[usize::from(bits.byte()) % SIDES.len()])
                .collect();
            value.tensor.strides = kept.strides.as_ptr();
            "strides"
        }
        7 if is_array => {
            let size = usize::from(value.tensor.dtype_bits / 8);
            let offset = usize::from(bits.byte()).min(len);
            kept.shape = vec![((len - offset) / size) as i64];
            value.tensor.shape = kept.shape.as_ptr();
            value.tensor.ndim = 1;
            value.tensor.byte_offset = offset as u64;
            "a part of it"
        }
        8 => {
            value.bytes.data = std::ptr::null();
            value.items = std::ptr::null();
            value.tensor.data = std::ptr::null_mut();
            "nothing behind it"
        }
        9 if value.r#type != abi::BYTES => {
            value.bytes.len = value.bytes.len.min(usize::from(bits.byte()));
            value.item_count = value.item_count.min(usize::from(bits.byte()));
            "shorter"
        }
        10 => {
            value.bytes.len = TOO_MUCH << (bits.byte() % 24);
            value.item_count = TOO_MUCH << (bits.byte() % 24);
            "longer than anything may be"
        }
        11 if is_list => {
            value.items = value.items.cast::<u8>().wrapping_add(1).cast();
            "items at an odd place"
        }
        12 => {
            value.tensor.device_type = i32::from(bits.byte());
            "another device"
        }
        13 => {
            value.integer = bits.word().cast_signed();
            value.number = f64::from_bits(bits.word());
            "other numbers"
        }
        14 if matches!(value.r#type, abi::TEXT | abi::JSON) => {
            kept.text = bits.some().to_vec();
            value.bytes = abi::Span::of_bytes(&kept.text);
            "other bytes for its text"
        }
        _ => return None,
    };
    Some(what)
}

/// Bytes to choose by; all that is missing is zero.
struct Bits<'d>(&'d [u8]);

impl<'d> Bits<'d> {
    fn take(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let taken = self.take(8);
        word[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(word)
    }

    /// As many bytes as the first says.
    fn some(&mut self) -> &'d [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.some()).into_owned()
    }

    /// That many bytes, with zeros for what is missing.
    fn filled(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.take(len).to_vec();
        bytes.resize(len, 0);
        bytes
    }

    fn value(&mut self) -> Value {
        let ty = PortType::ALL[usize::from(self.byte()) % PortType::ALL.len()];
        match ty {
            PortType::Bytes => Value::Bytes(Bytes::copy_from_slice(self.some())),
            PortType::Image => self.image(),
            PortType::Embedding => {
                let len = usize::from(self.byte() % 17);
                Value::from(Embedding {
                    model: self.text().into(),
                    vector: (0..len).map(|_| self.float()).collect(),
                })
            }
            PortType::Scores => {
                let len = self.byte() % 5;
                let score = |_| Score {
                    label: self.text().into(),
                    logit: f64::from_bits(self.word()),
                    probability: f64::from_bits(self.word()),
                };
                Value::from(Scores((0..len).map(score).collect()))
            }
            PortType::Tensor => self.tensor(),
            PortType::Text => Value::from(self.text()),
            PortType::TextList => {
                let len = self.byte() % 7;
                let texts: Vec<Arc<str>> = (0..len).map(|_| self.text().into()).collect();
                Value::from(texts)
            }
            PortType::Number => Value::Number(f64::from_bits(self.word())),
            PortType::Integer => Value::Integer(self.word().cast_signed()),
            PortType::Bool => Value::Bool(self.byte() % 2 == 1),
            PortType::Json => {
                let text = self.text();
                let json = serde_json::from_str::<serde_json::Value>(&text);
                Value::from(json.unwrap_or_else(|_| text.into()))
            }
        }
    }

    fn float(&mut self) -> f32 {
        // Half of a word is enough, and the other half is not lost.
        let mut bytes = [0; 4];
        let taken = self.take(4);
        bytes[..taken.len()].copy_from_slice(taken);
        f32::from_le_bytes(bytes)
    }

    fn image(&mut self) -> Value {
        let channels = [Channels::Gray, Channels::Rgb, Channels::Rgba];
        let channels = channels[usize::from(self.byte() % 3)];
        let (width, height) = (1 + self.byte() % 8, 1 + self.byte() % 8);
        let len = usize::from(width) * usize::from(height) * channels.count();
        let pixels = self.filled(len).into();
        let image = Image::new(width.into(), height.into(), channels, pixels);
        image.map_or(Value::Bool(false), Value::from)
    }

    fn tensor(&mut self) -> Value {
        let axes = usize::from(self.byte()) % (abi::MAX_AXES + 2);
        let shape: Vec<usize> = (0..axes).map(|_| usize::from(self.byte() % 3)).collect();
        let len: usize = shape.iter().product();
        let data = match self.byte() % 3 {
            0 => TensorData::F32((0..len).map(|_| self.float()).collect()),
            1 => TensorData::I64((0..len).map(|_| self.word().cast_signed()).collect()),
            _ => TensorData::U8(self.filled(len).into()),
        };
        Tensor::new(shape, data).map_or(Value::Bool(false), Value::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random, the same each time.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn what_goes_across_comes_back_as_it_was() {
        let rounds: u64 = if cfg!(miri) { 9 } else { 400 };
        for ty in 0..PortType::ALL.len() as u8 {
            // In the host's memory, in what it gave, and in the plugin's own.
            for (round, whose) in (0..rounds).zip([0_u8, 1, 2].into_iter().cycle()) {
                let mut bytes = vec![ty];
                bytes.extend(noise(round, 24));
                let mut probe = Bits(&bytes);
                let value = probe.value();
                let used = bytes.len() - probe.0.len();
                bytes.truncate(used);
                bytes.extend([whose, 0, 0]);
                let crossed = cross(&bytes);
                assert_eq!(crossed.spoiled, None);
                let is_takeable = value.is_finite()
                    && !matches!(&value, Value::Tensor(t) if t.shape.len() > abi::MAX_AXES);
                match &crossed.back {
                    Ok(back) => {
                        assert!(is_takeable, "{value:?}");
                        assert_eq!(format!("{back:?}"), format!("{:?}", crossed.given));
                    }
                    Err(reason) => assert!(!is_takeable, "{value:?}: {reason}"),
                }
                drop(crossed.back);
                if let Some(releases) = crossed.releases {
                    assert_eq!(releases.load(Ordering::Relaxed), 1);
                }
            }
        }
    }

    #[test]
    fn what_is_spoiled_on_the_way_is_refused_or_another_value() {
        let rounds: u64 = if cfg!(miri) { 40 } else { 4000 };
        let mut refused = 0;
        for round in 0..rounds {
            let crossed = cross(&noise(round, 80));
            if let Err(reason) = &crossed.back {
                refused += 1;
                let names = reason.contains(PORT) || reason.contains("output number");
                assert!(names, "{crossed:?}");
            }
            drop(crossed.back);
            if let Some(releases) = crossed.releases {
                assert_eq!(releases.load(Ordering::Relaxed), 1);
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn one_thread_may_ask_while_another_gives() {
        struct Sent(*mut abi::Call);
        // SAFETY: a call that outlives the threads.
        unsafe impl Send for Sent {}
        let call = Call {
            request_id: "across".into(),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: Cancel::default(),
        };
        let ports = [OutputPort {
            port: Output::new(PORT, PortType::Number, ""),
            shape: None,
        }];
        let mut error = ErrorBuffers::new();
        let mut state = CallState::new(host(), &call, &ports);
        let mut lent = abi_call(&call, &[], error.out(), &mut state);
        // SAFETY: the table lives for good.
        let table = unsafe { &*host().table() };
        let extension = table.get_extension.unwrap();
        let put = table.put_output.unwrap();
        // SAFETY: as above, and so does the extension; the call outlives the threads.
        unsafe {
            let cancel = extension(host().table(), abi::Span::of(abi::EXT_CANCEL));
            let is_cancelled = (*cancel.cast::<abi::ExtCancel>()).is_cancelled.unwrap();
            let (asks, gives) = (Sent(&raw mut lent), Sent(&raw mut lent));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let asks = asks;
                    for _ in 0..50 {
                        assert_eq!(is_cancelled(asks.0), 0);
                    }
                });
                scope.spawn(move || {
                    let gives = gives;
                    let value = abi::Value {
                        r#type: abi::NUMBER,
                        ..abi::Value::ABSENT
                    };
                    for expected in std::iter::once(abi::OK).chain([abi::REFUSED; 20]) {
                        let none = std::ptr::null_mut();
                        assert_eq!(put(gives.0, 0, &raw const value, None, none), expected);
                    }
                });
            });
        }
        assert!(state.asked_cancel());
        let refused = finish(state, &error, abi::OK).unwrap_err();
        assert!(refused.message.contains("twice"), "{}", refused.message);
    }
}
