//! What becomes of files: one line of JSON for each, with what the pipeline that takes the Python
//! service's place (`compat`) and those that are shipped (`default`) make of it, and how long it took.
//!
//! ```sh
//! cargo run --release -p omnizap-pictures --example decode -- FILE...
//! ```

use std::time::Instant;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_pictures::Decoder;
use serde_json::{Value, json};

fn main() {
    for path in std::env::args().skip(1) {
        let Ok(bytes) = std::fs::read(&path) else {
            eprintln!("{path}: cannot be read");
            continue;
        };
        let line = json!({
            "file": path,
            "compat": made(&Decoder::AS_PILLOW, &bytes),
            "default": made(&Decoder::DEFAULT, &bytes),
        });
        #[expect(clippy::print_stdout, reason = "what it is for")]
        {
            println!("{line}");
        }
    }
}

fn made(decoder: &Decoder, bytes: &[u8]) -> Value {
    let start = Instant::now();
    let decoded = decoder.room(bytes).and_then(|_| decoder.decode(bytes));
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    match decoded {
        Ok(picture) => json!({
            "size": [picture.width, picture.height],
            "sha256": Sha256Hex::of(&picture.pixels).as_str(),
            "ms": milliseconds,
        }),
        Err(error) => json!({
            "status": error.kind().status(),
            "code": error.code(),
            "detail": error.message(),
            "cause": std::error::Error::source(&error).map(ToString::to_string),
            "ms": milliseconds,
        }),
    }
}
