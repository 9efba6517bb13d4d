//! The last words of a program that a plugin takes with it: which plugin, stage, function and
//! request, on standard error.
//!
//! Handlers of the signals of a crash say it and hand on to whoever handled these before; an exit
//! handler says it where plugin code called `exit`, and ends the program with code 70 in place of
//! whatever that asked for. `_exit` and SIGKILL leave nobody a word.
//!
//! The exit handler also ends at once a program in which a plugin still holds a thread: what is
//! left to do at the exit, the destructors of libraries, may wait for a lock that this thread has.
//!
//! What runs in a handler allocates nothing and takes no lock.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use super::inside::{Inner, look};

/// The exit code of a program that a plugin ended: `EX_SOFTWARE` of sysexits.h.
pub const ENDED_BY_A_PLUGIN: i32 = 70;

const SIGNALS: [(c_int, &str); 6] = [
    (libc::SIGSEGV, "SIGSEGV (memory that it may not touch)"),
    (libc::SIGBUS, "SIGBUS (memory that is not there)"),
    (
        libc::SIGFPE,
        "SIGFPE (an integer divided by 0, or traps of floating point)",
    ),
    (
        libc::SIGILL,
        "SIGILL (an instruction that this processor lacks)",
    ),
    (
        libc::SIGABRT,
        "SIGABRT (abort, an exception that left the plugin, a broken heap)",
    ),
    (libc::SIGTRAP, "SIGTRAP"),
];

/// What handled these signals before.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];
/// A crash within the handler of one says nothing more.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Most plugins whose code is known by its place.
const MAX_PLACES: usize = 64;
static PLACES: [Place; MAX_PLACES] = [const { Place::new() }; MAX_PLACES];
static PLACES_USED: AtomicUsize = AtomicUsize::new(0);

/// Where the code of a plugin lies.
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    name: AtomicPtr<u8>,
    name_len: AtomicUsize,
}

impl Place {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            name: AtomicPtr::new(std::ptr::null_mut()),
            name_len: AtomicUsize::new(0),
        }
    }
}

/// Installs the handlers, once.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for ((signal, _), before) in SIGNALS.iter().zip(&BEFORE) {
            // SAFETY: the structs live until the calls return; the handler is a function of the
            // program, and the one before is known by the time that it may run.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(*signal, std::ptr::null(), &raw mut old) != 0 {
                    continue;
                }
                let _ = before.set(old);
                let mut new: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
                new.sa_sigaction = handler as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&raw mut new.sa_mask);
                libc::sigaction(*signal, &raw const new, std::ptr::null_mut());
            }
        }
    });
    be_first_at_exit();
}

/// Threads of plugins that were given up.
static LOST: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn lose_a_thread() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn regain_a_thread() {
    LOST.fetch_sub(1, Ordering::Relaxed);
}

/// Lets the exit handler run before those that are registered by now, such as the destructors of a
/// library that was opened.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn be_first_at_exit() {
    unsafe extern "C" {
        fn on_exit(
            handler: extern "C" fn(status: c_int, context: *mut c_void),
            context: *mut c_void,
        ) -> c_int;
    }
    extern "C" fn handler(status: c_int, _: *mut c_void) {
        at_exit();
        if LOST.load(Ordering::Relaxed) > 0 {
            // SAFETY: ends the process, with the code that it would have ended with.
            unsafe { libc::_exit(status) };
        }
    }
    // SAFETY: registers a function that lives as long as the program.
    unsafe { on_exit(handler, std::ptr::null_mut()) };
}

/// The same, where a handler does not learn the code of the exit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn be_first_at_exit() {
    extern "C" fn handler() {
        at_exit();
    }
    // SAFETY: registers a function that lives as long as the program.
    unsafe { libc::atexit(handler) };
}

/// Lets a crash on a thread of the plugin's own be told as its: its code lies in the object that
/// holds this address.
pub(crate) fn know(address: *const c_void, name: &'static str) {
    let mut found = Found {
        address: address as usize,
        range: None,
    };
    // SAFETY: the callback is given what this call is, which lives until it returns.
    unsafe { libc::dl_iterate_phdr(Some(compare), (&raw mut found).cast()) };
    let Some((start, end)) = found.range else {
        return;
    };
    let index = PLACES_USED.fetch_add(1, Ordering::Relaxed);
    let Some(place) = PLACES.get(index) else {
        return;
    };
    place
        .name
        .store(name.as_ptr().cast_mut(), Ordering::Relaxed);
    place.name_len.store(name.len(), Ordering::Relaxed);
    place.start.store(start, Ordering::Relaxed);
    place.end.store(end, Ordering::Release);
}

struct Found {
    address: usize,
    range: Option<(usize, usize)>,
}

unsafe extern "C" fn compare(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the system lends the object for the call, and hands back what it was given.
    let (object, found) = unsafe { (&*object, &mut *found.cast::<Found>()) };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: an object says how many headers it has.
    let headers =
        unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let base = object.dlpi_addr as usize;
    let segments = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD);
    let ranges = segments.map(|header| {
        let start = base.wrapping_add(header.p_vaddr as usize);
        (start, start.wrapping_add(header.p_memsz as usize))
    });
    let whole = ranges.reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)));
    match whole {
        Some((start, end)) if (start..end).contains(&found.address) => {
            found.range = whole;
            1
        }
        _ => 0,
    }
}

