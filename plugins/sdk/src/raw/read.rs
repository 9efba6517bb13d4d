//! What the host lends, as Rust sees it.

use omnizap_contract::{Options, abi};
use serde_json::{Map, Value as Json};

/// # Safety
/// The span must be readable for as long as the result is used.
pub(crate) unsafe fn bytes<'a>(span: abi::Span) -> &'a [u8] {
    if span.len == 0 || span.data.is_null() {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(span.data, span.len) }
}

/// # Safety
/// As [`bytes`].
pub(super) unsafe fn text<'a>(span: abi::Span) -> &'a str {
    // SAFETY: promised by the caller.
    std::str::from_utf8(unsafe { bytes(span) }).unwrap_or_default()
}

/// # Safety
/// `options` must be readable for `count`.
pub(crate) unsafe fn read_options(options: *const abi::ConfigOption, count: usize) -> Options {
    let mut values = Map::new();
    for index in 0..count {
        // SAFETY: promised by the caller, here and below.
        let option = unsafe { *options.add(index) };
        let value = option.value;
        let value = match value.r#type {
            abi::BOOL => Json::from(value.integer != 0),
            abi::INTEGER => Json::from(value.integer),
            abi::NUMBER => Json::from(value.number),
            abi::TEXT => Json::from(unsafe { text(value.bytes) }),
            abi::TEXT_LIST => {
                let items: *const abi::Span = value.items.cast();
                let items = (0..value.item_count).map(|at| unsafe { text(*items.add(at)) });
                items.collect()
            }
            _ => Json::Null,
        };
        values.insert(unsafe { text(option.name) }.to_owned(), value);
    }
    Options::from_checked(values)
}
