//! Plugins: real libraries, built from source by the test, in the real program.

mod faults;
mod files;
mod frozen;
mod layout;
mod service;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use engine::plugin::{Limits, Loader, sha256_hex};

use crate::support::program::root;

/// Compiles a plugin in C into `folder`.
fn compile(source: &str, flags: &[&str], folder: &Path, name: &str) -> PathBuf {
    let library = folder.join(name);
    let output = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall"])
        .arg("-I")
        .arg(root().join("plugins/contract/include"))
        .args(flags)
        .arg("-o")
        .arg(&library)
        .arg(root().join(source))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}

/// Builds the example in Rust with the program's own target folder.
fn build_phash() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_BIN_EXE_omnizap")).parent().unwrap();
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["build", "--locked", "-p", "omnizap-phash", "--target-dir"])
            .arg(target.parent().unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        target.join("libomnizap_phash.so")
    });
    built.clone()
}

/// A library's path and SHA-256 as a `[[plugin]]` table.
fn allowed(library: &Path) -> String {
    let hash = sha256_hex(&std::fs::read(library).unwrap());
    format!(
        "[[plugin]]\npath = {:?}\nsha256 = \"{hash}\"\n",
        library.display().to_string()
    )
}

fn load(library: &Path) -> Result<engine::plugin::Plugin, engine::plugin::FileError> {
    load_with(library, Limits::default())
}

fn load_with(
    library: &Path,
    limits: Limits,
) -> Result<engine::plugin::Plugin, engine::plugin::FileError> {
    let hash = sha256_hex(&std::fs::read(library).unwrap());
    let cache = library.parent().unwrap().join("cache");
    Loader::new(cache, false, limits).load(library, &hash)
}
