//! `omnizap health`: asks the service of this machine how it is, for what watches over containers
//! and processes.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::StatusCode;

use super::Failure;
use super::client::Client;
use super::value::{Listen, whole};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  omnizap health                               0 where the service of these settings answers
  omnizap health --ready                       0 where it can do its work
  omnizap health --listen :9000 --timeout-ms 500")]
pub(super) struct HealthArgs {
    /// Address that the service listens on
    #[arg(
        long,
        env = "OMNIZAP_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8008",
        value_parser = Listen::parse
    )]
    listen: Listen,
    /// Ask whether it is ready, not only whether it answers
    #[arg(long)]
    ready: bool,
    /// Longest wait for the answer, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 3000,
        value_parser = |text: &str| whole(text, 1, 8_000)
    )]
    timeout_ms: u64,
}

pub(super) async fn run(args: HealthArgs) -> Result<ExitCode, Failure> {
    let path = if args.ready {
        "health/ready"
    } else {
        "health/live"
    };
    let asking = ask(&args.listen, path);
    let patience = Duration::from_millis(args.timeout_ms);
    let asked = tokio::time::timeout(patience, asking).await;
    let asked = asked.unwrap_or_else(|_| Err(anyhow!("no answer within {patience:?}")));
    match asked.with_context(|| format!("asking {} for /{path}", args.listen))? {
        StatusCode::OK => {
            outln!("/{path}: 200");
            Ok(ExitCode::SUCCESS)
        }
        status => Err(Failure::Work(anyhow!(
            "/{path}: expected 200, found {}",
            status.as_u16()
        ))),
    }
}

/// The status of the answer of who listens there.
async fn ask(listen: &Listen, path: &str) -> anyhow::Result<StatusCode> {
    let addresses: Vec<SocketAddr> = match listen.to_reach() {
        Listen::At(address) => vec![address],
        Listen::Host(host, port) => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    let mut failed = anyhow!("it has no address");
    for address in addresses {
        // By its address it is called wherever it listens, whatever names it is allowed.
        match Client::new(&format!("http://{address}"), None)?
            .get(path)
            .await
        {
            Ok(answer) => return Ok(answer.status),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
