//! What commands say: answers on standard output, all else on standard error.
//!
//! Either may have nobody who reads it (`omnizap graph | head`), or no room. A command that changes
//! something goes on all the same, and never panics: what cannot be written to standard output is
//! remembered until the end, which tells it, and what cannot be written to standard error is lost.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Why standard output took no more: from then on nothing is written to it.
static FAULT: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output, with a new line.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!($($text)*), "\n")
    };
}

/// Prints to standard output.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!($($text)*), "")
    };
}

/// Prints to standard error, with a new line.
macro_rules! errln {
    ($($text:tt)*) => {
        $crate::cli::output::tell(format_args!($($text)*), "\n")
    };
}

/// Prints to standard error.
macro_rules! err {
    ($($text:tt)*) => {
        $crate::cli::output::tell(format_args!($($text)*), "")
    };
}

pub(super) fn print(text: fmt::Arguments<'_>, end: &str) {
    if is_closed() {
        return;
    }
    let text = format!("{text}{end}");
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        let _ = FAULT.set(error);
    }
}

pub(super) fn tell(text: fmt::Arguments<'_>, end: &str) {
    // In one piece, so that another process does not write into the middle of it.
    let text = format!("{text}{end}");
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// True once nobody takes what is printed: long work for nothing else may end.
pub(super) fn is_closed() -> bool {
    FAULT.get().is_some()
}

/// The end of a command that ended so. Whoever closed the pipe has had enough, and that is all; a
/// disk that is full is told, or a file without its end would pass for the answer.
pub(super) fn ended(code: ExitCode) -> ExitCode {
    if !is_closed()
        && let Err(error) = io::stdout().flush()
    {
        let _ = FAULT.set(error);
    }
    match FAULT.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            errln!("error: standard output could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}
