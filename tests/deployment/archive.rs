//! The archive that `deploy/release.sh` makes, of the program that is tested here.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::program::root;

#[track_caller]
fn fine(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn has(tree: &Path, path: &str) {
    let length = std::fs::metadata(tree.join(path)).map_or(0, |found| found.len());
    assert!(length > 0, "the archive has no {path}");
}

#[test]
fn it_is_whole_and_what_is_in_it_runs() {
    let folder = TempDir::new().unwrap();
    let mut script = Command::new(root().join("deploy/release.sh"));
    script.args(["--binary", env!("CARGO_BIN_EXE_omnizap"), "--out"]);
    script.arg(folder.path()).env("GZIP_LEVEL", "1");
    let output = fine(&mut script);
    let archive = String::from_utf8(output.stdout).unwrap();
    let archive = Path::new(archive.lines().last().unwrap());
    let name = archive.file_name().unwrap().to_str().unwrap();
    let beginning = concat!("omnizap-", env!("CARGO_PKG_VERSION"), "-");
    assert!(name.starts_with(beginning), "{name}");
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--quiet"])
        .arg(format!("{name}.sha256"));
    fine(sums.current_dir(folder.path()));

    fine(
        Command::new("tar")
            .arg("xzf")
            .arg(name)
            .current_dir(folder.path()),
    );
    let tree = folder.path().join(name.trim_end_matches(".tar.gz"));
    let mut sums = Command::new("sha256sum");
    fine(
        sums.args(["--check", "--quiet", "SHA256SUMS"])
            .current_dir(&tree),
    );
    for path in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "NOTICE",
        "README.md",
        "docs/settings.md",
        "docs/operations.md",
        "pipelines/classify.toml",
        "deploy/systemd/omnizap.service",
        "deploy/prometheus/rules.yml",
        "models/nsfw/LICENSE",
        "models/embedded/NOTICE.md",
        "share/man/man1/omnizap.1",
        "share/completions/omnizap.bash",
        "share/completions/_omnizap",
        "share/completions/omnizap.fish",
        "share/completions/_omnizap.ps1",
    ] {
        has(&tree, path);
    }
    assert!(!tree.join("deploy/.env").exists());
    let list = std::fs::read_to_string(tree.join("licences/LIST")).unwrap();
    assert!(list.lines().count() > 100, "{list}");
    assert!(!list.contains("omnizap"), "ours is not of others: {list}");
    let serde = list.lines().find(|line| line.starts_with("serde_json-"));
    let (serde, licence) = serde.unwrap().split_once(": ").unwrap();
    assert_eq!(licence, "MIT OR Apache-2.0");
    has(&tree, &format!("licences/{serde}/LICENSE-MIT"));

    let mut check = Command::new(tree.join("bin/omnizap"));
    check.env_clear().current_dir(&tree);
    fine(check.args(["check", "--fast"]));
}

#[test]
fn what_is_no_program_of_this_version_is_not_packed() {
    let folder = TempDir::new().unwrap();
    for arguments in [["--binary", "/bin/true"], ["--out", ""], ["--what", "x"]] {
        let mut script = Command::new(root().join("deploy/release.sh"));
        let output = script.args(arguments).current_dir(folder.path()).output();
        assert!(!output.unwrap().status.success(), "{arguments:?}");
    }
}
