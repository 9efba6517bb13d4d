//! What the command line says, and the variables that stand for its flags.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, ColorChoice, Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;
use super::output::may_colour;
use super::serve::ServeArgs;

/// Reads it. Ends the program where it asks for help, or for what cannot be done.
pub(super) fn read() -> Cli {
    let said: Vec<_> = std::env::args_os().collect();
    let read = parse(&said).or_else(|error| despite_variables(&said, error));
    read.unwrap_or_else(|error| error.exit())
}

/// `omnizap doctor` tells which variables are refused, beside all else that it finds: it is read as
/// if they were not set.
fn despite_variables(said: &[OsString], error: Error) -> Result<Cli, Error> {
    if !said.iter().skip(1).any(|word| word == "doctor") {
        return Err(error);
    }
    let mut refused: Vec<(OsString, String)> = Vec::new();
    loop {
        let is_refused = |name: &OsStr| refused.iter().any(|(known, _)| known == name);
        let ignored = |name: &OsStr| is_blank(name) || is_refused(name);
        let other = match grammar(&ignored).try_get_matches_from(said) {
            Ok(matches) => {
                let mut cli = chosen(&matches)?;
                if let Some(super::Command::Doctor(args)) = &mut cli.command {
                    args.refused(refused);
                    return Ok(cli);
                }
                return Err(error);
            }
            Err(other) => other,
        };
        match at_fault(said, &other, &ignored) {
            Some((_, variable)) => refused.push((variable, why(&other))),
            // The command line itself is.
            None => return Err(naming_its_variable(said, other)),
        }
    }
}

/// What was expected of a value that is refused. The value is left out: it may be a secret in the
/// wrong place.
fn why(error: &Error) -> String {
    let why = error.source().map(ToString::to_string);
    let why = why.unwrap_or_else(|| "it is none of the values that there are".to_owned());
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !value.is_empty() => why.replace(value, "***"),
        _ => why,
    }
}

fn parse(said: &[OsString]) -> Result<Cli, Error> {
    let matches = grammar(&is_blank).try_get_matches_from(said);
    let matches = matches.map_err(|error| naming_its_variable(said, error))?;
    chosen(&matches)
}

/// All commands and flags. The variables that `ignored` tells stand for nothing.
fn grammar(ignored: &dyn Fn(&OsStr) -> bool) -> Command {
    // clap has its own mind of it: where `CI` is set, it takes a dumb terminal for one with colours.
    let colours = if may_colour() {
        ColorChoice::Auto
    } else {
        ColorChoice::Never
    };
    ignoring(Cli::command().color(colours), ignored)
}

