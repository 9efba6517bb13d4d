//! Files of weights: safetensors, PyTorch's pickles in their archive, and the records that the
//! program keeps itself. Each is read to its end.

use omnizap_models::bare::{self, Found};

/// Longest message of a refusal.
const MAX_MESSAGE: usize = 64 << 10;

pub fn safetensors(data: &[u8]) -> bool {
    checkpoint(data, "fuzzed.safetensors")
}

pub fn pytorch(data: &[u8]) -> bool {
    checkpoint(data, "fuzzed.pt")
}

pub fn record(data: &[u8]) -> bool {
    let read = bare::record(&super::file(data, "fuzzed.bpk"));
    check(read, "")
}

fn checkpoint(data: &[u8], name: &str) -> bool {
    let read = bare::checkpoint(&super::file(data, name));
    check(read.map_err(|error| error.to_string()), name)
}

/// A tensor has as many numbers as its shape says; a refusal names the file.
fn check(read: Result<Vec<Found>, String>, name: &str) -> bool {
    match read {
        Ok(tensors) => {
            for tensor in &tensors {
                let elements = tensor
                    .shape
                    .iter()
                    .try_fold(1_usize, |all, side| all.checked_mul(*side));
                if let Some(numbers) = tensor.numbers {
                    assert_eq!(Some(numbers), elements, "{tensor:?}");
                }
            }
            true
        }
        Err(message) => {
            super::check_message(&message, MAX_MESSAGE);
            assert!(message.contains(name), "{message}");
            false
        }
    }
}
