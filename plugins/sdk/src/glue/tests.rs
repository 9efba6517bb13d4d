//! A stage's whole life through the functions that a host calls. No library is loaded, so Miri can
//! follow every pointer of it.

use std::ffi::c_void;
use std::sync::Mutex;

use omnizap_contract::typed::{In, Opt, Out, Text};
use omnizap_contract::{Bytes, Error, Image, OptionFault, Options, Outputs, abi};

use super::{Create, HostPointer, StagePointer, create, factory, make};
use crate::descriptor::Descriptor;
use crate::stage::{Call, Inputs, Log, Stage};

const IMAGE: In<Option<Image>> = In::optional("image", "a picture");
const TEXT: In<Option<Text>> = In::optional("text", "a text");
const PIXELS: Out<Bytes> = Out::new("pixels", "its samples, doubled");
const SAID: Out<Text> = Out::new("said", "the text, with the word before it").optional();
const WORD: Opt<Text> = Opt::text("word", "so", "what stands before the text");

struct Doubles {
    word: String,
    log: Log,
}

impl Stage for Doubles {
    const DESCRIPTOR: Descriptor = Descriptor {
        options: &[WORD.spec()],
        inputs: &[IMAGE.spec(), TEXT.spec()],
        outputs: &[PIXELS.spec(), SAID.spec()],
        max_batch: 8,
        ..Descriptor::new("test/doubles", "for a test")
    };

    fn new(options: &Options, log: Log) -> Result<Self, Error> {
        log.info("made");
        let word = options.get(WORD).to_owned();
        Ok(Self { word, log })
    }

    fn check(options: &Options) -> Result<(), OptionFault> {
        if options.get(WORD).is_empty() {
            return Err(OptionFault::new(WORD, "expected a word"));
        }
        Ok(())
    }

    fn run(&self, inputs: &Inputs<'_>, call: &Call<'_>) -> Result<Outputs, Error> {
        call.still_wanted()?;
        let pixels = inputs.get(IMAGE)?.map_or(&[][..], |image| image.pixels);
        let doubled: Vec<u8> = pixels.iter().map(|it| it.wrapping_mul(2)).collect();
        let outputs = Outputs::new().with(PIXELS, Bytes::from(doubled));
        match inputs.get(TEXT)? {
            Some("panic") => panic!("asked to"),
            Some(text) => {
                self.log.count("texts", 1.0);
                Ok(outputs.with(SAID, format!("{} {text}", self.word)))
            }
            None => Ok(outputs),
        }
    }
}

struct Maker;

impl Create for Maker {
    fn create(host: HostPointer, id: &str) -> Option<StagePointer> {
        (id == Doubles::DESCRIPTOR.id).then(|| make::<Doubles>(host))
    }
}

/// What a call was given, whole: memory of the plugin is released as soon as it was read.
static GIVEN: Mutex<Vec<(u32, Vec<u8>)>> = Mutex::new(Vec::new());
static SAID_IN_THE_LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn put_output(
    _: *mut abi::Call,
    output: u32,
    value: *const abi::Value,
    release: Option<abi::ReleaseFn>,
    owner: *mut c_void,
) -> abi::Status {
    // SAFETY: the plugin lends its value for the call, and its memory until it is released, once.
    unsafe {
        let bytes = crate::raw::bytes((*value).bytes).to_vec();
        GIVEN.lock().unwrap().push((output, bytes));
        if let Some(release) = release {
            release(owner);
        }
    }
    abi::OK
}

unsafe extern "C" fn log(_: *const abi::Host, _: u32, message: abi::Span) {
    // SAFETY: the plugin lends its message for the call.
    let message = unsafe { crate::raw::bytes(message) };
    let message = String::from_utf8_lossy(message).into_owned();
    SAID_IN_THE_LOG.lock().unwrap().push(message);
}

unsafe extern "C" fn add(host: *const abi::Host, name: abi::Span, _: f64) {
    // SAFETY: as above.
    unsafe { log(host, abi::LOG_DEBUG, name) };
}

