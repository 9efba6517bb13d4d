//! What a library shares with the whole process, and must leave as it is: signals, folder, umask,
//! locale, environment, limits, standard output.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::process::{Resource, limit_of};

/// Most bytes of what was printed that are kept.
const MAX_PRINTED: u64 = 256;
/// Real-time signals begin here; nobody looks further.
const SIGNALS: std::ops::Range<c_int> = 1..32;

const SIGNAL_NAMES: [(c_int, &str); 21] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGCONT, "SIGCONT"),
    (libc::SIGTSTP, "SIGTSTP"),
    (libc::SIGURG, "SIGURG"),
    (libc::SIGWINCH, "SIGWINCH"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGSYS, "SIGSYS"),
];

/// Signals that the runtime of a language may handle from the moment on that it is loaded: those of
/// its own faults, those by which it interrupts its threads, and writing to a closed pipe.
const OF_RUNTIMES: [c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGURG,
    libc::SIGPROF,
    libc::SIGPIPE,
];

const LIMITS: [(Resource, &str); 9] = [
    (libc::RLIMIT_NOFILE, "open files"),
    (libc::RLIMIT_NPROC, "processes"),
    (libc::RLIMIT_STACK, "the stack"),
    (libc::RLIMIT_AS, "the address space"),
    (libc::RLIMIT_DATA, "data"),
    (libc::RLIMIT_CORE, "core dumps"),
    (libc::RLIMIT_CPU, "processor time"),
    (libc::RLIMIT_FSIZE, "the size of a file"),
    (libc::RLIMIT_MEMLOCK, "locked memory"),
];

/// How the process stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings(BTreeMap<String, State>);

/// One thing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// What is compared.
    value: String,
    /// False for what may be a secret.
    is_shown: bool,
    /// A handler that a runtime may have set.
    is_of_runtime: bool,
}

impl Surroundings {
    /// Looks at the process.
    #[must_use]
    pub fn now() -> Self {
        let mut all = Self::default();
        for signal in SIGNALS {
            all.add_signal(signal);
        }
        let folder = std::env::current_dir();
        let folder = folder.map_or_else(|error| error.to_string(), |it| it.display().to_string());
        all.add("the working folder", folder);
        all.add("the umask", umask());
        all.add("the locale", locale());
        for (resource, name) in LIMITS {
            all.add(&format!("the limit of {name}"), limit(resource));
        }
        all.add("the alarm", alarm());
        for (name, value) in std::env::vars_os() {
            let name = format!("the variable {}", name.display());
            let value = value.display().to_string();
            let secret = State {
                value,
                is_shown: false,
                is_of_runtime: false,
            };
            all.0.insert(name, secret);
        }
        all
    }

    fn add(&mut self, name: &str, value: String) {
        let state = State {
            value,
            is_shown: true,
            is_of_runtime: false,
        };
        self.0.insert(name.to_owned(), state);
    }

    fn add_signal(&mut self, signal: c_int) {
        // SAFETY: a struct of numbers, which the call fills.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: reads into a struct that lives until the call returns.
        if unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } != 0 {
            return;
        }
        let known = SIGNAL_NAMES.iter().find(|(known, _)| *known == signal);
        let name = known.map_or_else(
            || format!("signal {signal}"),
            |(_, name)| (*name).to_owned(),
        );
        let value = match action.sa_sigaction {
            libc::SIG_DFL => "the default".to_owned(),
            libc::SIG_IGN => "ignored".to_owned(),
            handler => format!("handled at {handler:#x} with flags {:#x}", action.sa_flags),
        };
        let is_handled = !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
        let state = State {
            value,
            is_shown: true,
            is_of_runtime: is_handled && OF_RUNTIMES.contains(&signal),
        };
        self.0.insert(format!("what {name} does"), state);
    }

    /// What is other than it was `before`, each as a sentence. While a library is opened, its
    /// language's runtime `may_handle` signals of its own.
    #[must_use]
    pub fn changes_since(&self, before: &Self, may_handle: bool) -> Vec<String> {
        let names = before.0.keys().chain(self.0.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let changed = names.into_iter().filter_map(|name| {
            let (old, new) = (before.0.get(name), self.0.get(name));
            if old == new || (may_handle && new.is_some_and(|new| new.is_of_runtime)) {
                return None;
            }
            Some(match (old, new) {
                (Some(old), Some(new)) if old.is_shown => {
                    format!("{name} was {} and is {}", old.value, new.value)
                }
                (Some(_), Some(_)) => format!("{name} has another value"),
                (None, _) => format!("{name} is new"),
                (_, None) => format!("{name} is gone"),
            })
        });
        changed.collect()
    }
}

