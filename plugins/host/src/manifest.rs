//! What a plugin says of itself, read out of its file without running any of it.

use std::mem::offset_of;

use object::Architecture;
use omnizap_contract::{Input, OptionSpec, Output, PortType, Presence, abi};
use serde_json::Value as Json;

pub use crate::elf::Needs;
use crate::elf::{Image, Record};
use crate::error::FileError;
use crate::schema::{read_default, read_options};

/// A plugin and its stages.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The ABI that it was built with.
    pub abi: (u32, u32),
    /// The oldest minor version of this host's ABI that it works with.
    pub min_host_minor: u32,
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was built.
    pub build: String,
    /// Its stages.
    pub stages: Vec<StageManifest>,
    /// The symbols that it exports: more than its entry is a mistake of its build.
    pub exports: Vec<String>,
    /// What the loader will open beside it.
    pub needs: Needs,
}

/// A stage of a plugin.
#[derive(Clone, Debug)]
pub struct StageManifest {
    /// `vendor/name`.
    pub id: String,
    /// One line.
    pub doc: String,
    /// Of `abi::THREAD_SAFE` and the like.
    pub flags: u32,
    /// The options that `with` may set.
    pub options: Vec<OptionSpec>,
    /// What it takes.
    pub inputs: Vec<Input>,
    /// What it gives.
    pub outputs: Vec<OutputPort>,
}

/// An output, and the shape that its plugin declares for it.
#[derive(Clone, Debug)]
pub struct OutputPort {
    /// The port.
    pub port: Output,
    /// Length of each axis, -1 for any; `None` for any shape.
    pub shape: Option<Vec<i64>>,
}

impl StageManifest {
    /// True where the stage has that flag.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The names of its flags.
    #[must_use]
    pub fn flag_names(&self) -> Vec<&'static str> {
        let all = [
            (abi::THREAD_SAFE, "THREAD_SAFE"),
            (abi::PURE, "PURE"),
            (abi::BATCHABLE, "BATCHABLE"),
            (abi::BLOCKING, "BLOCKING"),
        ];
        let set = all.iter().filter(|(flag, _)| self.has(*flag));
        set.map(|(_, name)| *name).collect()
    }
}

/// Reads what a file says of itself, and checks that this host can work with it.
///
/// # Errors
/// See [`FileError`].
pub fn read_manifest(data: &[u8]) -> Result<Manifest, FileError> {
    let image = Image::parse(data)?;
    check_architecture(image.architecture)?;
    let entry_at = image.symbol(abi::ENTRY_SYMBOL).ok_or(FileError::NoEntry)?;
    // The header first: what follows means something only under the right ABI.
    let magic = image.u64(entry_at.wrapping_add(offset_of!(abi::Entry, magic) as u64))?;
    if magic != abi::MAGIC {
        return Err(FileError::Magic(magic));
    }
    let header_len = offset_of!(abi::Entry, name);
    let size_at = offset_of!(abi::Entry, struct_size);
    let header = image.record("oz_entry", entry_at, size_at, (header_len, header_len))?;
    let major = header.u32(offset_of!(abi::Entry, abi_major))?;
    let minor = header.u32(offset_of!(abi::Entry, abi_minor))?;
    let min_host_minor = header.u32(offset_of!(abi::Entry, min_host_minor))?;
    if major != abi::ABI_MAJOR {
        return Err(FileError::Major(major, minor));
    }
    if min_host_minor > abi::ABI_MINOR {
        return Err(FileError::HostTooOld(min_host_minor));
    }
    let size = size_of::<abi::Entry>();
    let entry = image.record("oz_entry", entry_at, size_at, (size, size))?;
    for (name, offset) in [("get_factory", offset_of!(abi::Entry, get_factory))] {
        if entry.pointer(offset)? == 0 {
            return Err(FileError::NullFunction(name));
        }
    }
    let stages = entry.pointers(
        "stages",
        (
            offset_of!(abi::Entry, stages),
            offset_of!(abi::Entry, stage_count),
        ),
        abi::MAX_STAGES,
    )?;
    let stages: Vec<StageManifest> = stages
        .into_iter()
        .map(|address| read_stage(&image, address))
        .collect::<Result<_, _>>()?;
    if stages.is_empty() {
        return Err(FileError::Descriptor("the plugin declares no stage".into()));
    }
    for (index, stage) in stages.iter().enumerate() {
        if stages[..index].iter().any(|other| other.id == stage.id) {
            return Err(FileError::Descriptor(format!(
                "two stages have the id `{}`: each needs its own",
                stage.id
            )));
        }
    }
    Ok(Manifest {
        abi: (major, minor),
        min_host_minor,
        name: entry.text("the plugin's name", offset_of!(abi::Entry, name))?,
        version: entry.text("the plugin's version", offset_of!(abi::Entry, version))?,
        build: entry.text("the build info", offset_of!(abi::Entry, build))?,
        stages,
        exports: image.exports().into_iter().map(str::to_owned).collect(),
        needs: image.needs.clone(),
    })
}

