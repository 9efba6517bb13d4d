//! `omnizap top`: what the stages of a running server do, as a table that is drawn anew each
//! second.
//!
//! - `look`: what a server says of itself, and what happened between two looks
//! - `scrape`: its numbers; `table`: all of that for people; `screen`: the terminal meanwhile

mod look;
mod scrape;
mod screen;
mod table;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use omnizap_contract::common::chain::chain;
use serde_json::json;

use self::look::{Look, Span};
use self::screen::Screen;
use super::client::Client;
use super::serve::ServeArgs;
use super::value::{ms, whole};
use super::{Failure, output, signals};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// Over how many looks is counted: one request in a second has no percentiles.
const WINDOW: usize = 10;

/// What tells of Ctrl-C: whoever ends a table so has seen enough.
const INTERRUPTED: u8 = 130;

/// The key for a server that wants one. It is no flag: whoever sees the processes of the machine
/// would see it.
const KEY: &str = "OMNIZAP_TOP_KEY";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap top                              the server of these settings, until q or Ctrl-C
  omnizap top http://10.0.0.7:8008 --once  one table of another, since its start
  omnizap top --json | jq .requests_per_second
  OMNIZAP_TOP_KEY=$(cat key) omnizap top   a server that wants a key

Runs, skips and errors are of the last ten looks, P50 and P95 lie between the bounds of the server's
histograms, WAIT is what a stage waits for a place, CACHE how much of what it looked up it had.
Where standard output is no terminal, one table is printed.")]
pub(super) struct TopArgs {
    /// Where the server is, http://HOST:PORT [default: where OMNIZAP_LISTEN says]
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Print one table, of all since the server's start
    #[arg(long)]
    once: bool,
    /// Print one line of JSON a look
    #[arg(long, conflicts_with = "plain")]
    json: bool,
    /// Print one table with tabs between its cells
    #[arg(long)]
    plain: bool,
    /// How often to look, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = ms(EVERY),
        value_parser = |text: &str| whole(text, 100, 3_600_000)
    )]
    every_ms: u64,
}

pub(super) async fn run(args: &TopArgs, serve: &ServeArgs) -> Result<ExitCode, Failure> {
    let key = std::env::var(KEY).ok().map(|key| key.trim().to_owned());
    let key = key.filter(|key| !key.is_empty());
    let address = match &args.url {
        Some(url) if url.contains("://") => url.clone(),
        Some(url) => format!("http://{url}"),
        None => format!("http://{}", serve.listen().to_reach()),
    };
    let client = Client::new(&address, key)
        .context("URL")
        .map_err(Failure::Usage)?;
    let first = Look::at(&client).await?;
    let span = Span::between(None, &first);
    let is_live = std::io::stdout().is_terminal() && !output::is_dumb() && !args.plain;
    if args.json {
        outln!("{}", span.to_json(client.address()));
        output::flush();
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        return lines(&client, args, first).await;
    }
    if args.once || !is_live {
        if !args.plain {
            for line in table::head(&span, client.address()) {
                outln!("{line}");
            }
        }
        table::table(&span, args.plain).print(args.plain);
        return Ok(ExitCode::SUCCESS);
    }
    live(&client, args, first).await
}

/// The looks of the window, the oldest first.
struct Looks(VecDeque<Look>);

impl Looks {
    /// Looks once more, and tells what happened since the oldest look.
    async fn next(&mut self, client: &Client) -> anyhow::Result<Span> {
        let now = Look::at(client).await?;
        if self.0.len() >= WINDOW {
            self.0.pop_front();
        }
        let span = Span::between(self.0.front(), &now);
        self.0.push_back(now);
        Ok(span)
    }
}

/// A line of JSON a look, until a signal, or nobody reads them any more.
async fn lines(client: &Client, args: &TopArgs, first: Look) -> Result<ExitCode, Failure> {
    let mut looks = Looks(VecDeque::from([first]));
    let mut interrupted = Box::pin(signals::first()?);
    let every = Duration::from_millis(args.every_ms);
    while !output::is_closed() {
        tokio::select! {
            code = &mut interrupted => return Ok(ExitCode::from(code)),
            () = tokio::time::sleep(every) => {}
        }
        match looks.next(client).await {
            Ok(span) => outln!("{}", span.to_json(client.address())),
            Err(error) => {
                let error = chain(error.as_ref());
                outln!(
                    "{}",
                    json!({ "ok": false, "server": client.address(), "error": error })
                );
            }
        }
        output::flush();
    }
    Ok(ExitCode::SUCCESS)
}

/// The table, drawn anew, until a key or a signal.
async fn live(client: &Client, args: &TopArgs, first: Look) -> Result<ExitCode, Failure> {
    let mut interrupted = Box::pin(signals::first()?);
    let mut key = screen::end_key();
    let every = Duration::from_millis(args.every_ms);
    let screen = Screen::enter();
    let mut lines = drawn(&Span::between(None, &first), client);
    let mut looks = Looks(VecDeque::from([first]));
    let mut ended = ExitCode::SUCCESS;
    while !output::is_closed() {
        screen.show(&lines);
        let looking = async {
            tokio::time::sleep(every).await;
            looks.next(client).await
        };
        let looked = tokio::select! {
            code = &mut interrupted => {
                ended = match code {
                    INTERRUPTED => ExitCode::SUCCESS,
                    code => ExitCode::from(code),
                };
                break;
            }
            Some(()) = key.recv() => break,
            looked = looking => looked,
        };
        match looked {
            Ok(span) => lines = drawn(&span, client),
            Err(error) => {
                // The last table stays, below what the matter is.
                let error = chain(error.as_ref());
                let told = format!("{error}; the numbers below are from before");
                lines[0] = output::on_one_line(&told);
            }
        }
    }
    Ok(ended)
}

fn drawn(span: &Span, client: &Client) -> Vec<String> {
    let mut lines = table::head(span, client.address());
    lines.push(String::new());
    lines.extend(table::table(span, false).lines(false));
    lines.push(String::new());
    lines.push("q ends it".to_owned());
    lines
}