fn ignoring(command: Command, ignored: &dyn Fn(&OsStr) -> bool) -> Command {
    command
        .mut_args(|arg| {
            let is_ignored = arg.get_env().is_some_and(ignored);
            if is_ignored {
                arg.env(None::<&'static str>)
            } else {
                arg
            }
        })
        .mut_subcommands(|inner| ignoring(inner, ignored))
}

/// True for a variable that is set to nothing, as compose files write one that is not set.
fn is_blank(variable: &OsStr) -> bool {
    let value = std::env::var_os(variable);
    value.is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

/// A mistake in the value of a flag. Where a variable gave it, the flag was never written, so the
/// variable is what has to be named.
fn naming_its_variable(said: &[OsString], mut error: Error) -> Error {
    if let Some((flag, variable)) = at_fault(said, &error, &is_blank) {
        let variable = variable.to_string_lossy();
        let named = format!("{variable}, the variable for {flag}");
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

/// The flag that a mistake is in and the variable that gave its value, where one did. The variables
/// that `ignored` tells stood for nothing.
fn at_fault(
    said: &[OsString],
    error: &Error,
    ignored: &dyn Fn(&OsStr) -> bool,
) -> Option<(String, OsString)> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut all = grammar(ignored);
    all.build();
    let variable = variable_of(&all, flag)?;
    // It is the variable's where the mistake goes away with it.
    let without = grammar(&|name: &OsStr| ignored(name) || *name == *variable);
    let is_other = |other: &Error| {
        [ContextKind::InvalidArg, ContextKind::InvalidValue]
            .iter()
            .any(|kind| other.get(*kind) != error.get(*kind))
    };
    let again = without.try_get_matches_from(said).err();
    again
        .as_ref()
        .is_none_or(is_other)
        .then(|| (flag.clone(), variable))
}

/// The variable of the flag that messages show so.
fn variable_of(command: &Command, flag: &str) -> Option<OsString> {
    let own = command.get_arguments().find_map(|arg| {
        let variable = arg.get_env()?;
        (arg.to_string() == flag).then(|| variable.to_owned())
    });
    own.or_else(|| {
        let mut inner = command.get_subcommands();
        inner.find_map(|inner| variable_of(inner, flag))
    })
}

/// What is to be done. The flags of `serve` may stand before it, because it is the default
/// command; before another command they would say nothing.
fn chosen(matches: &ArgMatches) -> Result<Cli, Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    let Some((command, after)) = matches.subcommand() else {
        return Ok(cli);
    };
    let is_serve = matches!(cli.command, Some(super::Command::Serve(_)));
    // These look at what a server would be, or is.
    let looks_at_it = matches!(
        cli.command,
        Some(super::Command::Doctor(_) | super::Command::Top(_))
    );
    if looks_at_it {
        return Ok(cli);
    }
    let flags = Command::new("serve").disable_help_flag(true);
    let mut flags = ServeArgs::augment_args(flags);
    flags.build();
    for flag in flags.get_arguments() {
        let id = flag.get_id().as_str();
        if !is_said(matches, id) {
            continue;
        }
        let refused = |message: String| {
            let kind = ErrorKind::ArgumentConflict;
            Err(Cli::command().error(kind, message))
        };
        if !is_serve {
            return refused(format!(
                "'{flag}' belongs to `serve` and says nothing to `{command}` before it: where \
                 `{command}` has it too, put it behind"
            ));
        }
        if is_said(after, id) {
            return refused(format!(
                "'{flag}' is given twice, before `serve` and after it"
            ));
        }
    }
    if let Some(super::Command::Serve(args)) = &mut cli.command {
        args.take(&cli.serve, &|id: &str| is_said(matches, id));
    }
    Ok(cli)
}

/// True where the command line itself gives the flag.
fn is_said(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(said: &str) -> Result<Cli, String> {
        let said: Vec<_> = said.split(' ').map(OsString::from).collect();
        parse(&said).map_err(|error| error.to_string())
    }

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_serve_count_before_it_and_after_it() {
        let shown = |said: &str| match parsed(said).unwrap() {
            Cli {
                command: None,
                serve,
                ..
            }
            | Cli {
                command: Some(super::super::Command::Serve(serve)),
                ..
            } => format!("{serve:?}"),
            other => panic!("{other:?}"),
        };
        let expected = shown("omnizap --listen 127.0.0.1:9 --safe");
        assert!(
            expected.contains("127.0.0.1:9") && expected.contains("safe: true"),
            "{expected}"
        );
        for said in [
            "omnizap --listen 127.0.0.1:9 --safe serve",
            "omnizap --listen 127.0.0.1:9 serve --safe",
            "omnizap --safe serve --listen 127.0.0.1:9",
            "omnizap serve --safe --listen 127.0.0.1:9",
        ] {
            assert_eq!(shown(said), expected, "{said}");
        }
    }

    #[test]
    fn flags_that_say_nothing_are_refused() {
        let error = parsed("omnizap --listen 127.0.0.1:9 check").unwrap_err();
        assert!(error.contains("--listen <ADDR>"), "{error}");
        assert!(error.contains("says nothing to `check`"), "{error}");
        let error = parsed("omnizap --safe serve --safe").unwrap_err();
        assert!(error.contains("'--safe' is given twice"), "{error}");
        let error = parsed("omnizap serve --listen nowhere").unwrap_err();
        assert!(error.contains("for '--listen <ADDR>'"), "{error}");
    }

    #[test]
    fn a_variable_is_known_by_its_flag() {
        let mut all = grammar(&|_: &OsStr| false);
        all.build();
        let variable = variable_of(&all, "--listen <ADDR>").unwrap();
        assert_eq!(variable, "OMNIZAP_LISTEN");
        assert_eq!(
            variable_of(&all, "--safe").unwrap(),
            OsStr::new("OMNIZAP_SAFE")
        );
        assert_eq!(variable_of(&all, "--json"), None);
        let mut none = grammar(&|_: &OsStr| true);
        none.build();
        assert_eq!(variable_of(&none, "--listen <ADDR>"), None);
    }
}
