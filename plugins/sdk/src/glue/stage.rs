//! One instance of a stage: the functions of its table.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use omnizap_contract::{Error, ErrorKind, abi};

use super::form;
use super::give::give;
use super::guard::{guard, status_of, write};
use crate::raw::{CallRef, HostRef, bytes, read_options};
use crate::stage::{Call, Inputs, Log, Stage};

struct Shell<S> {
    host: HostRef,
    active: Option<S>,
}

#[must_use]
pub fn make<S: Stage>(host: *const abi::Host) -> *mut abi::Stage {
    let shell: Box<Shell<S>> = Box::new(Shell {
        host: HostRef::new(host),
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
        give::<S>(&shell.host, call, outputs)
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
                give::<S>(&shell.host, *call, result.map_err(status_of)?)
            });
            // SAFETY: as above.
            unsafe { (**call).status = status };
        }
        Ok(())
    })
}

fn lend<'a, S: Stage>(call: *mut abi::Call, host: HostRef) -> (Inputs<'a>, Call<'a>) {
    // SAFETY: the host lends its call, and what is made of it ends with it.
    let call = unsafe { CallRef::new(call) };
    let inputs = Inputs {
        call,
        ports: S::DESCRIPTOR.inputs,
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
