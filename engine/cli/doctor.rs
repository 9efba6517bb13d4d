//! `omnizap doctor`: what a server would find here, before it is started or while it runs. Nothing
//! is made or changed, and no secret is shown.
//!
//! - `finding`: what a check found, and how it is shown; `secrets`: what is cut out of that
//! - one file a check or two: `variables`, `keys`, `folder`, `database`, `port`, `limits`,
//!   `pipelines` (and their plugins), `models`, `language`

mod database;
mod finding;
mod folder;
mod keys;
mod language;
mod limits;
mod models;
mod pipelines;
mod port;
mod secrets;
mod variables;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use omnizap_contract::common::chain::chain;

use self::finding::{Finding, Report};
use self::variables::Heard;
use super::serve::ServeArgs;
use super::{Common, Failure};

/// The longest that a check takes which reads a few files of this machine.
const QUICK: Duration = Duration::from_secs(20);
/// The same of one that waits for a database, and for its name to be found.
const DATABASE: Duration = Duration::from_secs(20);
/// Of the pipelines: with plugins, whose libraries are opened for that.
const PIPELINES: Duration = Duration::from_mins(1);
/// Of the libraries of plugins, which are read whole.
const PLUGINS: Duration = Duration::from_secs(20);
/// Of models, which are read whole and run once.
const MODELS: Duration = Duration::from_mins(5);
/// Of a question to the server of the language model.
const ONLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap doctor                       look at everything on this machine
  omnizap --listen :9000 doctor        the same, as a server with these flags would find it
  omnizap doctor --online              ask the language model's server too
  omnizap doctor --json | jq '.checks[] | select(.level != \"ok\")'

What is looked at: variables and .env, keys, the data folder, the database, the port, limits of this
process, plugins, pipelines, models, the language model. Nothing is made or changed, and no password
or key is shown.

Exit codes: 0 fine, or warnings only; 78 where settings or pipelines are at fault; 1 where something
else is, such as a database that is away.")]
pub(super) struct DoctorArgs {
    /// Ask the server of the language model whether it is there and takes the key
    #[arg(long)]
    online: bool,
    /// Print one document of JSON
    #[arg(long, conflicts_with = "plain")]
    json: bool,
    /// Print a line for each finding, with tabs between level, check, what was found and what to do
    #[arg(long)]
    plain: bool,
    /// What the start of the program found already.
    #[arg(skip)]
    heard: Heard,
}

impl DoctorArgs {
    /// Takes the variables that are refused, each with what was expected.
    pub(super) fn refused(&mut self, refused: Vec<(OsString, String)>) {
        let refused = refused.into_iter();
        let named = refused.map(|(name, why)| (name.to_string_lossy().into_owned(), why));
        self.heard.refused = named.collect();
    }

    /// Takes what was found of the `.env`; what is left to be told elsewhere, which is nothing.
    pub(super) fn hear(&mut self, env_file: anyhow::Result<Vec<String>>) -> Vec<String> {
        match env_file {
            Ok(passed_over) => self.heard.passed_over = passed_over,
            Err(error) => self.heard.unreadable = Some(chain(error.as_ref())),
        }
        Vec::new()
    }
}

pub(super) async fn run(
    common: &Common,
    args: DoctorArgs,
    serve: &ServeArgs,
) -> Result<ExitCode, Failure> {
    let mut report = Report::new(args.json, args.plain);
    let heard = args.heard;
    let own = common.clone();
    let found = blocking(QUICK, move || variables::look(&own, heard)).await;
    report.add("variables", found);
    let flags = serve.clone();
    let found = blocking(QUICK, move || keys::look(&flags)).await;
    report.add("keys", found);
    let folder = common.data.clone();
    let found = blocking(QUICK, move || folder::look(&folder)).await;
    report.add("data folder", found);
    let found = within(DATABASE, Box::pin(database::look(common))).await;
    report.add("database", found);
    let found = within(QUICK, Box::pin(port::look(serve.listen()))).await;
    report.add("port", found);
    let (own, flags) = (common.clone(), serve.clone());
    let found = blocking(QUICK, move || limits::look(&own, &flags)).await;
    report.add("limits", found);
    let own = common.clone();
    let found = blocking(PLUGINS, move || pipelines::look_at_plugins(&own)).await;
    report.add("plugins", found);
    let (own, is_safe) = (common.clone(), serve.is_safe());
    let found = blocking(PIPELINES, move || pipelines::look(&own, is_safe)).await;
    report.add("pipelines", found);
    let own = common.clone();
    let found = blocking(MODELS, move || models::look(&own)).await;
    report.add("models", found);
    let found = within(ONLINE, Box::pin(language::look(common, args.online))).await;
    report.add("language model", found);
    Ok(report.end())
}

/// What a check found, within its time.
async fn within(limit: Duration, check: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let found = tokio::time::timeout(limit, check).await;
    found.unwrap_or_else(|_| late(limit))
}

/// The same of one that keeps its thread: where it is late, it is left alone.
async fn blocking(
    limit: Duration,
    check: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    let check = tokio::task::spawn_blocking(check);
    match tokio::time::timeout(limit, check).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => vec![Finding::fault(
            format!("the check itself failed: {error}"),
            "please report this with what the program printed before",
        )],
        Err(_) => late(limit),
    }
}

fn late(limit: Duration) -> Vec<Finding> {
    let what = format!("nothing was found within {} s", limit.as_secs());
    vec![Finding::fault(
        what,
        "look whether a disk, the network or a plugin hangs, or the machine has too much to do",
    )]
}

/// What a failure says, and whether the configuration is at fault.
fn told(failure: &Failure) -> (String, bool) {
    let (error, is_configuration) = match failure {
        Failure::Config(error) => (error, true),
        Failure::Usage(error) | Failure::Work(error) => (error, false),
    };
    (chain(error.as_ref()), is_configuration)
}

/// Bytes, for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_units() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (32 << 20, "32.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_given_up() {
        let limit = Duration::from_millis(20);
        let found = within(limit, std::future::pending()).await;
        assert!(found[0].is_fault());
    }
}