/// The plugin whose code lies there.
fn owner_of(address: usize) -> Option<&'static [u8]> {
    let place = PLACES.iter().find(|place| {
        let end = place.end.load(Ordering::Acquire);
        end != 0 && (place.start.load(Ordering::Relaxed)..end).contains(&address)
    })?;
    let (name, len) = (
        place.name.load(Ordering::Relaxed),
        place.name_len.load(Ordering::Relaxed),
    );
    // SAFETY: names of plugins live as long as the process.
    Some(unsafe { std::slice::from_raw_parts(name, len) })
}

/// The instruction that a signal interrupted.
fn instruction(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    if context.is_null() {
        return 0;
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    // SAFETY: the system lends a handler the context of the thread.
    let address = unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize };
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    // SAFETY: as above.
    let address = unsafe { (*context).uc_mcontext.pc as usize };
    #[cfg(not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )))]
    let address = 0;
    address
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let index = SIGNALS.iter().position(|(known, _)| *known == signal);
    let Some(index) = index else {
        return;
    };
    if !IS_TOLD.swap(true, Ordering::Relaxed) {
        let is_told = tell_crash(SIGNALS[index].1, context);
        // One that was none of a plugin's may be a harmless one of somebody else's.
        IS_TOLD.store(is_told, Ordering::Relaxed);
    }
    let handler = BEFORE[index]
        .get()
        .map_or(libc::SIG_DFL, |before| before.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // SAFETY: both are safe in a handler. The signal is blocked until this one returns, and
        // then ends the process as it would have.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    let takes_info = BEFORE[index]
        .get()
        .is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0);
    // SAFETY: it was installed as a handler of this form.
    unsafe {
        if takes_info {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        }
    }
}

/// False where no plugin has to do with it.
fn tell_crash(signal: &str, context: *mut c_void) -> bool {
    look(|inner| {
        let mut line = Line::new();
        line.push(b"crashed with ");
        line.push(signal.as_bytes());
        match (inner, owner_of(instruction(context))) {
            (Some(inner), _) => line.push_inner(&inner),
            (None, Some(plugin)) => {
                line.push(b" in the plugin `");
                line.push(plugin);
                line.push(b"`, on a thread of its own");
            }
            (None, None) => return false,
        }
        line.write();
        true
    })
}

/// Ends a program that a plugin has called `exit` in.
fn at_exit() {
    look(|inner| {
        let Some(inner) = inner else {
            return;
        };
        let mut line = Line::new();
        line.push(b"the program was ended by a call of exit");
        line.push_inner(&inner);
        line.push(b"; a plugin must not end it: exit code 70");
        line.write();
        // SAFETY: ends the process, without the exit handlers that are left.
        unsafe { libc::_exit(ENDED_BY_A_PLUGIN) };
    });
}

/// Longest line, in bytes.
const MAX_LINE: usize = 1024;
/// Longest name in it.
const MAX_NAME: usize = 128;

/// A line in memory of its own.
struct Line {
    bytes: [u8; MAX_LINE],
    len: usize,
}

impl Line {
    fn new() -> Self {
        let mut line = Self {
            bytes: [0; MAX_LINE],
            len: 0,
        };
        line.push(b"omnizap: ");
        line
    }

    fn push(&mut self, bytes: &[u8]) {
        // The last byte is the line's end.
        for byte in bytes.iter().take(MAX_LINE - 1 - self.len) {
            self.bytes[self.len] = match byte {
                b' '..=b'~' => *byte,
                _ => b'?',
            };
            self.len += 1;
        }
    }

    fn push_name(&mut self, before: &[u8], name: &[u8]) {
        if !name.is_empty() {
            self.push(before);
            self.push(&name[..name.len().min(MAX_NAME)]);
        }
    }

    fn push_inner(&mut self, inner: &Inner<'_>) {
        self.push_name(b" in the plugin `", inner.plugin);
        self.push_name(b"`, stage `", inner.stage);
        self.push(b"`, ");
        self.push(inner.hook.name().as_bytes());
        self.push_name(b", request ", inner.request);
    }

    fn write(&mut self) {
        self.bytes[self.len] = b'\n';
        self.len += 1;
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: the bytes are our own; writing is safe in a handler.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written @ 1..) => rest = &rest[written.min(rest.len())..],
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inside::Hook;
    use super::*;

    #[test]
    fn a_line_names_what_there_is_and_holds_no_control_character() {
        let mut line = Line::new();
        line.push(b"crashed");
        line.push_inner(&Inner {
            plugin: b"acme",
            stage: b"acme/a",
            request: b"r\n1",
            hook: Hook::Run,
        });
        let said = String::from_utf8(line.bytes[..line.len].to_vec()).unwrap();
        assert_eq!(
            said,
            "omnizap: crashed in the plugin `acme`, stage `acme/a`, run, request r?1"
        );
        line.push(&[b'x'; 2 * MAX_LINE]);
        assert_eq!(line.len, MAX_LINE - 1, "there is room for its end");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri loads no libraries")]
    fn code_is_known_by_its_place() {
        static NAME: &str = "this test";
        let here = code_is_known_by_its_place as *const c_void;
        know(here, NAME);
        assert_eq!(owner_of(here as usize), Some(NAME.as_bytes()));
        assert_eq!(owner_of(0), None);
    }
}
