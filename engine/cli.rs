//! The command line: what it accepts, and which exit code each end has.
//!
//! One file a command; `arguments` reads what was said, `config` turns the environment into
//! settings, `pipelines` finds, checks and builds pipelines for all of them, `request` makes what
//! was given for the fields of one into values. `dotenv` reads the `.env`, `value` what flags and
//! variables say, `client` asks other servers, `picture` knows pictures by their names, `signals`
//! tells when to end, `output` and `log` are the ways out.

// First, for its macros.
#[macro_use]
mod output;
mod page;

mod arguments;
mod bench;
mod check;
mod classify;
mod client;
mod completions;
mod config;
mod db;
mod doctor;
mod dotenv;
mod eval;
mod graph;
mod health;
mod limits;
mod log;
mod man;
mod models;
mod permission;
mod picture;
mod pipelines;
mod plugins;
mod request;
mod schema;
mod serve;
mod signals;
mod similar;
mod test;
mod top;
mod value;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use omnizap_contract::common::chain::chain;
use omnizap_models::Device;

use self::log::{Format, Log, log_filter, log_format};

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
  omnizap classify pictures --recursive --out results.csv
  omnizap similar sticker.webp                find stored pictures that look like it
  omnizap eval pictures                       measure accuracy: pictures/CLASS/*.png
  omnizap bench                               measure how fast this machine is
  omnizap check                               find every mistake in ./pipelines
  omnizap test                                try them by the tests in their files
  omnizap graph pipelines/classify.toml       show what feeds what
  omnizap doctor                              find what is amiss before a server does
  omnizap top                                 watch the stages of a running server

Settings come from the environment and from the .env file of the working folder, which
never overrides the environment. docs/settings.md lists them. One that is set to nothing is
not set.

Exit codes: 0 fine, 1 failed, 2 bad usage, 70 a plugin ended the program,
78 bad configuration, 129 terminal closed, 130 interrupted (Ctrl-C),
143 terminated; a server that is told to end and ends in time has 0."
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
    /// Folder for SQLite's database, the vector index and copies of plugins; made at first use
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_DATA",
        value_name = "DIR",
        default_value = "./data"
    )]
    data: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a tracing filter [default: info
    /// while serving, error in `test`, warn else]
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_LOG",
        value_name = "FILTER",
        value_parser = log_filter
    )]
    log: Option<String>,
    /// How lines of the log are written: text for people, json for what collects logs
    #[arg(
        long,
        global = true,
        env = "OMNIZAP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = log_format
    )]
    log_format: Format,
    /// Where models compute: cpu, or wgpu (a GPU by Vulkan) where the program was built with it
    #[arg(
        long,
        global = true,
        env = "CLIP_DEVICE",
        value_name = "DEVICE",
        default_value = "cpu",
        value_parser = value::device
    )]
    device: Device,
    #[command(flatten)]
    plugins: limits::PluginLimits,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the pipelines over HTTP (the default)
    #[command(after_help = "\
Examples:
  omnizap serve                                    on 127.0.0.1:8008, the page is at /
  omnizap serve --listen :8008                     on every interface: set keys then
  omnizap serve --pipelines /etc/omnizap/pipelines --data /var/lib/omnizap")]
    Serve(serve::ServeArgs),
    /// Classify files, or send any pipeline a request, without a server
    Classify(classify::ClassifyArgs),
    /// Find stored pictures that look like one, or fit a text
    Similar(similar::SimilarArgs),
    /// Measure how well labels fit pictures whose labels are known
    Eval(eval::EvalArgs),
    /// Measure how fast this machine classifies: models, decoding, whole pipelines, searches
    Bench(bench::BenchArgs),
    /// Find every mistake in pipeline files, without building anything
    Check(check::CheckArgs),
    /// Try pipelines by the tests in their files
    Test(test::TestArgs),
    /// Show the effective graph of pipelines
    Graph(graph::GraphArgs),
    /// Print what a pipeline file may hold, as JSON Schema for editors
    Schema(schema::SchemaArgs),
    /// Look at all that a server needs here: what is fine, what is not, what to do
    Doctor(doctor::DoctorArgs),
    /// Watch what the stages of a running server do
    Top(top::TopArgs),
    /// Ask the service on this machine whether it answers
    Health(health::HealthArgs),
    /// The database: migrate it, show its state, forget pictures
    #[command(subcommand)]
    Db(db::DbCommand),
    /// The models: list, pull, import, verify
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Stages of third parties: new, inspect, validate, allow, list
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    /// Print what a shell needs to complete commands and flags
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them
    Man(man::ManArgs),
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
        let error = error.into();
        let of_models = error.downcast_ref::<omnizap_models::Error>();
        if of_models.is_some_and(omnizap_models::Error::is_of_device) {
            return Self::Config(error);
        }
        Self::Work(error)
    }
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    // Before there is a second thread: it sets variables.
    let env_file = dotenv::load();
    let mut cli = arguments::read();
    // Where it is amiss, that is a finding there, beside others.
    let env_file = match &mut cli.command {
        Some(Command::Doctor(args)) => Ok(args.hear(env_file)),
        _ => env_file,
    };
    let serving = matches!(cli.command, None | Some(Command::Serve(_)));
    let default = match &cli.command {
        _ if serving => "info",
        // What fails in a test is told by the test, or was meant to.
        Some(Command::Test(_)) => "error",
        _ => "warn",
    };
    let filter = cli.common.log.as_deref().filter(|said| !said.is_empty());
    let log = match Log::start(filter.unwrap_or(default), serving, cli.common.log_format) {
        Ok(log) => log,
        Err(message) => {
            errln!("error: the log cannot be started: {message}");
            return ExitCode::FAILURE;
        }
    };
    let result = match env_file {
        Ok(passed_over) => {
            for line in passed_over {
                tracing::warn!("{line}");
            }
            execute(cli)
        }
        Err(error) => Err(Failure::Config(error)),
    };
    let code = match result {
        Ok(code) => code,
        Err(failure) => {
            let (error, code) = match failure {
                Failure::Usage(error) => (error, ExitCode::from(EXIT_USAGE)),
                Failure::Config(error) => (error, ExitCode::from(EXIT_CONFIG)),
                Failure::Work(error) => (error, ExitCode::FAILURE),
            };
            log.say(&format!("error: {}", chain(error.as_ref())));
            code
        }
    };
    drop(log);
    output::ended(code)
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let common = cli.common;
    let result = runtime.block_on(async {
        match cli.command {
            None => serve::run(&common, cli.serve).await,
            Some(Command::Serve(args)) => serve::run(&common, args).await,
            Some(Command::Classify(args)) => classify::run(&common, args).await,
            Some(Command::Similar(args)) => similar::run(&common, args).await,
            Some(Command::Eval(args)) => eval::run(&common, args).await,
            Some(Command::Bench(args)) => bench::run(&common, args).await,
            Some(Command::Check(args)) => check::run(&common, &args),
            Some(Command::Test(args)) => test::run(&common, &args).await,
            Some(Command::Graph(args)) => graph::run(&common, &args),
            Some(Command::Schema(args)) => schema::run(&common, &args),
            Some(Command::Doctor(args)) => doctor::run(&common, args, &cli.serve).await,
            Some(Command::Top(args)) => top::run(&args, &cli.serve).await,
            Some(Command::Health(args)) => health::run(args).await,
            Some(Command::Db(command)) => db::run(&common, command).await,
            Some(Command::Models(command)) => models::run(&common, command).await,
            Some(Command::Plugins(command)) => plugins::run(&common, &command),
            Some(Command::Completions(args)) => completions::run(&args),
            Some(Command::Man(args)) => man::run(&args),
        }
    });
    // Threads that still compute for nobody must not hold the exit.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use omnizap_models::{Error, Precision};

    use super::*;

    #[test]
    fn a_device_that_cannot_be_had_is_wrong_configuration() {
        let missing = Error::NoDevice {
            device: Device::Wgpu.name(),
            reason: "no driver".to_owned(),
        };
        assert!(matches!(Failure::from(missing), Failure::Config(_)));
        let refused = Device::Wgpu.check(Precision::Bf16).map_err(Failure::from);
        assert!(matches!(refused, Err(Failure::Config(_))));
        let damaged = Error::DegenerateClasses("a model");
        assert!(matches!(Failure::from(damaged), Failure::Work(_)));
    }
}
