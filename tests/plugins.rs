//! Plugins: real libraries, built from source by the test, in the real program.

mod batches;
mod calls;
mod crashes;
mod faults;
mod files;
mod frozen;
mod hangs;
mod layout;
mod newcomer;
mod overlay;
mod panics;
mod quality;
mod service;
mod threads;
mod trouble;
mod validate;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_host::{Limits, Loader};

use crate::support::program::root;

/// Runs a command that must succeed; what it prints otherwise tells why.
#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Compiles a plugin in C into `folder`.
pub(crate) fn compile(source: &str, flags: &[&str], folder: &Path, name: &str) -> PathBuf {
    let library = folder.join(name);
    succeed(
        Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall"])
            .arg("-I")
            .arg(root().join("plugins/contract/include"))
            .args(flags)
            .arg("-o")
            .arg(&library)
            .arg(root().join(source)),
    );
    library
}

/// Builds a plugin in Rust, a package of this workspace, with the program's own target folder, and
/// puts it into `folder`.
fn build(package: &str, folder: &Path) -> PathBuf {
    // One at a time: cargo would wait for its own lock.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_omnizap")).parent().unwrap();
    succeed(
        Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["build", "--locked", "-p", package, "--target-dir"])
            .arg(target.parent().unwrap()),
    );
    install(target, package, folder)
}

/// Copies the library of a package from where cargo put it, writable to nobody else whatever
/// the umask.
fn install(built: &Path, package: &str, folder: &Path) -> PathBuf {
    let file = format!("lib{}.so", package.replace('-', "_"));
    let library = folder.join(&file);
    std::fs::copy(built.join(file), &library).unwrap();
    std::fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    library
}

/// A library's path and SHA-256 as a `[[plugin]]` table.
pub(crate) fn allowed(library: &Path) -> String {
    let hash = Sha256Hex::of(&std::fs::read(library).unwrap());
    format!(
        "[[plugin]]\npath = {:?}\nsha256 = \"{hash}\"\n",
        library.display().to_string()
    )
}

fn load(library: &Path) -> Result<omnizap_host::Plugin, omnizap_host::FileError> {
    load_with(library, Limits::default())
}

fn load_with(
    library: &Path,
    limits: Limits,
) -> Result<omnizap_host::Plugin, omnizap_host::FileError> {
    let hash = Sha256Hex::of(&std::fs::read(library).unwrap());
    let cache = library.parent().unwrap().join("cache");
    Loader::new(cache, false, limits).load(library, &hash)
}
