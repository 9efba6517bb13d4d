//! Why a call of a plugin gave nothing, and the host's memory in which the plugin says so.

use std::time::Duration;

use omnizap_contract::abi;

use crate::types::status_name;

/// Longest message of a plugin's error, in bytes.
const MESSAGE: usize = 1024;
/// Longest code, and longest option name, of a plugin's error.
const WORD: usize = 64;

/// Why a call of a plugin gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The plugin's status; [`abi::OK`] where the plugin said that all is well and was wrong.
    pub(crate) status: abi::Status,
    /// Its message, for people.
    pub(crate) message: String,
    /// Its code, maybe empty.
    pub(crate) code: String,
    /// The option at fault, maybe empty.
    pub(crate) option: String,
    /// When to try again, if it says so.
    pub(crate) retry_after: Option<Duration>,
    /// A message or code that was no UTF-8 or longer than its memory, or no message at all.
    pub(crate) is_malformed: bool,
}

/// A plugin's words on one line, without what a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().map(shown).collect()
}

impl Fault {
    pub(crate) fn of_host(message: String) -> Self {
        Self {
            status: abi::OK,
            message,
            code: String::new(),
            option: String::new(),
            retry_after: None,
            is_malformed: false,
        }
    }

    /// The time of a call was over before the plugin was asked.
    pub(crate) fn late(message: &str) -> Self {
        Self {
            status: abi::DEADLINE,
            ..Self::of_host(message.to_owned())
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{} ({})", self.message, status_name(self.status))
    }
}

/// The host's memory for a plugin's error.
pub(crate) struct ErrorBuffers {
    out: abi::ErrorOut,
    message: [u8; MESSAGE],
    code: [u8; WORD],
    option: [u8; WORD],
}

impl ErrorBuffers {
    /// Inlined, so that its kilobyte is made where it is used and not moved there.
    #[inline(always)]
    pub(crate) fn new() -> Self {
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
    pub(crate) fn out(&mut self) -> *mut abi::ErrorOut {
        self.out.message = self.message.as_mut_ptr();
        self.out.code = self.code.as_mut_ptr();
        self.out.option = self.option.as_mut_ptr();
        &raw mut self.out
    }

    pub(crate) fn fault(&self, status: abi::Status) -> Fault {
        let message = &self.message[..self.out.message_len.min(MESSAGE)];
        let code = &self.code[..self.out.code_len.min(WORD)];
        let option = &self.option[..self.out.option_len.min(WORD)];
        let text = |bytes| plain(&String::from_utf8_lossy(bytes));
        // A message that was cut at the capacity may end within a character.
        let broken = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(_) => false,
            Err(error) => error.error_len().is_some() || bytes.len() < MESSAGE,
        };
        let is_too_long = self.out.message_len > MESSAGE || self.out.code_len > WORD;
        let is_malformed = message.is_empty() || is_too_long || broken(message) || broken(code);
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
}
