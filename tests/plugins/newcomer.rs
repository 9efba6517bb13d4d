//! From `plugins new` to an answer, as somebody who writes a first plugin would go.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{install, succeed};
use crate::support::program::{omnizap, root};

/// Runs a command of the program in a folder.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = omnizap(&folder.join("data"));
    let output = command.current_dir(folder).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn a_new_plugin_builds_and_answers() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let sdk = root().join("plugins/sdk").display().to_string();
    let (made, said) = run(
        folder,
        &["plugins", "new", "acme/bright-one", "--sdk", &sdk],
    );
    assert!(made && said.contains("acme/bright-one"), "{said}");

    // The versions that the workspace was built with are at hand without a network.
    let plugin = folder.join("bright-one");
    std::fs::copy(root().join("Cargo.lock"), plugin.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_omnizap")).ancestors().nth(2);
    let target = target.unwrap().join("newcomer");
    for step in ["test", "build"] {
        succeed(
            Command::new(env!("CARGO"))
                .current_dir(&plugin)
                .args([step, "--offline", "--target-dir"])
                .arg(&target),
        );
    }
    install(&target.join("debug"), "acme-bright-one", folder);

    let (fine, said) = run(folder, &["plugins", "inspect", "libacme_bright_one.so"]);
    assert!(fine && said.contains("dark_below"), "{said}");
    assert!(said.contains("exports  omnizap_plugin_entry\n"), "{said}");
    let (fine, said) = run(folder, &["plugins", "validate", "libacme_bright_one.so"]);
    assert!(fine && said.contains(" 0 failed"), "{said}");
    std::fs::create_dir(folder.join("pipelines")).unwrap();
    let pipeline = folder.join("pipelines/bright-one.toml");
    std::fs::copy(plugin.join("pipeline.toml"), pipeline).unwrap();
    let allow = ["plugins", "allow", "--write", "libacme_bright_one.so"];
    let (fine, said) = run(folder, &allow);
    assert!(fine, "{said}");
    let (fine, said) = run(folder, &["check"]);
    assert!(fine, "{said}");
    let picture = root().join("models/embedded/samples/bar-chart.png");
    let picture = picture.display().to_string();
    let ask = ["classify", "--json", "--pipeline", "bright-one", &picture];
    let (fine, said) = run(folder, &ask);
    assert!(fine && said.contains("\"is_dark\":false"), "{said}");
    assert!(said.contains("\"brightness\":0."), "{said}");
}

#[test]
fn nothing_is_overwritten_and_a_wrong_name_is_told_the_nearest() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("blur")).unwrap();
    std::fs::write(folder.join("blur/notes"), "mine").unwrap();
    let sdk = root().join("plugins/sdk").display().to_string();
    let (made, said) = run(folder, &["plugins", "new", "blur", "--sdk", &sdk]);
    assert!(!made && said.contains("not empty"), "{said}");
    assert_eq!(std::fs::read_dir(folder.join("blur")).unwrap().count(), 1);
    let (made, said) = run(folder, &["plugins", "new", "Blur Score", "--sdk", &sdk]);
    assert!(!made && said.contains("`blur-score`"), "{said}");
    let (made, said) = run(folder, &["plugins", "new", "sharp", "--sdk", "/nowhere"]);
    assert!(!made && said.contains("is not the SDK"), "{said}");
    assert!(!folder.join("sharp").exists());
}
