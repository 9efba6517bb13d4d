//! Stages that third parties ship as shared libraries, over the C ABI of
//! `plugins/contract/include/omnizap_plugin.h`.
//!
//! A file goes through these in order, and is refused at the first that it fails:
//!
//! 1. [`mod@file`]: only its owner may write to it, and its SHA-256 is the one allowed; it is
//!    copied into a cache under that hash and opened from there
//! 2. [`manifest`]: magic, versions, stages, read out of the file as data (`elf`); no code runs
//! 3. `needs`: it loads nothing beside itself that the hash does not cover
//! 4. `library`: opened with `RTLD_NOW | RTLD_LOCAL`, never unloaded; `init`
//! 5. [`loader`]: its stages become [`omnizap_contract::StageKind`]s like any other
//!
//! `library`, `host`, `instance`, `call` and `probe` are the only places with unsafe code: they hold
//! what crosses the boundary. [`stage`] is safe again: it makes instances anew and stops those that
//! fail.
//!
//! [`probe`] lets the validator do to a library what no pipeline would.
//!
//! No code of a plugin runs on a thread of anybody else: calls on threads of their stage,
//! everything else on threads of its own (`errand`), each waited for until a deadline. A thread
//! that does not come back is given up and counted, up to [`Limits::max_lost`].
//!
//! What this tier cannot contain is a crash of the library's machine code, which takes the process
//! with it, and it cannot end a loop: `host::crash` says whose it was, the log and the stage's health say
//! where it hangs. Allow only what you trust and have tried.

mod call;
mod elf;
mod errand;
mod error;
mod fault;
pub mod file;
mod host;
mod instance;
mod library;
pub mod loader;
pub mod manifest;
mod needs;
pub mod probe;
mod schema;
pub mod stage;
mod types;

pub use error::FileError;
pub use host::crash::ENDED_BY_A_PLUGIN;
pub use loader::{Loader, Plugin};
pub use manifest::{Manifest, StageManifest, read_manifest};
pub use stage::Limits;
