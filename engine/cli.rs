//! The command line: what it accepts, and which exit code each end has.
//!
//! One file a command; `arguments` reads what was said, `config` turns the environment into
//! settings, `pipelines` finds, checks and builds pipelines for all of them, `request` makes what
//! was given for the fields of one into values.

mod arguments;
mod check;
mod classify;
mod config;
mod db;
mod eval;
mod graph;
mod models;
mod pipelines;
mod plugins;
mod request;
mod serve;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use omnizap_contract::common::chain::chain;
use tracing_subscriber::EnvFilter;

/// Bad usage, as of most programs, clap's included.
const EXIT_USAGE: u8 = 2;

/// Wrong configuration, as sysexits.h numbers it (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// Image classification as a pipeline of stages, over HTTP or from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "omnizap",
    version,
    after_help = "\
Examples:
  omnizap                                     serve ./pipelines on 127.0.0.1:8008
  omnizap classify sticker.webp               classify a file without a server
  omnizap classify a.png b.jpg --labels 'a cat,a dog' --json
  omnizap classify --pipeline feedback --field image_hash=HASH --field theme=animals
  omnizap eval pictures                       measure accuracy: pictures/CLASS/*.png
  omnizap check                               find every mistake in ./pipelines
  omnizap graph pipelines/classify.toml       show what feeds what

Settings come from the environment and from a .env file beside you, which never
overrides the environment. README.md lists them. One that is set to nothing is not set.

Exit codes: 0 fine, 1 failed, 2 bad usage, 78 bad configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Folder of pipeline files [default: ./pipelines, else the ones built in]
    #[arg(long, global = true, env = "OMNIZAP_PIPELINES", value_name = "DIR")]
    pipelines: Option<PathBuf>,
    /// Folder for the database and imported models; made at first use
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_DATA",
        value_name = "DIR",
        default_value = "./data"
    )]
    data: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a tracing filter [default: info
    /// while serving, warn else]
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_LOG",
        value_name = "FILTER",
        value_parser = log_filter
    )]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the pipelines over HTTP (the default)
    Serve(serve::ServeArgs),
    /// Classify files, or send any pipeline a request, without a server
    Classify(classify::ClassifyArgs),
    /// Measure how well labels fit pictures whose labels are known
    Eval(eval::EvalArgs),
    /// Find every mistake in pipeline files, without building anything
    Check(check::CheckArgs),
    /// Show the effective graph of pipelines
    Graph(graph::GraphArgs),
    /// The database: migrate it, show its state, forget pictures
    #[command(subcommand)]
    Db(db::DbCommand),
    /// The models: list, pull, import, verify
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Stages of third parties: new, inspect, validate, allow, list
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
}

/// How a command failed, as its exit code tells.
#[derive(Debug)]
enum Failure {
    /// What was asked for cannot be done: nothing was.
    Usage(anyhow::Error),
    /// The configuration is wrong: nothing was done.
    Config(anyhow::Error),
    /// The work itself failed.
    Work(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Work(error.into())
    }
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let env_file = config::load_env_file();
    let cli = arguments::read();
    let serving = matches!(cli.command, None | Some(Command::Serve(_)));
    let default = if serving { "info" } else { "warn" };
    let filter = cli.common.log.as_deref().unwrap_or(default);
    if let Err(message) = init_logging(filter) {
        eprintln!("error: --log: {message}");
        return ExitCode::from(EXIT_USAGE);
    }
    if let Err(error) = env_file {
        eprintln!("error: {}", chain(error.as_ref()));
        return ExitCode::from(EXIT_CONFIG);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let common = cli.common;
    let result = runtime.block_on(async {
        match cli.command {
            None => serve::run(&common, cli.serve).await,
            Some(Command::Serve(args)) => serve::run(&common, args).await,
            Some(Command::Classify(args)) => classify::run(&common, args).await,
            Some(Command::Eval(args)) => eval::run(&common, args).await,
            Some(Command::Check(args)) => check::run(&common, &args),
            Some(Command::Graph(args)) => graph::run(&common, &args),
            Some(Command::Db(command)) => db::run(&common, command).await,
            Some(Command::Models(command)) => models::run(&common, command).await,
            Some(Command::Plugins(command)) => plugins::run(&common, &command),
        }
    });
    // Threads that still compute for nobody must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => {
            let (error, code) = match failure {
                Failure::Usage(error) => (error, ExitCode::from(EXIT_USAGE)),
                Failure::Config(error) => (error, ExitCode::from(EXIT_CONFIG)),
                Failure::Work(error) => (error, ExitCode::FAILURE),
            };
            eprintln!("error: {}", chain(error.as_ref()));
            code
        }
    }
}

/// A filter of the log, as text: it is read before there is a log.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn init_logging(filter: &str) -> Result<(), String> {
    // Statements and migrations of the database are the log of a debugging session.
    let quiet = "sqlx=warn,sea_orm_migration=warn,sea_orm=warn";
    let filter = format!("{quiet},{filter}");
    let filter = EnvFilter::try_new(&filter).map_err(|error| error.to_string())?;
    // A file or a collector of logs would keep colours as escape sequences.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    Ok(())
}
