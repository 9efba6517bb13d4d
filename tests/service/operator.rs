//! What an operator runs on the first day: `doctor`, `top`, `bench`, completions, the manual; and output
//! that survives whoever stops reading it.

mod bench;
mod doctor;
mod shell;
mod top;

use std::process::Output;

/// What a command said, where it ended so.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let all = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert_eq!(output.status.code(), Some(code), "{all}");
    all
}
