//! The C ABI of plugins, as Rust sees it: declarations, no behaviour. What they mean is
//! said in one place, the header:
//!
//! ```c
#![doc = include_str!("../include/omnizap_plugin.h")]
//! ```

#![expect(missing_docs, reason = "the header above documents every item")]
#![allow(
    unsafe_code,
    reason = "constants of plugins are shared between threads"
)]

use std::ffi::c_void;

/// One field of a struct: its name and its offset in bytes.
pub type Field = (&'static str, usize);

/// A struct of the header: its C name, its size in bytes, its fields.
pub type Layout = (&'static str, usize, Vec<Field>);

/// Declares structs and, from the same text, their layout, so that the test which
/// compares it with the C compiler's can leave no field out.
macro_rules! c_structs {
    ($($name:ident = $c_name:literal { $($field:ident: $ty:ty,)* })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $ty,)* }
        )*

        /// Sizes and offsets of every struct, as this compiler lays them out.
        #[must_use]
        pub fn layouts() -> Vec<Layout> {
            vec![$((
                $c_name,
                size_of::<$name>(),
                vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            ),)*]
        }
    };
}

pub const ABI_MAJOR: u32 = 1;
pub const ABI_MINOR: u32 = 0;
pub const MAGIC: u64 = u64::from_le_bytes(*b"OMNIZAP\x01");
/// The symbol that a plugin exports.
pub const ENTRY_SYMBOL: &str = "omnizap_plugin_entry";

pub type Status = i32;
pub const OK: Status = 0;
pub const INVALID: Status = -1;
pub const UNAVAILABLE: Status = -2;
pub const BUSY: Status = -3;
pub const DEADLINE: Status = -4;
pub const CONFIG: Status = -5;
pub const UNSUPPORTED: Status = -6;
pub const REFUSED: Status = -7;
pub const INTERNAL: Status = -8;
pub const PANIC: Status = -9;
pub const NO_MEMORY: Status = -10;

pub const DEVICE_CPU: i32 = 1;
pub const DTYPE_INT: u8 = 0;
pub const DTYPE_UINT: u8 = 1;
pub const DTYPE_FLOAT: u8 = 2;

pub const ABSENT: u32 = 0;
pub const BYTES: u32 = 1;
pub const IMAGE: u32 = 2;
pub const EMBEDDING: u32 = 3;
pub const SCORES: u32 = 4;
pub const TENSOR: u32 = 5;
pub const TEXT: u32 = 6;
pub const TEXT_LIST: u32 = 7;
pub const NUMBER: u32 = 8;
pub const INTEGER: u32 = 9;
pub const BOOL: u32 = 10;
pub const JSON: u32 = 11;

pub const GRAY: u32 = 1;
pub const RGB: u32 = 3;
pub const RGBA: u32 = 4;

pub const PORT_OPTIONAL: u32 = 1;
pub const PORT_PUBLISHED: u32 = 2;

pub const THREAD_SAFE: u32 = 1;
pub const PURE: u32 = 2;
pub const BATCHABLE: u32 = 4;
pub const BLOCKING: u32 = 8;

pub const STAGE_FACTORY: &str = "omnizap.stage-factory/1";
pub const EXT_LOG: &str = "omnizap.log/1";
pub const EXT_METRICS: &str = "omnizap.metrics/1";
pub const EXT_CANCEL: &str = "omnizap.cancel/1";
pub const EXT_BATCH: &str = "omnizap.batch/1";

pub const LOG_ERROR: u32 = 1;
pub const LOG_WARN: u32 = 2;
pub const LOG_INFO: u32 = 3;
pub const LOG_DEBUG: u32 = 4;

/// Most ports of one side of a stage.
pub const MAX_PORTS: usize = 32;
/// Most stages of one library.
pub const MAX_STAGES: usize = 64;
/// Most axes of a tensor.
pub const MAX_AXES: usize = 8;
/// Most calls of one batch.
pub const MAX_BATCH: u32 = 256;
/// Calls of one batch where the stage has no `omnizap.batch/1`.
pub const DEFAULT_BATCH: u32 = 16;

pub type ReleaseFn = unsafe extern "C" fn(owner: *mut c_void);

