//! Why a plugin's file is not opened.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use omnizap_contract::abi::{ABI_MAJOR, ABI_MINOR, ENTRY_SYMBOL};
use omnizap_contract::common::digest::Sha256Hex;

use crate::errand::Seconds;

/// Why a file is not opened; each says what to do.
#[derive(Debug)]
pub enum FileError {
    /// The file system said no.
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is over the limit.
    TooLarge {
        /// Which file.
        path: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Somebody else may write to it.
    Writable {
        /// `the file` or `the folder`.
        what: &'static str,
        /// Which.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not the file that was allowed.
    Hash {
        /// In the pipeline file.
        allowed: Box<Sha256Hex>,
        /// Of the file.
        found: Box<Sha256Hex>,
    },
    /// No shared library at all.
    NotALibrary(String),
    /// For another machine.
    Architecture {
        /// Of the file.
        found: String,
        /// Ours.
        host: String,
    },
    /// No entry.
    NoEntry,
    /// The entry is something else.
    Magic(u64),
    /// Another major version.
    Major(u32, u32),
    /// The host is too old.
    HostTooOld(u32),
    /// A struct is shorter than its first version.
    ShortStruct {
        /// The struct.
        what: &'static str,
        /// What it says.
        size: usize,
        /// The least there may be.
        least: usize,
    },
    /// A function that must be there is not.
    NullFunction(&'static str),
    /// A descriptor is wrong.
    Descriptor(String),
    /// The loader of the system refused it.
    Open(String),
    /// `init` failed.
    Init(String),
    /// It loads libraries that its hash does not cover.
    Uncovered(String),
    /// One of its functions did not return.
    Late {
        /// The plugin.
        plugin: String,
        /// The function.
        hook: &'static str,
        /// What it was waited for.
        limit: Duration,
    },
    /// The constructors of this other plugin did not return, and hold the system's loader.
    LoaderHeld(String),
}

impl FileError {
    /// What was found, in lower case.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Io { path, source } => format!("cannot read {path}: {source}"),
            Self::TooLarge { path, limit } => format!("{path} is larger than {limit} bytes"),
            Self::Writable { what, path, mode } => {
                format!("{what} {path} may be written by its group or by everybody (mode {mode:o})")
            }
            Self::Hash { allowed, found } => {
                format!("the file's SHA-256 is {found}, allowed is {allowed}")
            }
            Self::NotALibrary(why) => format!("this is no plugin: {why}"),
            Self::Architecture { found, host } => {
                format!("the plugin was built for {found}, this host is {host}")
            }
            Self::NoEntry => format!("the library does not export `{ENTRY_SYMBOL}`"),
            Self::Magic(magic) => format!("the entry begins with {magic:#018x}, not with OZ_MAGIC"),
            Self::Major(major, minor) => format!(
                "the plugin speaks ABI {major}.{minor}, this host speaks {ABI_MAJOR}.{ABI_MINOR}"
            ),
            Self::HostTooOld(minor) => format!(
                "the plugin needs a host of ABI {ABI_MAJOR}.{minor} or later, this one speaks \
                 {ABI_MAJOR}.{ABI_MINOR}"
            ),
            Self::ShortStruct { what, size, least } => {
                format!("`{what}` is {size} bytes long, ABI {ABI_MAJOR}.0 has {least}")
            }
            Self::NullFunction(name) => format!("the function `{name}` is NULL"),
            Self::Descriptor(why) => format!("the plugin's descriptors are wrong: {why}"),
            Self::Open(why) => format!("the library could not be opened: {why}"),
            Self::Init(why) => format!("the plugin's init failed: {why}"),
            Self::Uncovered(what) => {
                format!("the file loads {what}, which its SHA-256 does not cover")
            }
            Self::Late {
                plugin,
                hook,
                limit,
            } => {
                let limit = Seconds(*limit);
                format!("the plugin {plugin} did not return from {hook} within {limit}")
            }
            Self::LoaderHeld(plugin) => format!(
                "the plugin {plugin} has not returned from its constructors, and the system opens \
                 one library at a time"
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } | Self::TooLarge { .. } | Self::Descriptor(_) | Self::Init(_) => {
                return None;
            }
            Self::Writable { path, .. } => format!("chmod go-w {path}"),
            Self::Hash { .. } => {
                "if the new file is wanted, run `omnizap plugins validate` on it, \
                 then `omnizap plugins allow`"
                    .into()
            }
            Self::NotALibrary(_) => "expected a shared library (.so) for 64-bit Linux".into(),
            Self::Architecture { .. } => "build it for this machine".into(),
            Self::NoEntry => "it is no plugin of OmniZap, or was linked without its entry (in C: \
                 OZ_EXPORT, in Rust: crate-type = [\"cdylib\"] and omnizap_plugin::export!)"
                .into(),
            Self::Magic(_) => {
                format!("build the plugin with omnizap_plugin.h of ABI {ABI_MAJOR}")
            }
            Self::Major(major, _) => {
                format!("get the plugin built for ABI {ABI_MAJOR}, or a host of ABI {major}")
            }
            Self::HostTooOld(_) => "update OmniZap, or use an older version of the plugin".into(),
            Self::ShortStruct { what, .. } => format!("set struct_size to sizeof({what})"),
            Self::NullFunction(_) => "every plugin must have it".into(),
            Self::Uncovered(_) => {
                "link that library statically, or install it where the system looks by itself, and \
                 build without -rpath (`patchelf --remove-rpath` takes one out)"
                    .into()
            }
            Self::Late { .. } => {
                "run `omnizap plugins validate` on it; this process has to be started again before \
                 the file is tried another time"
                    .into()
            }
            Self::LoaderHeld(_) => "take that plugin out and start this process again".into(),
            Self::Open(_) => "if it needs another library, install that one or link it statically \
                 (`ldd` shows what is missing)"
                .into(),
        })
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        let Some(help) = self.help() else {
            return Ok(());
        };
        // These two have a colon of their own.
        let separator = match self {
            Self::NotALibrary(_) | Self::Open(_) => ";",
            _ => ":",
        };
        write!(f, "{separator} {help}")
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
