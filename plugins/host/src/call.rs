//! One call: inputs lent as views without a copy, outputs taken and checked.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

mod lend;
mod memory;
mod read;
mod take;
mod weigh;

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use omnizap_contract::{Call, Outputs, PortType, Value, abi};

pub(crate) use self::lend::Views;
use self::memory::{HostBuffer, Owner};
use self::weigh::weigh;
use crate::host::{CallFunctions, HostTable};
use crate::manifest::OutputPort;
use crate::types;

/// Most memory that one call may allocate, in bytes.
const MAX_ALLOCATED: usize = 256 << 20;
/// Most memory that the outputs of one call may take, all of them together, in bytes: what they
/// point to may be the same few bytes a thousand times, and the host keeps each.
const MAX_OUTPUTS: usize = 256 << 20;

/// What a plugin asks of the host about a call.
pub(crate) const FUNCTIONS: CallFunctions = CallFunctions {
    allocate,
    put_output,
    is_cancelled,
};

/// What the host keeps of a call while it lasts. The plugin's threads reach it as shared, whatever
/// they do: one may ask whether anybody still waits while another gives an output.
pub(crate) struct CallState<'a> {
    host: &'static HostTable,
    call: &'a Call,
    /// Set once the plugin has asked whether anybody still waits.
    asked_cancel: AtomicBool,
    ports: &'a [OutputPort],
    /// Locked by each function for as long as it takes: a plugin that gives outputs from two
    /// threads does what it must not, and breaks nothing by it.
    given: Mutex<Given>,
}

/// What the plugin has given and asked for so far.
struct Given {
    values: Vec<Option<Value>>,
    /// The first output that was refused, and why.
    fault: Option<String>,
    buffers: Vec<Arc<HostBuffer>>,
    allocated: usize,
    /// Bytes of the outputs so far.
    taken: usize,
}

impl<'a> CallState<'a> {
    pub(crate) fn new(host: &'static HostTable, call: &'a Call, ports: &'a [OutputPort]) -> Self {
        Self {
            host,
            call,
            asked_cancel: AtomicBool::new(false),
            ports,
            given: Mutex::new(Given {
                values: vec![None; ports.len()],
                fault: None,
                buffers: Vec::new(),
                allocated: 0,
                taken: 0,
            }),
        }
    }

    pub(crate) fn asked_cancel(&self) -> bool {
        self.asked_cancel.load(Ordering::Relaxed)
    }

    /// The outputs of a call that ended with this status. An output that was refused
    /// outweighs whatever the stage made of it; one that is missing is a fault only where
    /// the stage says that all is well.
    pub(crate) fn into_outputs(self, status: abi::Status) -> Result<Option<Outputs>, String> {
        let given = self.given.into_inner();
        let given = given.unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = given.fault {
            return Err(fault);
        }
        if status != abi::OK {
            return Ok(None);
        }
        let mut outputs = Outputs::with_capacity(self.ports.len());
        for (port, value) in self.ports.iter().zip(given.values) {
            match value {
                Some(value) => outputs = outputs.put(port.port.name.clone(), value),
                None if port.port.optional => {}
                None => return Err(format!("it gave no output `{}`", port.port.name)),
            }
        }
        Ok(Some(outputs))
    }
}

impl Given {
    /// # Safety
    /// The value and what it points to must be readable for the call.
    unsafe fn put(
        &mut self,
        ports: &[OutputPort],
        output: u32,
        value: &abi::Value,
        owner: &mut Option<Owner>,
    ) -> Result<(), String> {
        let index = output as usize;
        let Some(declared) = ports.get(index) else {
            return Err(format!(
                "it gave output number {output}, and it declares {}",
                ports.len()
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
        let size = unsafe { weigh(declared.port.ty, value) }.map_err(about)?;
        self.taken = self.taken.saturating_add(size);
        if self.taken > MAX_OUTPUTS {
            return Err(about(format!(
                "brings the outputs of this call to {} bytes, at most {MAX_OUTPUTS} are allowed",
                self.taken
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
}

/// The state behind a call that a plugin hands back.
///
/// # Safety
/// `call` is null or a call of ours that has not returned.
unsafe fn state<'s>(call: *const abi::Call) -> Option<&'s CallState<'s>> {
    // SAFETY: promised by the caller. What changes in the state is behind a lock, or atomic.
    unsafe { call.as_ref()?.context.cast::<CallState<'s>>().as_ref() }
}

unsafe extern "C" fn put_output(
    call: *mut abi::Call,
    output: u32,
    value: *const abi::Value,
    release: Option<abi::ReleaseFn>,
    owner: *mut c_void,
) -> abi::Status {
    // SAFETY: the plugin hands back its call and lends the value.
    let (state, value) = unsafe { (state(call), value.as_ref()) };
    let Some(state) = state else {
        if let Some(release) = release {
            // SAFETY: of no call, and so of no other use: it is released here, once.
            unsafe { release(owner) };
        }
        return abi::REFUSED;
    };
    // Declared before the lock, and so dropped after it: what no value keeps is released then, which
    // is code of the plugin.
    let mut owner = release.map(|release| Owner::new(state.host, release, owner));
    let mut given = state.given.lock().unwrap_or_else(PoisonError::into_inner);
    let put = match value {
        // SAFETY: the plugin lends what the value points to.
        Some(value) => unsafe { given.put(state.ports, output, value, &mut owner) },
        None => Err(format!("it gave NULL as output number {output}")),
    };
    match put {
        Ok(()) => abi::OK,
        Err(reason) => {
            given.fault.get_or_insert(reason);
            abi::REFUSED
        }
    }
}

unsafe extern "C" fn allocate(call: *mut abi::Call, size: usize) -> *mut c_void {
    // SAFETY: the plugin hands back its call.
    let Some(state) = (unsafe { state(call) }) else {
        return std::ptr::null_mut();
    };
    let mut given = state.given.lock().unwrap_or_else(PoisonError::into_inner);
    if size > MAX_ALLOCATED - given.allocated {
        return std::ptr::null_mut();
    }
    given.allocated += size;
    let buffer = Arc::new(HostBuffer::new(size));
    let start = buffer.start().cast();
    given.buffers.push(buffer);
    start
}

unsafe extern "C" fn is_cancelled(call: *const abi::Call) -> i32 {
    // SAFETY: the plugin hands back its call.
    let Some(state) = (unsafe { state(call) }) else {
        return 1;
    };
    state.asked_cancel.store(true, Ordering::Relaxed);
    i32::from(state.call.is_over())
}
