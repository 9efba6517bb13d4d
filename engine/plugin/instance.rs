//! One instance of a plugin's stage, between `create` and `destroy`.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{Call, Inputs, Options, Outputs, abi};
use serde_json::Value as Json;

use super::call::{CallState, Views};
use super::library::Library;
use super::manifest::StageManifest;
use super::types::status_name;

/// Longest message of a plugin's error, in bytes.
const MESSAGE: usize = 1024;
/// Longest code, and longest option name, of a plugin's error.
const WORD: usize = 64;

/// True where a struct's size says that it has its first `least` bytes.
pub(super) const fn covers(struct_size: u32, least: usize) -> bool {
    struct_size as usize >= least
}

/// Why a call of a plugin gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The plugin's status; [`abi::OK`] where the plugin said that all is well and was wrong.
    pub(super) status: abi::Status,
    /// Its message, for people.
    pub(super) message: String,
    /// Its code, maybe empty.
    pub(super) code: String,
    /// The option at fault, maybe empty.
    pub(super) option: String,
    /// When to try again, if it says so.
    pub(super) retry_after: Option<Duration>,
    /// A message or code that was no UTF-8, or no message at all.
    pub(super) is_malformed: bool,
}

impl Fault {
    pub(super) fn of_host(message: String) -> Self {
        Self {
            status: abi::OK,
            message,
            code: String::new(),
            option: String::new(),
            retry_after: None,
            is_malformed: false,
        }
    }
}

/// The host's memory for a plugin's error.
pub(super) struct ErrorBuffers {
    out: abi::ErrorOut,
    message: [u8; MESSAGE],
    code: [u8; WORD],
    option: [u8; WORD],
}

impl ErrorBuffers {
    pub(super) fn new() -> Self {
        Self {
            out: abi::ErrorOut {
                struct_size: size_of::<abi::ErrorOut>() as u32,
                reserved: 0,
                retry_after_ms: 0,
                message: std::ptr::null_mut(),
                message_capacity: MESSAGE,
                message_len: 0,
                code: std::ptr::null_mut(),
                code_capacity: WORD,
                code_len: 0,
                option: std::ptr::null_mut(),
                option_capacity: WORD,
                option_len: 0,
            },
            message: [0; MESSAGE],
            code: [0; WORD],
            option: [0; WORD],
        }
    }

    /// The struct for the plugin, valid until this one moves.
    pub(super) fn out(&mut self) -> *mut abi::ErrorOut {
        self.out.message = self.message.as_mut_ptr();
        self.out.code = self.code.as_mut_ptr();
        self.out.option = self.option.as_mut_ptr();
        &raw mut self.out
    }

    pub(super) fn fault(&self, status: abi::Status) -> Fault {
        let message = &self.message[..self.out.message_len.min(MESSAGE)];
        let code = &self.code[..self.out.code_len.min(WORD)];
        let option = &self.option[..self.out.option_len.min(WORD)];
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        // A message that was cut at the capacity may end within a character.
        let broken = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(_) => false,
            Err(error) => error.error_len().is_some() || bytes.len() < MESSAGE,
        };
        let is_malformed = message.is_empty() || broken(message) || broken(code);
        let after = self.out.retry_after_ms;
        Fault {
            status,
            message: if message.is_empty() {
                format!("{} without a message", status_name(status))
            } else {
                text(message).replace('\u{fffd}', "?")
            },
            code: text(code),
            option: text(option),
            retry_after: (after > 0).then(|| Duration::from_millis(after)),
            is_malformed,
        }
    }

    pub(super) fn describe(&self, status: abi::Status) -> String {
        let fault = self.fault(status);
        format!("{} ({})", fault.message, status_name(status))
    }
}

/// An instance. Dropped, it is deactivated and destroyed.
pub(super) struct Instance {
    /// Keeps the library for as long as its instances.
    _library: Arc<Library>,
    stage: *mut abi::Stage,
    is_active: bool,
}

// SAFETY: the ABI lets an instance be used from any thread, one at a time.
unsafe impl Send for Instance {}
// SAFETY: an instance is shared between threads only where its stage is OZ_THREAD_SAFE.
unsafe impl Sync for Instance {}

impl Instance {
    /// Calls `create`.
    pub(super) fn create(library: &Arc<Library>, stage_id: &str) -> Result<Self, Fault> {
        let create = library.factory.create;
        let create =
            create.ok_or_else(|| Fault::of_host("the function `create` is NULL".into()))?;
        let mut stage = std::ptr::null_mut();
        let mut error = ErrorBuffers::new();
        // SAFETY: the table lives for good; the rest until the call returns.
        let status = unsafe {
            create(
                library.host.table(),
                abi::Span::of(stage_id),
                &raw mut stage,
                error.out(),
            )
        };
        if status != abi::OK {
            return Err(error.fault(status));
        }
        // SAFETY: a stage that create gave is valid until destroy.
        let Some(made) = (unsafe { stage.as_ref() }) else {
            return Err(Fault::of_host(
                "`create` said OZ_OK and gave no stage".into(),
            ));
        };
        if !covers(made.struct_size, size_of::<abi::Stage>()) {
            return Err(Fault::of_host(format!(
                "its `oz_stage` is {} bytes long, ABI 1.0 has {}",
                made.struct_size,
                size_of::<abi::Stage>()
            )));
        }
        let functions = [
            ("validate_config", made.validate_config.is_some()),
            ("activate", made.activate.is_some()),
            ("run", made.run.is_some()),
            ("deactivate", made.deactivate.is_some()),
            ("destroy", made.destroy.is_some()),
        ];
        if let Some((missing, _)) = functions.iter().find(|(_, there)| !there) {
            return Err(Fault::of_host(format!(
                "the function `{missing}` of its stage is NULL"
            )));
        }
        Ok(Self {
            _library: library.clone(),
            stage,
            is_active: false,
        })
    }

