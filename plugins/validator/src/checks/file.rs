//! Checks of the file as data; no code of the plugin runs.

use omnizap_contract::abi;
use omnizap_host::loader::check_needs;
use omnizap_host::{FileError, StageManifest};

use crate::check::{Check, Gate, Run};
use crate::trial::FileTrial;
use crate::verdict::{Finding, Passed, Verdict};

pub(super) const LIBRARY: Check = Check {
    id: "library",
    rule: "is a shared library for this machine",
    advice: "build a shared library (.so) for 64-bit Linux on this processor",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const ENTRY: Check = Check {
    id: "entry",
    rule: "exports the constant omnizap_plugin_entry",
    advice: "export it: in C with OZ_EXPORT, in Rust with omnizap_plugin::export!",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const MAGIC: Check = Check {
    id: "magic",
    rule: "its entry begins with OZ_MAGIC",
    advice: "set .magic = OZ_MAGIC",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const ABI_VERSION: Check = Check {
    id: "abi-version",
    rule: "speaks an ABI that this host speaks",
    advice: "set .abi_major = OZ_ABI_MAJOR and .min_host_minor to the oldest minor that will do",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const STRUCT_SIZE: Check = Check {
    id: "struct-size",
    rule: "each struct is as long as its first version",
    advice: "set .struct_size = sizeof(the struct)",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const FUNCTIONS: Check = Check {
    id: "functions",
    rule: "the entry has its functions",
    advice: "give the entry a get_factory",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const DESCRIPTORS: Check = Check {
    id: "descriptors",
    rule: "ids, ports, defaults and option schemas are right",
    advice: "correct the descriptor; omnizap_plugin.h says what each field may hold",
    gate: Gate::Failure,
    run: Run::Read,
};

pub(super) const EXPORTS: Check = Check {
    id: "exports",
    rule: "exports its entry and nothing else",
    advice: "hide the rest: -fvisibility=hidden, or a version script for the linker",
    gate: Gate::Open,
    run: Run::File(exports),
};

pub(super) const NEEDS: Check = Check {
    id: "needs",
    rule: "needs no library but what the system finds by itself",
    advice: "link what it needs statically, or install it where the system looks, and build without -rpath",
    gate: Gate::Open,
    run: Run::File(needs),
};

pub(super) const DOCS: Check = Check {
    id: "docs",
    rule: "stage, ports and options each have one line of text",
    advice: "say in one line what it is, with its unit and shape: `check` and `graph` show it",
    gate: Gate::Open,
    run: Run::Described(docs),
};

/// Symbols that linkers add.
const OF_THE_LINKER: [&str; 5] = ["_init", "_fini", "_edata", "_end", "__bss_start"];

/// Reading stops at the first thing that is wrong: the check that it belongs to fails.
pub(crate) fn read(trial: &FileTrial, check: &str) -> Verdict {
    match &trial.manifest {
        Err(error) if belongs_to(error) == check => Err(Finding::new(error.to_string())),
        _ => Ok(Passed::Ok),
    }
}

fn belongs_to(error: &FileError) -> &'static str {
    match error {
        FileError::NoEntry => ENTRY.id,
        FileError::Magic(_) => MAGIC.id,
        FileError::Major(..) | FileError::HostTooOld(_) => ABI_VERSION.id,
        FileError::ShortStruct { .. } => STRUCT_SIZE.id,
        FileError::NullFunction(_) => FUNCTIONS.id,
        FileError::Descriptor(_) => DESCRIPTORS.id,
        FileError::Io { .. }
        | FileError::TooLarge { .. }
        | FileError::Writable { .. }
        | FileError::Hash { .. }
        | FileError::NotALibrary(_)
        | FileError::Architecture { .. }
        | FileError::Open(_)
        | FileError::Init(_)
        | FileError::Uncovered(_)
        | FileError::Late { .. }
        | FileError::LoaderHeld(_) => LIBRARY.id,
    }
}

fn exports(trial: &FileTrial) -> Verdict {
    let exports = trial.manifest.iter().flat_map(|manifest| &manifest.exports);
    let others: Vec<&str> = exports
        .map(String::as_str)
        .filter(|name| *name != abi::ENTRY_SYMBOL && !OF_THE_LINKER.contains(name))
        .collect();
    let Some((first, rest)) = others.split_first() else {
        return Ok(Passed::Ok);
    };
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Finding::new(format!("it also exports `{first}`{more}")))
}

fn needs(trial: &FileTrial) -> Verdict {
    let checked = trial.manifest.as_ref().map(check_needs);
    match checked {
        Ok(Err(error)) => Err(Finding::new(error.what())),
        _ => Ok(Passed::Ok),
    }
}

fn docs(stage: &StageManifest) -> Verdict {
    let inputs = stage.inputs.iter();
    let inputs = inputs.map(|input| (format!("the input `{}`", input.name), &*input.doc));
    let outputs = stage.outputs.iter().map(|output| {
        let port = &output.port;
        (format!("the output `{}`", port.name), &*port.doc)
    });
    let options = stage.options.iter();
    let options = options.map(|option| (format!("the option `{}`", option.name), &*option.doc));
    let all = std::iter::once(("the stage".to_owned(), &*stage.doc));
    for (what, doc) in all.chain(inputs).chain(outputs).chain(options) {
        if doc.trim().is_empty() {
            return Err(Finding::new(format!("{what} has no doc line")));
        }
        if doc.contains('\n') {
            return Err(Finding::new(format!(
                "the doc of {what} is more than a line"
            )));
        }
    }
    Ok(Passed::Ok)
}
