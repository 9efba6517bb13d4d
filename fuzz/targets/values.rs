//! A value across the ABI and back, by the functions that a plugin calls; see
//! `omnizap_host::probe::across`.

use std::sync::atomic::Ordering;

use omnizap_contract::{Value, abi};
use omnizap_host::probe::across::{PORT, cross};

/// Longest message of a refusal.
const MAX_MESSAGE: usize = 4096;

pub fn run(data: &[u8]) -> bool {
    let crossed = cross(data);
    let accepted = match (&crossed.back, crossed.spoiled) {
        (Ok(back), spoiled) => {
            assert!(back.is_finite(), "{crossed:?}");
            assert_eq!(back.port_type(), crossed.given.port_type());
            if spoiled.is_none() {
                assert_eq!(plain(back), plain(&expected(&crossed.given)));
            }
            true
        }
        (Err(reason), spoiled) => {
            super::check_message(reason, MAX_MESSAGE);
            let names_it = reason.contains(PORT) || reason.contains("output number");
            assert!(names_it, "{reason}");
            let is_right = spoiled.is_some()
                || !crossed.given.is_finite()
                || matches!(&crossed.given, Value::Tensor(it) if it.shape.len() > abi::MAX_AXES);
            assert!(is_right, "{crossed:?}");
            false
        }
    };
    drop(crossed.back);
    if let Some(releases) = crossed.releases {
        assert_eq!(releases.load(Ordering::Relaxed), 1, "times released");
    }
    accepted
}

/// What comes back of a value that nobody touched: itself, but for JSON, which crosses as text. The
/// last digit of a number may be another one when that is read.
fn expected(given: &Value) -> Value {
    match given {
        Value::Json(json) => {
            let read = serde_json::from_str::<serde_json::Value>(&json.to_string());
            Value::from(read.expect("JSON that was written"))
        }
        other => other.clone(),
    }
}

/// Everything about a value, pixels and numbers too.
fn plain(value: &Value) -> String {
    match value {
        Value::Image(image) => format!("{image:?} {:?}", image.pixels),
        Value::Embedding(embedding) => format!("{embedding:?} {:?}", embedding.vector),
        other => format!("{other:?}"),
    }
}