fn check_architecture(found: Architecture) -> Result<(), FileError> {
    let ours = if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Architecture::Aarch64
    } else {
        Architecture::Unknown
    };
    if found == ours && cfg!(target_os = "linux") {
        return Ok(());
    }
    Err(FileError::Architecture {
        found: format!("{found:?}"),
        host: format!("{ours:?} on {}", std::env::consts::OS),
    })
}

/// A port, and the shape of its tensors where it is fixed; -1 is any length.
type ShapedPort = (abi_port::Port, Option<Vec<i64>>);

fn read_stage(image: &Image<'_>, address: u64) -> Result<StageManifest, FileError> {
    let size = size_of::<abi::StageDescriptor>();
    let record = image.record("oz_stage_descriptor", address, 0, (size, size))?;
    let id = record.text("a stage's id", offset_of!(abi::StageDescriptor, id))?;
    if !is_stage_id(&id) {
        return Err(FileError::Descriptor(format!(
            "the stage id {id:?} is not `vendor/name` of a-z, 0-9 and -"
        )));
    }
    let within = |error: FileError| match error {
        FileError::Descriptor(text) => FileError::Descriptor(format!("stage `{id}`: {text}")),
        other => other,
    };
    let ports = |what, array, count| -> Result<Vec<ShapedPort>, FileError> {
        record
            .pointers(what, (array, count), abi::MAX_PORTS)?
            .into_iter()
            .map(|address| abi_port::read(image, address))
            .collect()
    };
    let inputs = ports(
        "inputs",
        offset_of!(abi::StageDescriptor, inputs),
        offset_of!(abi::StageDescriptor, input_count),
    )
    .and_then(|ports| ports.into_iter().map(|(port, _)| input(port)).collect())
    .map_err(within)?;
    let outputs = ports(
        "outputs",
        offset_of!(abi::StageDescriptor, outputs),
        offset_of!(abi::StageDescriptor, output_count),
    )
    .and_then(|ports| {
        let ports = ports.into_iter();
        ports
            .map(|(port, shape)| {
                let port = output(port)?;
                Ok(OutputPort { port, shape })
            })
            .collect()
    })
    .map_err(within)?;
    let stage = StageManifest {
        doc: record
            .text("the doc line", offset_of!(abi::StageDescriptor, doc))
            .map_err(within)?,
        flags: record.u32(offset_of!(abi::StageDescriptor, flags))?,
        options: record
            .text(
                "options_json",
                offset_of!(abi::StageDescriptor, options_json),
            )
            .and_then(|text| read_options(&text))
            .map_err(within)?,
        inputs,
        outputs,
        id: id.clone(),
    };
    check_names(&stage).map_err(within)?;
    Ok(stage)
}

/// `vendor/name`: two words of lower-case letters, digits and dashes.
pub(crate) fn is_stage_id(id: &str) -> bool {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    id.split_once('/')
        .is_some_and(|(vendor, name)| plain(vendor) && plain(name))
}

