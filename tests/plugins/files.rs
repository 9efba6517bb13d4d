//! Files that are refused, each with the reason and what to do, before any of their code runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_host::{Limits, Loader};
use tempfile::TempDir;

use super::{compile, load};
use crate::support::program::omnizap;

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

/// Whoever may write to such a folder changes what runs, under the same hash.
#[test]
fn what_the_hash_does_not_cover_is_refused_when_it_is_allowed_and_when_it_is_loaded() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let help = folder.join("help.c");
    std::fs::write(&help, "int help(void); int help(void) { return 1; }\n").unwrap();
    compile(help.to_str().unwrap(), &[], folder, "libhelp.so");
    let here = folder.display().to_string();
    let search = format!("-L{here}");
    let needs = ["-DFAULT=0", "-Wl,--no-as-needed", &search, "-lhelp"];
    for (index, found_by) in ["$ORIGIN", &here, "/usr/lib:relative"]
        .into_iter()
        .enumerate()
    {
        let rpath = format!("-Wl,-rpath,{found_by}");
        let flags = [&needs[..], &[&*rpath]].concat();
        let library = compile(FAULTY, &flags, folder, &format!("beside{index}.so"));
        let named = found_by.rsplit(':').next().unwrap();
        refused(&library, &[named, "does not cover", "statically"]);
        let output = omnizap(&folder.join("data"))
            .current_dir(folder)
            .args(["plugins", "allow"])
            .arg(&library)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("does not cover"), "{said}");
    }
    // The folders of the system are nobody else's.
    let flags = ["-DFAULT=0", "-Wl,-rpath,/usr/lib"];
    let library = compile(FAULTY, &flags, folder, "system.so");
    assert_eq!(load(&library).unwrap().kinds.len(), 1);
}

#[test]
fn a_file_that_was_built_again_takes_the_place_of_its_old_entry() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("pipelines")).unwrap();
    let pipeline = "[pipeline]\nname = \"a\"\n[request]\nvalue = { type = \"number\" }\n\
                    [[stage]]\nuses = \"test/faulty\"\n";
    std::fs::write(folder.join("pipelines/a.toml"), pipeline).unwrap();
    let plugins = |arguments: &[&str]| {
        let mut command = omnizap(&folder.join("data"));
        let output = command.current_dir(folder).args(arguments).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    };
    let list = folder.join("pipelines/plugins.toml");
    for (fault, said) in [
        ("0", "added to"),
        ("8", "replaced in"),
        ("8", "allows it already"),
    ] {
        let flag = format!("-DFAULT={fault}");
        let library = compile(FAULTY, &[&flag], folder, "again.so");
        let wrote = plugins(&["plugins", "allow", "--write", "again.so"]);
        assert!(wrote.contains(said), "{wrote}");
        let text = std::fs::read_to_string(&list).unwrap();
        let hash = Sha256Hex::of(&std::fs::read(&library).unwrap());
        assert_eq!(text.matches("[[plugin]]").count(), 1, "{text}");
        assert!(text.contains(&*hash), "{text}");
        let checked = plugins(&["check"]);
        assert!(checked.contains("1 of 1 stages active"), "{checked}");
    }
}