fn umask() -> String {
    // SAFETY: sets and restores a number of the process, of which there is no other reader here.
    let mask = unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask);
        mask
    };
    format!("{mask:03o}")
}

fn locale() -> String {
    // SAFETY: asks for the name, which is copied before anybody can change it.
    unsafe {
        let name = libc::setlocale(libc::LC_ALL, std::ptr::null());
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

fn limit(resource: Resource) -> String {
    let limit = match limit_of(resource) {
        Ok(limit) => limit,
        Err(error) => return error.to_string(),
    };
    let shown = |bound: libc::rlim_t| match bound {
        libc::RLIM_INFINITY => "none".to_owned(),
        bound => bound.to_string(),
    };
    format!("{} of {}", shown(limit.rlim_cur), shown(limit.rlim_max))
}

fn alarm() -> String {
    // SAFETY: a struct of numbers, which the call fills.
    let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
    // SAFETY: reads into a struct that lives until the call returns.
    unsafe { libc::getitimer(libc::ITIMER_REAL, &raw mut timer) };
    let is_set = timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0;
    if is_set { "set" } else { "not set" }.to_owned()
}

/// Standard output, held: what is written to it meanwhile goes nowhere, and is told.
pub struct HeldOutput {
    /// Where it led.
    before: OwnedFd,
    /// Where it leads.
    kept: File,
}

impl HeldOutput {
    /// Holds it. Whatever the host itself has to say must be out.
    ///
    /// # Errors
    /// The system refuses.
    pub fn hold() -> io::Result<Self> {
        flush();
        let kept = memory_file()?;
        // SAFETY: numbers of descriptors; a new one is owned by what is made of it.
        let before = unsafe { libc::dup(libc::STDOUT_FILENO) };
        if before < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let before = unsafe { OwnedFd::from_raw_fd(before) };
        lead_to(kept.as_raw_fd())?;
        Ok(Self { before, kept })
    }

    /// Lets it go; what was written, as far as that is shown.
    ///
    /// # Errors
    /// The system refuses.
    pub fn end(mut self) -> io::Result<String> {
        flush();
        lead_to(self.before.as_raw_fd())?;
        let mut printed = Vec::new();
        self.kept.rewind()?;
        self.kept.take(MAX_PRINTED).read_to_end(&mut printed)?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }
}

fn flush() {
    // SAFETY: flushes what C keeps back, of all its streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

fn lead_to(descriptor: c_int) -> io::Result<()> {
    // SAFETY: numbers of descriptors.
    match unsafe { libc::dup2(descriptor, libc::STDOUT_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    // SAFETY: the name lives until the call returns.
    let descriptor = unsafe { libc::memfd_create(c"stdout".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, owned by what is made of it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

#[cfg(not(target_os = "linux"))]
fn memory_file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str, is_shown: bool) -> Surroundings {
        let state = State {
            value: value.into(),
            is_shown,
            is_of_runtime: false,
        };
        Surroundings(BTreeMap::from([(name.to_owned(), state)]))
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process to change")]
    fn a_change_is_told_and_no_value_of_a_variable() {
        let now = Surroundings::now();
        assert_eq!(now.changes_since(&now, false), Vec::<String>::new());
        assert!(now.0.contains_key("what SIGTERM does"), "{now:?}");
        for (before, after, told) in [
            (
                with("the umask", "022", true),
                with("the umask", "000", true),
                "the umask was 022 and is 000",
            ),
            (
                with("the variable TOKEN", "secret", false),
                with("the variable TOKEN", "other", false),
                "the variable TOKEN has another value",
            ),
            (
                Surroundings::default(),
                with("the variable TOKEN", "secret", false),
                "the variable TOKEN is new",
            ),
            (
                with("the variable TOKEN", "secret", false),
                Surroundings::default(),
                "the variable TOKEN is gone",
            ),
        ] {
            assert_eq!(after.changes_since(&before, false), [told]);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no signals")]
    fn a_runtime_may_handle_its_own_faults_while_it_is_loaded() {
        let mut after = with("what SIGSEGV does", "handled at 0x1 with flags 0x0", true);
        let before = with("what SIGSEGV does", "the default", true);
        for state in after.0.values_mut() {
            state.is_of_runtime = true;
        }
        assert!(after.changes_since(&before, true).is_empty());
        assert_eq!(after.changes_since(&before, false).len(), 1);
    }
}
