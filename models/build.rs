//! Tells the crate whether the embedded model's files are there: a checkout without them, or a
//! package that leaves them out, still builds, and says so when the model is asked for.

use std::path::Path;

fn main() {
    let files = [
        "embedded/omnizap-mini.safetensors",
        "embedded/omnizap-mini.json",
    ];
    let goldens = "embedded/golden.json";
    println!("cargo::rustc-check-cfg=cfg(embedded_model, embedded_goldens)");
    println!("cargo::rerun-if-changed={goldens}");
    if Path::new(goldens).is_file() {
        println!("cargo::rustc-cfg=embedded_goldens");
    }
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    if files.iter().all(|file| Path::new(file).is_file()) {
        println!("cargo::rustc-cfg=embedded_model");
    }
}