fn check_names(stage: &StageManifest) -> Result<(), FileError> {
    let inputs: Vec<&str> = stage.inputs.iter().map(|input| &*input.name).collect();
    let outputs: Vec<&str> = stage.outputs.iter().map(|out| &*out.port.name).collect();
    for (side, names) in [("inputs", inputs), ("outputs", outputs)] {
        for (index, name) in names.iter().enumerate() {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(FileError::Descriptor(format!(
                    "the port name {name:?} is not made of a-z, 0-9 and _"
                )));
            }
            if names[..index].contains(name) {
                return Err(FileError::Descriptor(format!(
                    "two {side} are named `{name}`"
                )));
            }
        }
    }
    Ok(())
}

fn input(port: abi_port::Port) -> Result<Input, FileError> {
    let presence = if !port.default_json.is_empty() {
        Presence::Default(read_default(&port.name, port.ty, &port.default_json)?)
    } else if port.flags & abi::PORT_OPTIONAL != 0 {
        Presence::Optional
    } else {
        Presence::Required
    };
    let mut input = Input::required(port.name, port.ty, port.doc);
    input.presence = presence;
    Ok(input)
}

fn output(port: abi_port::Port) -> Result<Output, FileError> {
    let mut output = Output::new(port.name.clone(), port.ty, port.doc);
    output.optional = port.flags & abi::PORT_OPTIONAL != 0;
    if port.flags & abi::PORT_PUBLISHED == 0 {
        return Ok(output);
    }
    let neutral = if port.neutral_json.is_empty() {
        Json::Null
    } else {
        serde_json::from_str(&port.neutral_json).map_err(|error| {
            FileError::Descriptor(format!("neutral_json of `{}`: {error}", port.name))
        })?
    };
    let field = if port.field.is_empty() {
        port.name
    } else {
        port.field
    };
    output = output.published_as(field, neutral);
    if let Ok(decimals) = u8::try_from(port.decimals) {
        // Beyond 15 decimals an f64 has nothing to round.
        output = output.rounded(decimals.min(15));
    }
    Ok(output)
}

/// Ports as the file spells them.
mod abi_port {
    use super::{FileError, Image, PortType, Record, abi, offset_of};

    pub(crate) struct Port {
        pub(crate) ty: PortType,
        pub(crate) flags: u32,
        pub(crate) decimals: i32,
        pub(crate) name: String,
        pub(crate) doc: String,
        pub(crate) default_json: String,
        pub(crate) field: String,
        pub(crate) neutral_json: String,
    }

    pub(crate) fn read(
        image: &Image<'_>,
        address: u64,
    ) -> Result<(Port, Option<Vec<i64>>), FileError> {
        let size = size_of::<abi::Port>();
        let record: Record<'_, '_> = image.record("oz_port", address, 0, (size, size))?;
        let name = record.text("a port's name", offset_of!(abi::Port, name))?;
        let ty = record.u32(offset_of!(abi::Port, r#type))?;
        let ty = crate::types::port_type(ty).ok_or_else(|| {
            FileError::Descriptor(format!("the port `{name}` has the unknown type {ty}"))
        })?;
        let axes = record.usize(offset_of!(abi::Port, ndim))?;
        let shape = if record.pointer(offset_of!(abi::Port, shape))? == 0 {
            None
        } else if axes > abi::MAX_AXES {
            return Err(FileError::Descriptor(format!(
                "the port `{name}` has {axes} axes, at most {} are allowed",
                abi::MAX_AXES
            )));
        } else {
            Some(record.integers(offset_of!(abi::Port, shape), axes)?)
        };
        let text = |what: &str, offset| record.text(what, offset);
        let port = Port {
            ty,
            flags: record.u32(offset_of!(abi::Port, flags))?,
            decimals: record.u32(offset_of!(abi::Port, decimals))?.cast_signed(),
            doc: text("a port's doc line", offset_of!(abi::Port, doc))?,
            default_json: text("default_json", offset_of!(abi::Port, default_json))?,
            field: text("a response field", offset_of!(abi::Port, field))?,
            neutral_json: text("neutral_json", offset_of!(abi::Port, neutral_json))?,
            name,
        };
        Ok((port, shape))
    }
}