    pub(super) fn table(&self) -> &abi::Stage {
        // SAFETY: valid until destroy, which only drop calls.
        unsafe { &*self.stage }
    }

    /// Calls `validate_config`.
    pub(super) fn validate(&mut self, options: &Options) -> Result<(), Fault> {
        self.configure(self.table().validate_config, options)
    }

    /// Calls `activate`.
    pub(super) fn activate(&mut self, options: &Options) -> Result<(), Fault> {
        self.configure(self.table().activate, options)?;
        self.is_active = true;
        Ok(())
    }

    /// Calls `deactivate`.
    pub(super) fn deactivate(&mut self) {
        if std::mem::take(&mut self.is_active)
            && let Some(deactivate) = self.table().deactivate
        {
            // SAFETY: `&mut self` says that no run is in flight.
            unsafe { deactivate(self.table().instance) };
        }
    }

    fn configure(
        &self,
        function: Option<abi::ConfigureFn>,
        options: &Options,
    ) -> Result<(), Fault> {
        let lists: Vec<Vec<abi::Span>> = options
            .as_map()
            .values()
            .map(|value| {
                let items = value.as_array().into_iter().flatten();
                items.filter_map(Json::as_str).map(abi::Span::of).collect()
            })
            .collect();
        let options: Vec<abi::ConfigOption> = options
            .as_map()
            .iter()
            .zip(&lists)
            .map(|((name, value), list)| abi::ConfigOption {
                name: abi::Span::of(name),
                value: option_value(value, list),
            })
            .collect();
        let mut error = ErrorBuffers::new();
        let function =
            function.ok_or_else(|| Fault::of_host("a function of its stage is NULL".into()))?;
        // SAFETY: the instance is valid; options and error live until the call returns.
        let status = unsafe {
            function(
                self.table().instance,
                options.as_ptr(),
                options.len(),
                error.out(),
            )
        };
        if status == abi::OK {
            Ok(())
        } else {
            Err(error.fault(status))
        }
    }

    /// Calls `run`.
    pub(super) fn run(
        &self,
        manifest: &StageManifest,
        inputs: &Inputs,
        call: &Call,
    ) -> Result<Outputs, Fault> {
        let views = Views::of(manifest, inputs);
        let mut error = ErrorBuffers::new();
        let mut state = CallState::new(call, &manifest.outputs);
        let mut abi_call = abi_call(call, &views, &mut error, &mut state);
        let run = self.table().run;
        let run = run.ok_or_else(|| Fault::of_host("the function `run` is NULL".into()))?;
        // SAFETY: the instance is active; everything of the call lives until it returns.
        let status = unsafe { run(self.table().instance, &raw mut abi_call) };
        finish(state, &error, status)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.deactivate();
        if let Some(destroy) = self.table().destroy {
            // SAFETY: nothing uses the instance after.
            unsafe { destroy(self.stage) };
        }
    }
}

fn abi_call(
    call: &Call,
    views: &Views,
    error: &mut ErrorBuffers,
    state: &mut CallState<'_>,
) -> abi::Call {
    abi::Call {
        struct_size: size_of::<abi::Call>() as u32,
        status: abi::OK,
        request_id: abi::Span::of(&call.request_id),
        remaining_ns: u64::try_from(call.remaining().as_nanos()).unwrap_or(u64::MAX),
        inputs: views.values.as_ptr(),
        input_count: views.values.len(),
        error: error.out(),
        context: std::ptr::from_mut(state).cast(),
    }
}

fn finish(
    state: CallState<'_>,
    error: &ErrorBuffers,
    status: abi::Status,
) -> Result<Outputs, Fault> {
    match state.into_outputs(status) {
        Ok(Some(outputs)) => Ok(outputs),
        Ok(None) => Err(error.fault(status)),
        Err(fault) => Err(Fault::of_host(fault)),
    }
}

fn option_value(value: &Json, list: &[abi::Span]) -> abi::Value {
    let mut out = abi::Value::ABSENT;
    match value {
        Json::Bool(bool) => {
            out.r#type = abi::BOOL;
            out.integer = i64::from(*bool);
        }
        Json::Number(number) => {
            out.r#type = if number.is_f64() {
                abi::NUMBER
            } else {
                abi::INTEGER
            };
            out.integer = number.as_i64().unwrap_or_default();
            out.number = number.as_f64().unwrap_or_default();
        }
        Json::String(text) => {
            out.r#type = abi::TEXT;
            out.bytes = abi::Span::of(text);
        }
        Json::Array(_) => {
            out.r#type = abi::TEXT_LIST;
            out.items = list.as_ptr().cast();
            out.item_count = list.len();
        }
        Json::Null | Json::Object(_) => {}
    }
    out
}
