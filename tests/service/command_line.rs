//! Commands, their output and their exit codes.

use serde_json::Value as Json;

use crate::support::program::{root, run};

#[test]
fn the_version_and_the_help_are_shown() {
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("omnizap 0."));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for taught in [
        "serve",
        "classify",
        "eval",
        "check",
        "graph",
        "db",
        "Exit codes",
        "127.0.0.1:8008",
    ] {
        assert!(help.contains(taught), "{taught}");
    }
}

#[test]
fn bad_usage_is_exit_code_2() {
    assert_eq!(run(&["classify"]).status.code(), Some(2));
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["graph", "--format", "png"]).status.code(), Some(2));
}

#[test]
fn eval_measures_pictures_in_folders_and_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let samples = root().join("models/embedded/samples");
    let pictures = [
        ("cat", "cat-sticker.webp"),
        ("dog", "dog-sticker.webp"),
        ("pizza", "pizza-sticker.webp"),
        ("bar_chart", "bar-chart.png"),
        ("qr_code", "qr-code.png"),
    ];
    let mut table = "file,label\n".to_owned();
    for (class, name) in pictures {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        std::fs::copy(samples.join(name), folder.path().join(class).join(name)).unwrap();
        table += &format!("{class}/{name},{}\n", class.replace('_', " "));
    }
    let directory = folder.path().to_str().unwrap();
    let by_folder = run(&["eval", directory, "--json"]);
    let message = String::from_utf8_lossy(&by_folder.stderr).into_owned();
    assert_eq!(by_folder.status.code(), Some(0), "{message}");
    let report: Json = serde_json::from_slice(&by_folder.stdout).unwrap();
    assert_eq!(report["pictures"], 5);
    assert_eq!(report["candidates"], 5);
    assert!(report["top1"].as_f64().unwrap() >= 0.8, "{report:#}");
    assert_eq!(report["top5"], 1.0);
    assert!(report["model"].as_str().unwrap().contains("omnizap-mini"));

    let file = folder.path().join("truth.csv");
    std::fs::write(&file, table).unwrap();
    let by_table = run(&[
        "eval",
        directory,
        "--labels",
        file.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(by_table.stdout, by_folder.stdout);

    // A broken picture is named, the others count, and the exit code says so.
    std::fs::write(folder.path().join("dog/broken.png"), "not a picture").unwrap();
    let broken = run(&["eval", directory]);
    assert_eq!(broken.status.code(), Some(1));
    let (text, message) = (
        String::from_utf8_lossy(&broken.stdout).into_owned(),
        String::from_utf8_lossy(&broken.stderr).into_owned(),
    );
    assert!(text.contains("5 pictures of 5 classes"), "{text}");
    assert!(
        message.contains("broken.png") && message.contains("1 of 6"),
        "{message}"
    );
}

#[test]
fn eval_says_what_it_needs() {
    let empty = tempfile::tempdir().unwrap();
    let output = run(&["eval", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CLASS/*.png"));
}
