//! Stages that third parties ship as shared libraries, over the C ABI of
//! `plugins/contract/include/omnizap_plugin.h`.
//!
//! A file goes through these in order, and is refused at the first that it fails:
//!
//! 1. [`mod@file`]: only its owner may write to it, and its SHA-256 is the one allowed; it is
//!    copied into a cache under that hash and opened from there
//! 2. [`manifest`]: magic, versions, stages, read out of the file as data (`elf`); no code runs
//! 3. `library`: opened with `RTLD_NOW | RTLD_LOCAL`, never unloaded; `init`
//! 4. [`loader`]: its stages become [`omnizap_contract::StageKind`]s like any other
//!
//! `library`, `host`, `instance`, `call` and `probe` are the only places with unsafe code: they hold
//! what crosses the boundary. [`stage`] is safe again: it makes instances anew and stops those that
//! fail.
//!
//! [`probe`] lets the validator do to a library what no pipeline would.
//!
//! What this tier cannot contain is a crash or an endless loop of the library's machine
//! code: both belong to the process. Allow only what you trust and have tried.

mod call;
mod elf;
mod error;
mod fault;
pub mod file;
mod host;
mod instance;
mod library;
pub mod loader;
pub mod manifest;
pub mod probe;
mod schema;
pub mod stage;
mod types;

pub use error::FileError;
pub use loader::{Loader, Plugin};
pub use manifest::{Manifest, StageManifest, read_manifest};
pub use stage::Limits;
