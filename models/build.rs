//! Tells the crate which models inside the program have their files here: a checkout without them,
//! or a package that leaves them out, still builds, and says so when such a model is asked for.

use std::path::Path;

/// What is told, and the files that it needs.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "embedded_model",
        &[
            "embedded/omnizap-mini.safetensors",
            "embedded/omnizap-mini.json",
        ],
    ),
    ("embedded_goldens", &["embedded/golden.json"]),
    (
        "embedded_nsfw",
        &["nsfw/nsfwjs-mobilenet-v2-mid.safetensors"],
    ),
];

fn main() {
    for (told, files) in PARTS {
        println!("cargo::rustc-check-cfg=cfg({told})");
        for file in files {
            println!("cargo::rerun-if-changed={file}");
        }
        if files.iter().all(|file| Path::new(file).is_file()) {
            println!("cargo::rustc-cfg={told}");
        }
    }
}
