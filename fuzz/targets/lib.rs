//! What reads bytes from strangers, one function each: it takes any bytes, holds what it makes of
//! them to what they may become, and says whether they were accepted. Compiled twice: by
//! `fuzz_targets/` for libFuzzer, and by `tests/fuzz.rs` as plain tests, which knows more of
//! [`Target`].

use std::path::PathBuf;

use tempfile::TempDir;

pub mod checkpoint;
pub mod condition;
pub mod form;
pub mod library;
pub mod picture;
pub mod pipeline;
pub mod values;

/// What is fuzzed, and with what it begins.
pub struct Target {
    /// Its name, and that of the folder of its own seeds in `fuzz/seeds`.
    pub name: &'static str,
    /// Further seeds: files below a folder of the repository whose names end so.
    pub seeds: &'static [(&'static str, &'static str)],
    /// Longer inputs say nothing more, and take longer.
    pub max_len: usize,
    /// The target; true where the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
}

const PICTURES: &str = "tests/fixtures/images";

/// Pictures of one format.
const fn picture(name: &'static str, seeds: &'static [(&'static str, &'static str)]) -> Target {
    Target {
        name,
        seeds,
        max_len: 24 << 10,
        run: picture::run,
    }
}

const fn target(
    name: &'static str,
    seeds: &'static [(&'static str, &'static str)],
    max_len: usize,
    run: fn(&[u8]) -> bool,
) -> Target {
    Target {
        name,
        seeds,
        max_len,
        run,
    }
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    target(
        "pipeline",
        &[("pipelines", ".toml")],
        16 << 10,
        pipeline::run,
    ),
    target("condition", &[], 4 << 10, condition::run),
    target("form", &[], 4 << 10, form::run),
    picture("jpeg", &[(PICTURES, ".jpg")]),
    picture("png", &[(PICTURES, ".png")]),
    picture("gif", &[(PICTURES, ".gif")]),
    picture("webp", &[(PICTURES, ".webp")]),
    picture("bmp", &[(PICTURES, ".bmp")]),
    picture("tiff", &[(PICTURES, ".tiff")]),
    target("safetensors", &[], 4 << 10, checkpoint::safetensors),
    target("pytorch", &[], 8 << 10, checkpoint::pytorch),
    target("record", &[], 4 << 10, checkpoint::record),
    target(
        "library",
        &[("tests/fixtures/plugins", ".so")],
        32 << 10,
        library::run,
    ),
    target("values", &[], 512, values::run),
];

/// Holds a message to what people can use: there is one, and it is bounded.
fn check_message(message: &str, most: usize) {
    assert!(!message.trim().is_empty(), "an error without a message");
    assert!(
        message.len() <= most,
        "a message of {} bytes, expected {most} at most: {:.200}",
        message.len(),
        message
    );
}

/// A file with these bytes; the next one takes its place.
fn file(bytes: &[u8], name: &str) -> PathBuf {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("a folder for temporary files");
    }
    let path = FOLDER.with(|folder| folder.path().join(name));
    std::fs::write(&path, bytes).expect("room for a temporary file");
    path
}
