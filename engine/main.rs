//! The program: the only place that knows the engine, the stages and the models.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
