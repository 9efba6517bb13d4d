//! A stage's ports, options and flags: constants, because the host reads them out of the
//! file before it runs any of it.

use omnizap_contract::typed::{InSpec, OutSpec, Spec};
use omnizap_contract::{PortType, abi};

/// What a stage is.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// `vendor/name`, of a-z, 0-9 and -.
    pub id: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// Its options.
    pub options: &'static [Spec],
    /// What it takes.
    pub inputs: &'static [InSpec],
    /// What it gives.
    pub outputs: &'static [OutSpec],
    /// The same inputs and options give the same outputs, bit for bit.
    pub is_pure: bool,
    /// It waits for something (network, disk) instead of computing: its calls take no place
    /// from stages that compute.
    pub is_blocking: bool,
    /// Most calls that [`crate::Stage::run_batch`] likes at a time, up to 256; 1: no batches.
    pub max_batch: u32,
}

impl Descriptor {
    /// A pure stage without ports and options, to be completed with `..Descriptor::new(..)`.
    #[must_use]
    pub const fn new(id: &'static str, doc: &'static str) -> Self {
        Self {
            id,
            doc,
            options: &[],
            inputs: &[],
            outputs: &[],
            is_pure: true,
            is_blocking: false,
            max_batch: 1,
        }
    }
}

const EMPTY: abi::Port = abi::Port {
    struct_size: size_of::<abi::Port>() as u32,
    r#type: abi::ABSENT,
    flags: 0,
    decimals: -1,
    name: abi::Span::EMPTY,
    doc: abi::Span::EMPTY,
    default_json: abi::Span::EMPTY,
    field: abi::Span::EMPTY,
    neutral_json: abi::Span::EMPTY,
    shape: std::ptr::null(),
    ndim: 0,
};

pub(crate) const fn number(ty: PortType) -> u32 {
    match ty {
        PortType::Bytes => abi::BYTES,
        PortType::Image => abi::IMAGE,
        PortType::Embedding => abi::EMBEDDING,
        PortType::Scores => abi::SCORES,
        PortType::Tensor => abi::TENSOR,
        PortType::Text => abi::TEXT,
        PortType::TextList => abi::TEXT_LIST,
        PortType::Number => abi::NUMBER,
        PortType::Integer => abi::INTEGER,
        PortType::Bool => abi::BOOL,
        PortType::Json => abi::JSON,
    }
}

#[doc(hidden)]
#[must_use]
pub const fn inputs<const N: usize>(ports: &[InSpec]) -> [abi::Port; N] {
    let mut out = [EMPTY; N];
    let mut index = 0;
    while index < N {
        let port = ports[index];
        out[index] = abi::Port {
            r#type: number(port.ty),
            flags: if port.is_optional {
                abi::PORT_OPTIONAL
            } else {
                0
            },
            name: abi::Span::of(port.name),
            doc: abi::Span::of(port.doc),
            ..EMPTY
        };
        index += 1;
    }
    out
}

#[doc(hidden)]
#[must_use]
pub const fn outputs<const N: usize>(ports: &[OutSpec]) -> [abi::Port; N] {
    let mut out = [EMPTY; N];
    let mut index = 0;
    while index < N {
        let port = ports[index];
        let (mut flags, neutral_json) = match port.neutral {
            Some(neutral) => (abi::PORT_PUBLISHED, abi::Span::of(neutral)),
            None => (0, abi::Span::EMPTY),
        };
        if port.is_optional {
            flags |= abi::PORT_OPTIONAL;
        }
        out[index] = abi::Port {
            r#type: number(port.ty),
            flags,
            decimals: match port.decimals {
                Some(decimals) => decimals as i32,
                None => -1,
            },
            name: abi::Span::of(port.name),
            doc: abi::Span::of(port.doc),
            neutral_json,
            ..EMPTY
        };
        index += 1;
    }
    out
}

#[doc(hidden)]
#[must_use]
pub const fn pointers<const N: usize>(ports: &'static [abi::Port; N]) -> [*const abi::Port; N] {
    let mut out = [std::ptr::null(); N];
    let mut index = 0;
    while index < N {
        out[index] = &raw const ports[index];
        index += 1;
    }
    out
}

#[doc(hidden)]
#[must_use]
pub const fn stage(
    of: &Descriptor,
    options: &'static [u8],
    inputs: &'static [*const abi::Port],
    outputs: &'static [*const abi::Port],
) -> abi::StageDescriptor {
    assert!(
        1 <= of.max_batch && of.max_batch <= abi::MAX_BATCH,
        "max_batch is not from 1 to 256"
    );
    let mut flags = abi::THREAD_SAFE;
    if of.is_pure {
        flags |= abi::PURE;
    }
    if of.is_blocking {
        flags |= abi::BLOCKING;
    }
    if of.max_batch > 1 {
        flags |= abi::BATCHABLE;
    }
    abi::StageDescriptor {
        struct_size: size_of::<abi::StageDescriptor>() as u32,
        flags,
        id: abi::Span::of(of.id),
        doc: abi::Span::of(of.doc),
        options_json: abi::Span::of_bytes(options),
        inputs: inputs.as_ptr(),
        input_count: inputs.len(),
        outputs: outputs.as_ptr(),
        output_count: outputs.len(),
    }
}

#[doc(hidden)]
#[must_use]
pub const fn are_distinct(ids: &[&str]) -> bool {
    let mut left = 0;
    while left < ids.len() {
        let mut right = left + 1;
        while right < ids.len() {
            if is_same(ids[left].as_bytes(), ids[right].as_bytes()) {
                return false;
            }
            right += 1;
        }
        left += 1;
    }
    true
}

const fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::are_distinct;

    #[test]
    fn two_stages_of_one_id_are_noticed() {
        assert!(are_distinct(&["acme/a", "acme/b", "acme/ab"]));
        assert!(!are_distinct(&["acme/a", "acme/b", "acme/a"]));
    }
}
