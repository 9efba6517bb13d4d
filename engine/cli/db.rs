//! `omnizap db`: the database that the settings name: its schema, and what to forget.

mod forget;

use std::process::ExitCode;

use clap::Subcommand;
use omnizap_services::store::Store;
use serde_json::json;

use super::config::{check_database, services_config};
use super::{Common, Failure, signals};

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Bring the schema up to date, as serving does at its start
    #[command(after_help = "\
Example:
  omnizap db migrate                 before several copies start at once")]
    Migrate,
    /// Show which steps of the schema are applied; makes and changes nothing
    #[command(after_help = "\
Examples:
  omnizap db status
  omnizap db status --json | jq .pending")]
    Status {
        /// Print one document of JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete pictures and all that is kept of them
    Forget(forget::ForgetArgs),
}

pub(super) async fn run(common: &Common, command: DbCommand) -> Result<ExitCode, Failure> {
    check_database(common)?;
    let config = services_config(common).map_err(Failure::Config)?;
    let services = omnizap_services::Services::new(config);
    let store = services.store();
    let interrupted = signals::first()?;
    let done = tokio::select! {
        done = Box::pin(execute(&store, command)) => done,
        code = interrupted => {
            errln!("interrupted");
            Ok(ExitCode::from(code))
        }
    };
    store.close().await;
    done
}

async fn execute(store: &Store, command: DbCommand) -> Result<ExitCode, Failure> {
    match command {
        DbCommand::Migrate => {
            let applied = store.migrate().await?;
            for name in &applied {
                outln!("applied {name}");
            }
            if applied.is_empty() {
                outln!("the schema is up to date");
            }
        }
        DbCommand::Status { json } => {
            let steps = store.status().await?;
            let pending = steps.iter().filter(|step| !step.applied).count();
            if json {
                let steps = steps.iter();
                let steps = steps.map(|step| json!({ "name": step.name, "applied": step.applied }));
                let steps: Vec<_> = steps.collect();
                outln!("{:#}", json!({ "pending": pending, "steps": steps }));
                return Ok(ExitCode::SUCCESS);
            }
            for step in &steps {
                let state = if step.applied { "applied" } else { "pending" };
                outln!("{state}  {}", step.name);
            }
            if pending > 0 {
                outln!("{pending} pending: run `omnizap db migrate`");
            }
        }
        DbCommand::Forget(args) => return forget::run(store, &args).await,
    }
    Ok(ExitCode::SUCCESS)
}
