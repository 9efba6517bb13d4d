//! The program: the only place that knows the engine, the stages and the models.

mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::set_up();
    cli::run()
}
