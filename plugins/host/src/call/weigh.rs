//! How much an output would take of the host's memory, found out before any of it is taken.

use std::sync::Arc;

use omnizap_contract::{PortType, Score, abi};

use super::read::{MAX_TENSOR, MAX_TEXT, items, utf8, utf8_len};

/// Bytes that an output of that type will take; what is not right with it otherwise is for whoever
/// takes it.
///
/// # Safety
/// The value and what it points to must be readable for the call.
pub(super) unsafe fn weigh(ty: PortType, value: &abi::Value) -> Result<usize, String> {
    // SAFETY (all below): promised by the caller.
    Ok(match ty {
        PortType::Number | PortType::Integer | PortType::Bool => 0,
        PortType::Bytes => value.bytes.len,
        PortType::Text => utf8_len(value.bytes)?,
        PortType::Json => weigh_json(unsafe { utf8(value.bytes) }?),
        PortType::TextList => {
            let list: &[abi::Span] = unsafe { items(value) }?;
            texts(list.iter().copied())? + size_of_val(list)
        }
        PortType::Scores => {
            let list: &[abi::Score] = unsafe { items(value) }?;
            texts(list.iter().map(|score| score.label))? + list.len() * size_of::<Score>()
        }
        PortType::Image | PortType::Tensor | PortType::Embedding => {
            let size = usize::from(value.tensor.dtype_bits / 8).max(1);
            let len = unsafe { elements(&value.tensor) }.saturating_mul(size);
            match ty {
                // What is too large on its own is refused as that.
                _ if len > MAX_TENSOR => 0,
                PortType::Embedding => len + utf8_len(value.bytes)?,
                _ => len,
            }
        }
    })
}

/// Texts of one output, which together may be as long as one may.
fn texts(all: impl Iterator<Item = abi::Span>) -> Result<usize, String> {
    /// What the host keeps of each beside its bytes.
    const EACH: usize = size_of::<Arc<str>>();
    let (mut len, mut count) = (0_usize, 0_usize);
    for text in all {
        len = len.saturating_add(utf8_len(text)?);
        count += 1;
        if len > MAX_TEXT {
            return Err(format!(
                "holds texts of more than {MAX_TEXT} bytes together"
            ));
        }
    }
    Ok(len + count * EACH)
}

/// As many elements as a shape says; 0 for a shape that will be refused.
///
/// # Safety
/// The shape must be readable.
unsafe fn elements(tensor: &abi::Tensor) -> usize {
    let axes = usize::try_from(tensor.ndim).unwrap_or(usize::MAX);
    if axes > abi::MAX_AXES || tensor.shape.is_null() {
        return 0;
    }
    (0..axes).fold(1, |elements: usize, axis| {
        // SAFETY: promised by the caller; at any address.
        let side = unsafe { tensor.shape.add(axis).read_unaligned() };
        elements.saturating_mul(usize::try_from(side).unwrap_or(0))
    })
}

/// What JSON takes once it is read: its text, and a value for each that there can be.
fn weigh_json(text: &str) -> usize {
    let values = text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{'));
    let values = values.count() + 1;
    text.len()
        .saturating_add(values.saturating_mul(size_of::<serde_json::Value>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(items: &[abi::Span]) -> abi::Value {
        abi::Value {
            items: items.as_ptr().cast(),
            item_count: items.len(),
            ..abi::Value::ABSENT
        }
    }

    #[test]
    fn the_same_text_many_times_is_as_heavy_as_many_texts() {
        let text = "a".repeat(1 << 20);
        let list = vec![abi::Span::of(&text); 1 << 16];
        // SAFETY: the list and the text outlive the call.
        let refused = unsafe { weigh(PortType::TextList, &value(&list)) }.unwrap_err();
        assert!(refused.contains("together"), "{refused}");
        // SAFETY: as above.
        let fine = unsafe { weigh(PortType::TextList, &value(&list[..4])) }.unwrap();
        assert!((4 << 20..5 << 20).contains(&fine), "{fine}");
    }

    #[test]
    fn json_of_many_small_values_weighs_more_than_its_text() {
        let text = format!("[{}1]", "{},".repeat(1000));
        assert!(weigh_json(&text) > 2000 * size_of::<serde_json::Value>() / 2);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 1001);
        assert!(weigh_json("null") < 200);
    }

    #[test]
    fn sides_that_overflow_are_too_many() {
        let shape = [i64::MAX, i64::MAX, 4];
        let tensor = abi::Tensor {
            ndim: 3,
            shape: shape.as_ptr(),
            ..abi::Tensor::EMPTY
        };
        // SAFETY: the shape outlives the call.
        assert_eq!(unsafe { elements(&tensor) }, usize::MAX);
    }
}
