//! One instance of a plugin's stage, between `create` and `destroy`.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use omnizap_contract::{Call, Inputs, Options, Outputs, abi};
use serde_json::Value as Json;

use crate::call::{CallState, Views};
use crate::fault::{ErrorBuffers, Fault};
use crate::host::HostTable;
use crate::host::inside::{Hook, Inside};
use crate::library::{Library, whole};
use crate::manifest::StageManifest;

/// An instance. Dropped, it is deactivated and destroyed.
pub(crate) struct Instance {
    /// Kept for as long as its instances, and counts them.
    library: Arc<Library>,
    manifest: Arc<StageManifest>,
    stage: *mut abi::Stage,
    is_active: bool,
}

// SAFETY: the ABI lets an instance be used from any thread, one at a time.
unsafe impl Send for Instance {}
// SAFETY: an instance is shared between threads only where its stage is OZ_THREAD_SAFE.
unsafe impl Sync for Instance {}

impl Instance {
    /// Calls `create`.
    pub(crate) fn create(
        library: &Arc<Library>,
        manifest: &Arc<StageManifest>,
    ) -> Result<Self, Fault> {
        let create = library.factory.create;
        let create =
            create.ok_or_else(|| Fault::of_host("the function `create` is NULL".into()))?;
        let mut stage = std::ptr::null_mut();
        let mut error = ErrorBuffers::new();
        let inside = library.host.enter(&manifest.id, "", Hook::Create);
        // SAFETY: the table lives for good; the rest until the call returns.
        let status = unsafe {
            create(
                library.host.table(),
                abi::Span::of(&manifest.id),
                &raw mut stage,
                error.out(),
            )
        };
        drop(inside);
        if status != abi::OK {
            return Err(error.fault(status));
        }
        // SAFETY: a stage that create gave is valid until destroy.
        let made = unsafe { whole(stage.cast_const()) };
        let made = made
            .ok_or_else(|| Fault::of_host("`create` said OZ_OK and gave no stage".into()))?
            .map_err(|size| short("oz_stage", size, size_of::<abi::Stage>()))?;
        let functions = [
            ("validate_config", made.validate_config.is_some()),
            ("activate", made.activate.is_some()),
            ("run", made.run.is_some()),
            (
                "run_batch",
                made.run_batch.is_some() || !manifest.has(abi::BATCHABLE),
            ),
            ("deactivate", made.deactivate.is_some()),
            ("destroy", made.destroy.is_some()),
        ];
        if let Some((missing, _)) = functions.iter().find(|(_, there)| !there) {
            return Err(Fault::of_host(format!(
                "the function `{missing}` of its stage is NULL"
            )));
        }
        library.instances.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            library: library.clone(),
            manifest: manifest.clone(),
            stage,
            is_active: false,
        })
    }

    fn enter<'a>(&'a self, request: &'a str, hook: Hook) -> Inside<'a> {
        self.library.host.enter(&self.manifest.id, request, hook)
    }

    pub(crate) fn table(&self) -> &abi::Stage {
        // SAFETY: valid until destroy, which only drop calls.
        unsafe { &*self.stage }
    }

    /// Calls `validate_config`.
    pub(crate) fn validate(&mut self, options: &Options) -> Result<(), Fault> {
        self.configure(self.table().validate_config, options, Hook::ValidateConfig)
    }

    /// Calls `activate`.
    pub(crate) fn activate(&mut self, options: &Options) -> Result<(), Fault> {
        self.configure(self.table().activate, options, Hook::Activate)?;
        self.is_active = true;
        Ok(())
    }

    /// Calls `deactivate`.
    pub(crate) fn deactivate(&mut self) {
        if std::mem::take(&mut self.is_active)
            && let Some(deactivate) = self.table().deactivate
        {
            let _inside = self.enter("", Hook::Deactivate);
            // SAFETY: `&mut self` says that no run is in flight.
            unsafe { deactivate(self.table().instance) };
        }
    }

    fn configure(
        &self,
        function: Option<abi::ConfigureFn>,
        options: &Options,
        hook: Hook,
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
        let _inside = self.enter("", hook);
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

    /// Its stage.
    pub(crate) fn manifest(&self) -> &StageManifest {
        &self.manifest
    }

    /// What the library of it is known by.
    pub(crate) fn host(&self) -> &'static HostTable {
        self.library.host
    }

    /// What the stage offers under that id, or null.
    pub(crate) fn extension(&self, id: &str) -> *const c_void {
        let table = self.table();
        let _inside = self.enter("", Hook::GetExtension);
        table
            .get_extension
            // SAFETY: the instance is valid, the span lives until the call returns.
            .map_or(std::ptr::null(), |get| unsafe {
                get(table.instance, abi::Span::of(id))
            })
    }

    /// Most calls that the stage likes in one batch: 1 where it is not OZ_BATCHABLE, else what
    /// its `omnizap.batch/1` says.
    pub(crate) fn max_batch(&self) -> Result<u32, Fault> {
        if !self.manifest.has(abi::BATCHABLE) {
            return Ok(1);
        }
        let extension = self.extension(abi::EXT_BATCH).cast::<abi::ExtBatch>();
        // SAFETY: an extension of that id is a constant that begins with its size.
        let extension = unsafe { whole(extension) };
        match extension {
            None => Ok(abi::DEFAULT_BATCH),
            Some(Err(size)) => Err(short("oz_ext_batch", size, size_of::<abi::ExtBatch>())),
            Some(Ok(extension)) if (1..=abi::MAX_BATCH).contains(&extension.max_batch) => {
                Ok(extension.max_batch)
            }
            Some(Ok(extension)) => Err(Fault::of_host(format!(
                "its `{}` asks for batches of {}, expected 1 to {}",
                abi::EXT_BATCH,
                extension.max_batch,
                abi::MAX_BATCH
            ))),
        }
    }

    /// Calls `run_batch`: what each call came to, or why all of them failed.
    pub(crate) fn run_batch(
        &self,
        batch: &[(&Inputs, &Call)],
    ) -> Result<Vec<Result<Outputs, Fault>>, Fault> {
        let (host, manifest) = (self.library.host, &*self.manifest);
        let run_batch = self.table().run_batch;
        let run_batch =
            run_batch.ok_or_else(|| Fault::of_host("the function `run_batch` is NULL".into()))?;
        let views = batch.iter().map(|(inputs, _)| Views::of(manifest, inputs));
        let views: Vec<Views> = views.collect();
        let mut errors: Vec<ErrorBuffers> = batch.iter().map(|_| ErrorBuffers::new()).collect();
        let mut states: Vec<CallState<'_>> = batch
            .iter()
            .map(|(_, call)| CallState::new(host, call, &manifest.outputs))
            .collect();
        let mut calls: Vec<abi::Call> = batch
            .iter()
            .zip(&views)
            .zip(errors.iter_mut().zip(&mut states))
            .map(|(((_, call), views), (error, state))| {
                abi_call(call, &views.values, error.out(), state)
            })
            .collect();
        let pointers: Vec<*mut abi::Call> = calls.iter_mut().map(std::ptr::from_mut).collect();
        let request = batch.first().map_or("", |(_, call)| &*call.request_id);
        let inside = self.enter(request, Hook::RunBatch);
        // SAFETY: the instance is active; the calls and all that they point to stay where they
        // are until it returns.
        let status = unsafe { run_batch(self.table().instance, pointers.as_ptr(), pointers.len()) };
        drop(inside);
        if status != abi::OK {
            let first = errors.first();
            return Err(first.map_or_else(
                || Fault::of_host("a batch without calls".into()),
                |first| first.fault(status),
            ));
        }
        let ends = states.into_iter().zip(&errors).zip(&calls);
        Ok(ends
            .map(|((state, error), call)| finish(state, error, call.status))
            .collect())
    }

    /// Calls `run`.
    pub(crate) fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Fault> {
        let manifest = &*self.manifest;
        let views = Views::of(manifest, inputs);
        let mut error = ErrorBuffers::new();
        let mut state = CallState::new(self.library.host, call, &manifest.outputs);
        let mut abi_call = abi_call(call, &views.values, error.out(), &mut state);
        let run = self.table().run;
        let run = run.ok_or_else(|| Fault::of_host("the function `run` is NULL".into()))?;
        let inside = self.enter(&call.request_id, Hook::Run);
        // SAFETY: the instance is active; everything of the call lives until it returns.
        let status = unsafe { run(self.table().instance, &raw mut abi_call) };
        drop(inside);
        finish(state, &error, status)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.deactivate();
        if let Some(destroy) = self.table().destroy {
            let _inside = self.enter("", Hook::Destroy);
            // SAFETY: nothing uses the instance after.
            unsafe { destroy(self.stage) };
        }
        self.library.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A struct is shorter than the ABI has it.
fn short(what: &str, size: usize, least: usize) -> Fault {
    Fault::of_host(format!(
        "its `{what}` is {size} bytes long, ABI 1.0 has {least}"
    ))
}

/// A call as the ABI shows it; what is given must outlive it.
pub(crate) fn abi_call(
    call: &Call,
    inputs: &[abi::Value],
    error: *mut abi::ErrorOut,
    state: *mut CallState<'_>,
) -> abi::Call {
    abi::Call {
        struct_size: size_of::<abi::Call>() as u32,
        status: abi::OK,
        request_id: abi::Span::of(&call.request_id),
        remaining_ns: u64::try_from(call.remaining().as_nanos()).unwrap_or(u64::MAX),
        inputs: inputs.as_ptr(),
        input_count: inputs.len(),
        error,
        context: state.cast(),
    }
}

/// What a call that ended with this status came to.
pub(crate) fn finish(
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
