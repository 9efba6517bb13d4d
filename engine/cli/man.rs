//! `omnizap man`: the manual, made of what the command line says of itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use omnizap_contract::common::names::suggestion;

use super::{Cli, Failure};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap man | man -l -                  read the page of the program
  omnizap man db forget | man -l -        read the page of a command
  omnizap man --out /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// The command whose page is printed [default: the program itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        write_all(&all, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = page(named(&all, &args.command)?).context("the page cannot be made")?;
    out!("{page}");
    Ok(ExitCode::SUCCESS)
}

/// The command that these words name.
fn named<'c>(all: &'c Command, words: &[String]) -> Result<&'c Command, Failure> {
    let mut command = all;
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| {
            let known = command.get_subcommands().map(Command::get_name);
            let help = suggestion(word, known).unwrap_or_else(|| "it has none".to_owned());
            Failure::Usage(anyhow!("there is no command `{word}`: {help}"))
        })?;
    }
    Ok(command)
}

fn write_all(command: &Command, folder: &Path) -> Result<(), Failure> {
    for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_all(inner, folder)?;
    }
    let file = folder.join(Man::new(command.clone()).get_filename());
    let page = page(command).context("the page cannot be made")?;
    std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    outln!("{}", file.display());
    Ok(())
}

/// The page of one command. What stands below its help has lines that stay lines: examples.
fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let has_inner = command.get_subcommands().any(|inner| !inner.is_hide_set());
    if has_inner {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if let Some(below) = command.get_after_help() {
        page.push_str(".SH NOTES\n.nf\n");
        for line in below.to_string().lines() {
            page.push_str(&escaped(line));
            page.push('\n');
        }
        page.push_str(".fi\n");
    }
    Ok(page)
}

/// A line that roff takes as it is.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    // At the begin of a line these are commands.
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_sections_and_the_examples_stay_lines() {
        let mut all = Cli::command().disable_help_subcommand(true);
        all.build();
        let program = page(&all).unwrap();
        for part in [
            ".TH omnizap 1",
            ".SH NAME",
            ".SH OPTIONS",
            ".SH SUBCOMMANDS",
            ".nf\n",
        ] {
            assert!(program.contains(part), "{part}");
        }
        let words = ["db", "forget"].map(str::to_owned);
        let forget = named(&all, &words).unwrap();
        assert!(page(forget).unwrap().contains(".TH omnizap-db-forget 1"));
        let Err(Failure::Usage(error)) = named(&all, &["modls".to_owned()]) else {
            panic!("there is no such command");
        };
        assert!(
            error.to_string().contains("did you mean `models`?"),
            "{error}"
        );
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn look(command: &Command) {
            let mut inner = command.get_subcommands().peekable();
            if inner.peek().is_some() {
                return inner.for_each(look);
            }
            let help = command.get_after_help().map(ToString::to_string);
            let has_example = help.is_some_and(|help| help.contains("  omnizap "));
            assert!(
                has_example,
                "{}: no example in its help",
                command.get_name()
            );
        }
        look(&Cli::command());
    }

    #[test]
    fn a_line_that_looks_like_a_command_is_text() {
        for (line, expected) in [
            (".SH x", "\\&.SH x"),
            ("'a'", "\\&'a'"),
            ("a \\ --b", "a \\e \\-\\-b"),
        ] {
            assert_eq!(escaped(line), expected);
        }
    }
}
