//! What goes wrong with the store, and what clients read of it.

use std::time::Duration;

use omnizap_contract::{Error, ErrorKind};
use sea_orm::DbErr;

/// When a client may try again what the store refused.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of the store. Its text is for the log: it may hold a path or a query.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no, or could not be reached.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: DbErr,
    },
    /// The database did not answer in time.
    #[error("{doing}: the database did not answer within {limit:?}")]
    Slow {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The database failed a moment ago, and what was asked for is not worth the wait.
    #[error("{doing}: the database failed less than {pause:?} ago")]
    Resting {
        /// What was to be done.
        doing: &'static str,
        /// How long it is left alone after a failure.
        pause: Duration,
    },
    /// The folder for the database cannot be made.
    #[error("the data folder {path} cannot be created: {source}")]
    Folder {
        /// The folder.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The URL names a kind of database that this build does not know.
    #[error(
        "no database of the kind {scheme:?} is served by this build; use sqlite, mysql, mariadb or postgres"
    )]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the store is not reachable; try again in a moment",
        )
        .with_code("store_unavailable")
        .with_retry_after(RETRY_AFTER)
        .with_source(error)
    }
}
