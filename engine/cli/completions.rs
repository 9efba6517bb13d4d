//! `omnizap completions`: commands and flags, for shells to complete.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::aot::{Shell, generate};

use super::{Cli, Failure};

/// What the program is called in a shell.
const NAME: &str = "omnizap";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap completions bash > ~/.local/share/bash-completion/completions/omnizap
  omnizap completions zsh > \"${fpath[1]}/_omnizap\"
  omnizap completions fish > ~/.config/fish/completions/omnizap.fish
  omnizap completions powershell >> $PROFILE")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), NAME, &mut script);
    out!("{}", String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
