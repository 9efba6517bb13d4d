//! What the host lends, read as Rust: calls, texts, options, its table.

#![allow(unsafe_code, reason = "the plugin's side of the boundary")]

mod call;
mod host;
mod read;

pub use self::call::CallRef;
pub(crate) use self::host::HostRef;
pub(crate) use self::read::{bytes, read_options};