unsafe extern "C" fn is_cancelled(call: *const abi::Call) -> i32 {
    // SAFETY: the plugin hands back its call.
    i32::from(unsafe { (*call).remaining_ns } == 0)
}

unsafe extern "C" fn get_extension(_: *const abi::Host, id: abi::Span) -> *const c_void {
    static LOG: abi::ExtLog = abi::ExtLog {
        struct_size: size_of::<abi::ExtLog>() as u32,
        reserved: 0,
        log: Some(log),
    };
    static METRICS: abi::ExtMetrics = abi::ExtMetrics {
        struct_size: size_of::<abi::ExtMetrics>() as u32,
        reserved: 0,
        add: Some(add),
        set: Some(add),
    };
    static CANCEL: abi::ExtCancel = abi::ExtCancel {
        struct_size: size_of::<abi::ExtCancel>() as u32,
        reserved: 0,
        is_cancelled: Some(is_cancelled),
    };
    // SAFETY: the plugin lends the span.
    let id = unsafe { crate::raw::bytes(id) };
    match std::str::from_utf8(id).unwrap() {
        abi::EXT_LOG => (&raw const LOG).cast(),
        abi::EXT_METRICS => (&raw const METRICS).cast(),
        abi::EXT_CANCEL => (&raw const CANCEL).cast(),
        _ => std::ptr::null(),
    }
}

fn host() -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        reserved: 0,
        version: abi::Span::EMPTY,
        context: std::ptr::null_mut(),
        get_extension: Some(get_extension),
        allocate: None,
        put_output: Some(put_output),
    }
}

/// The host's memory for an error.
struct Place {
    message: [u8; 64],
    word: [u8; 16],
    option: [u8; 16],
}

impl Place {
    const fn new() -> Self {
        Self {
            message: [0; 64],
            word: [0; 16],
            option: [0; 16],
        }
    }

    fn out(&mut self) -> abi::ErrorOut {
        abi::ErrorOut {
            struct_size: size_of::<abi::ErrorOut>() as u32,
            reserved: 0,
            retry_after_ms: 0,
            message: self.message.as_mut_ptr(),
            message_capacity: self.message.len(),
            message_len: 0,
            code: self.word.as_mut_ptr(),
            code_capacity: self.word.len(),
            code_len: 0,
            option: self.option.as_mut_ptr(),
            option_capacity: self.option.len(),
            option_len: 0,
        }
    }
}

fn text_value(text: &str) -> abi::Value {
    abi::Value {
        r#type: abi::TEXT,
        bytes: abi::Span::of(text),
        ..abi::Value::ABSENT
    }
}

fn call(inputs: &[abi::Value], error: &mut abi::ErrorOut) -> abi::Call {
    abi::Call {
        struct_size: size_of::<abi::Call>() as u32,
        status: abi::OK,
        request_id: abi::Span::of("r1"),
        remaining_ns: 1_000_000,
        inputs: inputs.as_ptr(),
        input_count: inputs.len(),
        error,
        context: std::ptr::null_mut(),
    }
}