c_structs! {
    Span = "oz_span" {
        data: *const u8,
        len: usize,
    }
    Tensor = "oz_tensor" {
        data: *mut c_void,
        device_type: i32,
        device_id: i32,
        ndim: i32,
        dtype_code: u8,
        dtype_bits: u8,
        dtype_lanes: u16,
        shape: *const i64,
        strides: *const i64,
        byte_offset: u64,
    }
    Score = "oz_score" {
        label: Span,
        logit: f64,
        probability: f64,
    }
    Value = "oz_value" {
        r#type: u32,
        layout: u32,
        integer: i64,
        number: f64,
        bytes: Span,
        items: *const c_void,
        item_count: usize,
        tensor: Tensor,
    }
    ConfigOption = "oz_option" {
        name: Span,
        value: Value,
    }
    Port = "oz_port" {
        struct_size: u32,
        r#type: u32,
        flags: u32,
        decimals: i32,
        name: Span,
        doc: Span,
        default_json: Span,
        field: Span,
        neutral_json: Span,
        shape: *const i64,
        ndim: usize,
    }
    StageDescriptor = "oz_stage_descriptor" {
        struct_size: u32,
        flags: u32,
        id: Span,
        doc: Span,
        options_json: Span,
        inputs: *const *const Port,
        input_count: usize,
        outputs: *const *const Port,
        output_count: usize,
    }
    ErrorOut = "oz_error" {
        struct_size: u32,
        reserved: u32,
        retry_after_ms: u64,
        message: *mut u8,
        message_capacity: usize,
        message_len: usize,
        code: *mut u8,
        code_capacity: usize,
        code_len: usize,
        option: *mut u8,
        option_capacity: usize,
        option_len: usize,
    }
    Call = "oz_call" {
        struct_size: u32,
        status: Status,
        request_id: Span,
        remaining_ns: u64,
        inputs: *const Value,
        input_count: usize,
        error: *mut ErrorOut,
        context: *mut c_void,
    }
    Host = "oz_host" {
        struct_size: u32,
        abi_major: u32,
        abi_minor: u32,
        reserved: u32,
        version: Span,
        context: *mut c_void,
        get_extension: Option<unsafe extern "C" fn(host: *const Host, id: Span) -> *const c_void>,
        allocate: Option<unsafe extern "C" fn(call: *mut Call, size: usize) -> *mut c_void>,
        put_output: Option<
            unsafe extern "C" fn(
                call: *mut Call,
                output: u32,
                value: *const Value,
                release: Option<ReleaseFn>,
                owner: *mut c_void,
            ) -> Status,
        >,
    }
    Stage = "oz_stage" {
        struct_size: u32,
        reserved: u32,
        instance: *mut c_void,
        validate_config: Option<ConfigureFn>,
        activate: Option<ConfigureFn>,
        run: Option<unsafe extern "C" fn(instance: *mut c_void, call: *mut Call) -> Status>,
        run_batch: Option<
            unsafe extern "C" fn(
                instance: *mut c_void,
                calls: *const *mut Call,
                count: usize,
            ) -> Status,
        >,
        deactivate: Option<unsafe extern "C" fn(instance: *mut c_void)>,
        destroy: Option<unsafe extern "C" fn(stage: *mut Stage)>,
        get_extension: Option<unsafe extern "C" fn(instance: *mut c_void, id: Span) -> *const c_void>,
    }
    StageFactory = "oz_stage_factory" {
        struct_size: u32,
        reserved: u32,
        create: Option<
            unsafe extern "C" fn(
                host: *const Host,
                stage_id: Span,
                stage: *mut *mut Stage,
                error: *mut ErrorOut,
            ) -> Status,
        >,
    }
    Entry = "oz_entry" {
        magic: u64,
        struct_size: u32,
        abi_major: u32,
        abi_minor: u32,
        min_host_minor: u32,
        name: Span,
        version: Span,
        build: Span,
        stages: *const *const StageDescriptor,
        stage_count: usize,
        init: Option<unsafe extern "C" fn(host: *const Host, error: *mut ErrorOut) -> Status>,
        deinit: Option<unsafe extern "C" fn()>,
        get_factory: Option<unsafe extern "C" fn(id: Span) -> *const c_void>,
    }
    ExtLog = "oz_ext_log" {
        struct_size: u32,
        reserved: u32,
        log: Option<unsafe extern "C" fn(host: *const Host, level: u32, message: Span)>,
    }
    ExtMetrics = "oz_ext_metrics" {
        struct_size: u32,
        reserved: u32,
        add: Option<unsafe extern "C" fn(host: *const Host, counter: Span, amount: f64)>,
        set: Option<unsafe extern "C" fn(host: *const Host, gauge: Span, value: f64)>,
    }
    ExtCancel = "oz_ext_cancel" {
        struct_size: u32,
        reserved: u32,
        is_cancelled: Option<unsafe extern "C" fn(call: *const Call) -> i32>,
    }
    ExtBatch = "oz_ext_batch" {
        struct_size: u32,
        max_batch: u32,
    }
}

pub type ConfigureFn = unsafe extern "C" fn(
    instance: *mut c_void,
    options: *const ConfigOption,
    count: usize,
    error: *mut ErrorOut,
) -> Status;

impl Span {
    pub const EMPTY: Self = Self {
        data: std::ptr::null(),
        len: 0,
    };

    #[must_use]
    pub const fn of(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    #[must_use]
    pub const fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

impl Tensor {
    pub const EMPTY: Self = Self {
        data: std::ptr::null_mut(),
        device_type: 0,
        device_id: 0,
        ndim: 0,
        dtype_code: 0,
        dtype_bits: 0,
        dtype_lanes: 0,
        shape: std::ptr::null(),
        strides: std::ptr::null(),
        byte_offset: 0,
    };
}

impl Value {
    pub const ABSENT: Self = Self {
        r#type: ABSENT,
        layout: 0,
        integer: 0,
        number: 0.0,
        bytes: Span::EMPTY,
        items: std::ptr::null(),
        item_count: 0,
        tensor: Tensor::EMPTY,
    };
}

// SAFETY: these are constants of a library's file. Nobody writes to them, and what they
// point to is constant too.
unsafe impl Sync for Port {}
// SAFETY: as above.
unsafe impl Sync for StageDescriptor {}
// SAFETY: as above.
unsafe impl Sync for Entry {}
// SAFETY: as above; it holds numbers and functions only.
unsafe impl Sync for StageFactory {}
