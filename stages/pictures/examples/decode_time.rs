//! How long decoding takes: one line of JSON for each line of standard input, which names a file, how
//! often it is decoded, and optionally the pixels of the shorter side that are needed.
//! `tests/pictures/decode_time.py` compares it with Pillow.

use std::io::{Write as _, stdin, stdout};
use std::time::Instant;

use omnizap_pictures::Decoder;

fn main() {
    for line in stdin().lines().map_while(Result::ok) {
        let mut words = line.split('\t');
        let path = words.next().unwrap_or_default();
        let repeat: u32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        let decoder = Decoder {
            scaled_to: words.next().and_then(|word| word.parse().ok()),
            ..Decoder::AS_PILLOW
        };
        let answer = match std::fs::read(path) {
            Ok(bytes) => timed(&decoder, &bytes, repeat),
            Err(error) => format!("{{\"error\": \"{error}\"}}"),
        };
        let mut out = stdout();
        if writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

fn timed(decoder: &Decoder, bytes: &[u8], repeat: u32) -> String {
    let start = Instant::now();
    let mut size = (0, 0);
    for _ in 0..repeat.max(1) {
        match decoder.room(bytes).and_then(|_| decoder.decode(bytes)) {
            Ok(picture) => size = (picture.width, picture.height),
            Err(error) => return format!("{{\"error\": {:?}}}", error.message()),
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e3 / f64::from(repeat.max(1));
    format!(
        "{{\"width\": {}, \"height\": {}, \"ms\": {each}}}",
        size.0, size.1
    )
}