#[test]
fn a_stage_lives_and_ends_through_the_functions_of_its_table() {
    let host = host();
    let mut place = Place::new();
    let mut error = place.out();
    let mut stage: *mut abi::Stage = std::ptr::null_mut();
    let factory = factory(create::<Maker>);
    let make = factory.create.unwrap();
    // SAFETY (all below): called as a host does: what is lent lives until the function returns, the
    // table until after `destroy`, and nothing is used after that.
    let none = unsafe {
        make(
            &raw const host,
            abi::Span::of("test/other"),
            &raw mut stage,
            &raw mut error,
        )
    };
    assert_eq!((none, stage.is_null()), (abi::INTERNAL, true));
    let id = abi::Span::of(Doubles::DESCRIPTOR.id);
    let made = unsafe { make(&raw const host, id, &raw mut stage, &raw mut error) };
    assert_eq!(made, abi::OK);
    let table = unsafe { *stage };
    let instance = table.instance;
    let (validate, activate) = (table.validate_config.unwrap(), table.activate.unwrap());
    let (run, run_batch) = (table.run.unwrap(), table.run_batch.unwrap());

    let option = |word: &str| abi::ConfigOption {
        name: abi::Span::of("word"),
        value: text_value(word),
    };
    let empty = option("");
    let refused = unsafe { validate(instance, &raw const empty, 1, &raw mut error) };
    assert_eq!(refused, abi::CONFIG);
    assert_eq!(&place.option[..error.option_len], b"word");
    let well = option("well");
    assert_eq!(
        unsafe { validate(instance, &raw const well, 1, &raw mut error) },
        abi::OK
    );

    let none = [abi::Value::ABSENT; 2];
    let mut early = call(&none, &mut error);
    assert_eq!(unsafe { run(instance, &raw mut early) }, abi::INTERNAL);
    assert_eq!(
        unsafe { activate(instance, &raw const well, 1, &raw mut error) },
        abi::OK
    );
    assert_eq!(*SAID_IN_THE_LOG.lock().unwrap(), ["made"]);

    let mut pixels = [0_u8, 1, 2, 3, 4, 5, 6];
    let shape = [1_i64, 2, 3];
    let image = abi::Value {
        r#type: abi::IMAGE,
        layout: abi::RGB,
        tensor: abi::Tensor {
            data: pixels.as_mut_ptr().cast(),
            device_type: abi::DEVICE_CPU,
            ndim: 3,
            dtype_code: abi::DTYPE_UINT,
            dtype_bits: 8,
            dtype_lanes: 1,
            shape: shape.as_ptr(),
            byte_offset: 1,
            ..abi::Tensor::EMPTY
        },
        ..abi::Value::ABSENT
    };
    let both = [image, text_value("done")];
    let mut one = call(&both, &mut error);
    assert_eq!(unsafe { run(instance, &raw mut one) }, abi::OK);
    let given = std::mem::take(&mut *GIVEN.lock().unwrap());
    let expected = [(0, vec![2, 4, 6, 8, 10, 12]), (1, b"well done".to_vec())];
    assert_eq!(given, expected);

    let strides = [9_i64, 3, 1];
    let mut gaps = both;
    gaps[0].tensor.strides = strides.as_ptr();
    let mut packed = call(&gaps, &mut error);
    // One row has no gap behind it.
    assert_eq!(unsafe { run(instance, &raw mut packed) }, abi::OK);

    let panics = [abi::Value::ABSENT, text_value("panic")];
    let mut bad = call(&panics, &mut error);
    assert_eq!(unsafe { run(instance, &raw mut bad) }, abi::PANIC);
    assert_eq!(&place.message[..error.message_len], b"asked to");

    let mut places = [Place::new(), Place::new()];
    let mut errors = places.each_mut().map(Place::out);
    let [first, second] = &mut errors;
    let mut calls = [call(&both, first), call(&both, second)];
    calls[1].remaining_ns = 0;
    let pointers = calls.each_mut().map(std::ptr::from_mut);
    GIVEN.lock().unwrap().clear();
    assert_eq!(
        unsafe { run_batch(instance, pointers.as_ptr(), pointers.len()) },
        abi::OK
    );
    let states = calls.map(|call| call.status);
    assert_eq!(states, [abi::OK, abi::DEADLINE]);
    assert_eq!(GIVEN.lock().unwrap().len(), 2, "of the first call only");

    let extension = table.get_extension.unwrap();
    let batch = unsafe { extension(instance, abi::Span::of(abi::EXT_BATCH)) };
    let batch = unsafe { *batch.cast::<abi::ExtBatch>() };
    assert_eq!(batch.max_batch, 8);
    let unknown = unsafe { extension(instance, abi::Span::of("omnizap.unknown/1")) };
    assert!(unknown.is_null());

    unsafe {
        table.deactivate.unwrap()(instance);
        table.destroy.unwrap()(stage);
    }
}
