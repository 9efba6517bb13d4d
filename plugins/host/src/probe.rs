//! A library under examination: what the validator asks of it, through the host's own code
//! where that is what counts, and below it where the host would hide what the library does.
//!
//! - here: the library, its `init` and `deinit`, instances and what they answer
//! - `frame`: one call whose inputs lie in memory of their own, and a batch of them
//! - `arena`: that memory
//! - [`across`]: values there and back, with no library at all
//! - [`process`]: limits of the process that this happens in, and what it uses
//! - [`surroundings`]: what else it shares with the library

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

pub mod across;
mod arena;
mod frame;
pub mod process;
pub mod surroundings;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use omnizap_contract::{Call, Inputs, Options, Outputs, abi};

use crate::error::FileError;
use crate::fault::Fault;
use crate::file;
use crate::host::inside;
use crate::instance::Instance;
use crate::library::{Library, init};
use crate::manifest::{Manifest, StageManifest, read_manifest};
use crate::types::{error_kind, status_name};

pub use crate::host::inside::Left;
pub use frame::{Ended, Lent, Memory, Picture};

/// An id that no version of the ABI has.
const UNKNOWN_ID: &str = "omnizap.unknown/1";

/// What calls of the library on this thread left changed of it since this was last asked. The host
/// has put it back.
#[must_use]
pub fn take_left() -> Left {
    inside::take_left()
}

/// An opened library.
pub struct Probe {
    library: Arc<Library>,
}

/// What a plugin said in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its status.
    pub status: abi::Status,
    /// Its message; where it gave none, words that say so.
    pub message: String,
    /// The option at fault, maybe empty.
    pub option: String,
    /// No message, or a message or code that is not UTF-8.
    pub is_malformed: bool,
}

impl Trouble {
    /// True where the host holds it against the plugin, not against the request.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        error_kind(self.status).is_none()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", status_name(self.status), self.message)
    }
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With outputs as they are declared.
    Given(Outputs),
    /// With a status other than `OZ_OK`.
    Failed(Trouble),
    /// With outputs that the host refuses, for this reason.
    Wrong(String),
}

impl Answer {
    fn of(result: Result<Outputs, Fault>) -> Self {
        match result {
            Ok(outputs) => Self::Given(outputs),
            Err(fault) if fault.status == abi::OK => Self::Wrong(fault.message),
            Err(fault) => Self::Failed(fault.into()),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self {
            status: fault.status,
            message: fault.message,
            option: fault.option,
            is_malformed: fault.is_malformed,
        }
    }
}

impl Probe {
    /// Opens a file as the host would, without a copy and a hash, and calls its `init`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let path = path.canonicalize().map_err(|source| FileError::Io {
            path: path.display().to_string(),
            source,
        })?;
        let manifest = read_manifest(&file::read(&path)?)?;
        let library = Library::open(&path, manifest, false)?;
        Ok(Self { library })
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.library.manifest
    }

    /// True where it has an `init`.
    #[must_use]
    pub fn has_init(&self) -> bool {
        self.library.entry.init.is_some()
    }

    /// Calls `init` once more; `None` where there is none.
    #[must_use]
    pub fn init(&self) -> Option<Result<(), Trouble>> {
        let ended = init(self.library.entry, self.library.host)?;
        Some(ended.map_err(Trouble::from))
    }

    /// Calls `deinit`, which undoes one `init`. No instance may be left.
    pub fn deinit(&self) {
        self.library.deinit();
    }

    /// True where it offers a factory under an id that does not exist.
    #[must_use]
    pub fn has_unknown_factory(&self) -> bool {
        let get_factory = self.library.entry.get_factory;
        // SAFETY: init has succeeded; the span is a constant.
        get_factory.is_some_and(|get| !unsafe { get(abi::Span::of(UNKNOWN_ID)) }.is_null())
    }

    /// Calls `create`.
    ///
    /// # Errors
    /// What the plugin said, or what is wrong with what it gave.
    pub fn create(&self, stage: &Arc<StageManifest>) -> Result<Specimen, Trouble> {
        let instance = Instance::create(&self.library, stage)?;
        Ok(Specimen { instance })
    }
}

/// An instance of a stage. Dropped, it is deactivated and destroyed.
pub struct Specimen {
    instance: Instance,
}

impl Specimen {
    /// Calls `validate_config`.
    ///
    /// # Errors
    /// What the plugin said.
    pub fn validate(&mut self, options: &Options) -> Result<(), Trouble> {
        Ok(self.instance.validate(options)?)
    }

    /// Calls `activate`.
    ///
    /// # Errors
    /// What the plugin said.
    pub fn activate(&mut self, options: &Options) -> Result<(), Trouble> {
        Ok(self.instance.activate(options)?)
    }

    /// Calls `deactivate`.
    pub fn deactivate(&mut self) {
        self.instance.deactivate();
    }

    /// Calls `run` as the host does.
    #[must_use]
    pub fn run(&self, inputs: &Inputs, call: &Call) -> Answer {
        Answer::of(self.instance.run(inputs, call))
    }

    /// Calls `run` with inputs in memory of their own, which can be taken away after.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn run_lent(&self, lent: Lent<'_>, call: &Call) -> io::Result<Ended> {
        frame::run(&self.instance, lent, call)
    }

    /// Calls `run_batch` likewise.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn run_batch(&self, lent: &[Lent<'_>], call: &Call) -> io::Result<(Vec<Answer>, Memory)> {
        frame::run_batch(&self.instance, lent, call)
    }

    /// True where the stage has `run_batch`.
    #[must_use]
    pub fn has_run_batch(&self) -> bool {
        self.instance.table().run_batch.is_some()
    }

    /// The most calls that it likes in a batch.
    ///
    /// # Errors
    /// Its extension is too short, or asks for what cannot be.
    pub fn max_batch(&self) -> Result<u32, Trouble> {
        Ok(self.instance.max_batch()?)
    }

    /// True where it offers an extension under an id that does not exist.
    #[must_use]
    pub fn has_unknown_extension(&self) -> bool {
        !self.instance.extension(UNKNOWN_ID).is_null()
    }
}
