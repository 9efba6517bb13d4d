//! Files that are refused, each with the reason and what to do, before any of their code runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_host::{Limits, Loader};
use tempfile::TempDir;

use super::{compile, load};

const FAULTY: &str = "tests/fixtures/plugins/faulty.c";

#[track_caller]
fn refused(library: &Path, wanted: &[&str]) {
    let error = load(library).err().expect("refused").to_string();
    for wanted in wanted {
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    }
}

#[test]
fn entries_that_are_wrong_are_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    for (fault, wanted) in [
        (20, ["init failed", "needs a newer kernel"]),
        (21, ["0x0000000000000007", "OZ_MAGIC"]),
        (22, ["`oz_entry` is 40 bytes", "sizeof(oz_entry)"]),
        (23, ["ABI 2.0", "this host speaks 1.0"]),
        (24, ["ABI 1.9 or later", "update OmniZap"]),
        (
            25,
            ["two stages have the id `test/faulty`", "needs its own"],
        ),
        (26, ["`get_factory` is NULL", "every plugin"]),
    ] {
        let flag = format!("-DFAULT={fault}");
        let library = compile(FAULTY, &[&flag], folder.path(), &format!("f{fault}.so"));
        refused(&library, &wanted);
    }
}

#[test]
fn what_is_no_plugin_is_refused() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    refused(&text, &["this is no plugin", "shared library"]);

    let empty = folder.path().join("empty.c");
    std::fs::write(&empty, "int x;").unwrap();
    let library = compile(empty.to_str().unwrap(), &[], folder.path(), "empty.so");
    refused(
        &library,
        &["does not export `omnizap_plugin_entry`", "OZ_EXPORT"],
    );

    // Linked against a library that is gone when the plugin is opened.
    compile(
        empty.to_str().unwrap(),
        &["-Wl,-soname,libgone.so.1"],
        folder.path(),
        "libgone.so",
    );
    let search = format!("-L{}", folder.path().display());
    let flags = ["-DFAULT=0", "-Wl,--no-as-needed", &search, "-lgone"];
    let library = compile(FAULTY, &flags, folder.path(), "needs.so");
    refused(&library, &["libgone.so.1", "install"]);
}

#[test]
fn a_file_is_loaded_only_under_its_hash_and_from_a_folder_of_its_owner() {
    let folder = TempDir::new().unwrap();
    let library = compile(FAULTY, &["-DFAULT=0"], folder.path(), "fine.so");
    let loader = Loader::new(folder.path().join("cache"), false, Limits::default());
    let error = loader
        .load(&library, &Sha256Hex::of(b"another"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("SHA-256") && error.contains("plugins allow"),
        "{error}"
    );

    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&library, 0o664);
    refused(&library, &["the file", "chmod go-w"]);
    mode(&library, 0o644);
    mode(folder.path(), 0o757);
    refused(&library, &["the folder", "chmod go-w"]);
    mode(folder.path(), 0o755);
    assert_eq!(load(&library).unwrap().kinds.len(), 1);
}
