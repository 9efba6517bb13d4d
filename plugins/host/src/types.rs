//! Types of ports and values: the contract's and the ABI's numbers for them.

use omnizap_contract::{Channels, ErrorKind, PortType, abi};

const TYPES: [(u32, PortType); 11] = [
    (abi::BYTES, PortType::Bytes),
    (abi::IMAGE, PortType::Image),
    (abi::EMBEDDING, PortType::Embedding),
    (abi::SCORES, PortType::Scores),
    (abi::TENSOR, PortType::Tensor),
    (abi::TEXT, PortType::Text),
    (abi::TEXT_LIST, PortType::TextList),
    (abi::NUMBER, PortType::Number),
    (abi::INTEGER, PortType::Integer),
    (abi::BOOL, PortType::Bool),
    (abi::JSON, PortType::Json),
];

pub(crate) fn port_type(number: u32) -> Option<PortType> {
    let found = TYPES.iter().find(|(known, _)| *known == number);
    found.map(|(_, ty)| *ty)
}

pub(crate) fn number(ty: PortType) -> u32 {
    let found = TYPES.iter().find(|(_, known)| *known == ty);
    found.map_or(abi::ABSENT, |(number, _)| *number)
}

pub(crate) fn layout(channels: Channels) -> u32 {
    match channels {
        Channels::Gray => abi::GRAY,
        Channels::Rgb => abi::RGB,
        Channels::Rgba => abi::RGBA,
    }
}

pub(crate) fn channels(layout: u32) -> Option<Channels> {
    match layout {
        abi::GRAY => Some(Channels::Gray),
        abi::RGB => Some(Channels::Rgb),
        abi::RGBA => Some(Channels::Rgba),
        _ => None,
    }
}

/// What a status means for the client; `None` for a fault of the plugin.
pub(crate) fn error_kind(status: abi::Status) -> Option<ErrorKind> {
    match status {
        abi::INVALID => Some(ErrorKind::Invalid),
        abi::UNAVAILABLE => Some(ErrorKind::Unavailable),
        abi::BUSY => Some(ErrorKind::Busy),
        abi::DEADLINE => Some(ErrorKind::Deadline),
        _ => None,
    }
}

/// The name of a status in the header.
pub(crate) fn status_name(status: abi::Status) -> String {
    let known = [
        (abi::OK, "OZ_OK"),
        (abi::INVALID, "OZ_INVALID"),
        (abi::UNAVAILABLE, "OZ_UNAVAILABLE"),
        (abi::BUSY, "OZ_BUSY"),
        (abi::DEADLINE, "OZ_DEADLINE"),
        (abi::CONFIG, "OZ_CONFIG"),
        (abi::UNSUPPORTED, "OZ_UNSUPPORTED"),
        (abi::REFUSED, "OZ_REFUSED"),
        (abi::INTERNAL, "OZ_INTERNAL"),
        (abi::PANIC, "OZ_PANIC"),
        (abi::NO_MEMORY, "OZ_NO_MEMORY"),
    ];
    let found = known.iter().find(|(number, _)| *number == status);
    found.map_or_else(
        || format!("the unknown status {status}"),
        |(_, name)| (*name).into(),
    )
}

/// True where a struct's size says that it has its first `least` bytes.
pub(crate) const fn covers(struct_size: u32, least: usize) -> bool {
    struct_size as usize >= least
}
