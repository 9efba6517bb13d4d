//! Commands, their output and their exit codes.

use crate::support::program::run;

#[test]
fn the_version_and_the_help_are_shown() {
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("omnizap 0."));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for taught in [
        "serve",
        "classify",
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
