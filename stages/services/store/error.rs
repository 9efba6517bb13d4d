//! What goes wrong with the store, and what clients read of it.

use std::io::ErrorKind as IoKind;
use std::time::Duration;

use omnizap_contract::{Error, ErrorKind};
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};

use super::trouble::{Trouble, is_of_a_pooler};

/// When a client may try again what the store refused.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same where it does not pass by itself.
pub const RETRY_AFTER_MENDING: Duration = Duration::from_secs(60);

/// An error of the store. Its text is for the log: it may hold a path or a query.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no, or could not be reached.
    #[error("{doing}: {source}{}", hint(.source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: DbErr,
    },
    /// The database could not be opened.
    #[error("opening the database {name}: {source}{why}{}", hint(.source))]
    Open {
        /// Its file, or its server and name.
        name: String,
        /// What it said.
        source: DbErr,
        /// What was found amiss with its file, in brackets; empty where nothing was.
        why: String,
        /// True where that does not pass by itself.
        lasts: bool,
    },
    /// The database did not answer in time.
    #[error("{doing}: the database did not answer within {limit:?}")]
    Slow {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The database did not take a connection in time.
    #[error("connecting to the database: it did not answer within {limit:?}")]
    Silent {
        /// How long it was waited for.
        limit: Duration,
    },
    /// Others had all the connections, or this program itself was too late: that says nothing
    /// about the database.
    #[error("{doing}: there was no turn within {waited:?}, since this program has too much to do")]
    Busy {
        /// What was to be done.
        doing: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database is just being opened, its schema brought up to date: that says nothing about it
    /// yet.
    #[error("{doing}: the database was still being opened after {waited:?}")]
    Opening {
        /// What was to be done.
        doing: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database failed a moment ago, and what was asked for is not worth the wait.
    #[error("{doing}: the database failed less than {pause:?} ago")]
    Resting {
        /// What was to be done.
        doing: &'static str,
        /// How long it is left alone after a failure.
        pause: Duration,
        /// True where what failed does not pass by itself.
        lasts: bool,
    },
    /// The database's file was removed, replaced or cut off: what was written may be in what was
    /// there before, and is not acknowledged.
    #[error("{doing}: the file of the database was removed, replaced or cut off meanwhile")]
    Moved {
        /// What was being done.
        doing: &'static str,
    },
    /// There is little room left, and it is for what cannot be made again.
    #[error(
        "{doing}: {free} bytes are free where the database is, and what can be made again is kept where more than {wanted} are"
    )]
    Crowded {
        /// What was to be done.
        doing: &'static str,
        /// Bytes that are free.
        free: u64,
        /// [`ROOM_FOR_FEEDBACK`](super::limits::ROOM_FOR_FEEDBACK).
        wanted: u64,
    },
    /// The program ends, and the store with it.
    #[error("{doing}: the store is closed, since the program ends")]
    Closed {
        /// What was to be done.
        doing: &'static str,
    },
    /// The folder for the database cannot be made.
    #[error("the data folder {path} cannot be created: {source}{why}")]
    Folder {
        /// The folder.
        path: String,
        /// Why not.
        source: std::io::Error,
        /// What was found amiss, in brackets; empty where nothing was.
        why: String,
    },
    /// The URL names a kind of database that this build does not know.
    #[error(
        "no database of the kind {scheme:?} is served by this build; use sqlite, mysql, mariadb or postgres"
    )]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The URL cannot be used. Nothing of it is told: it may hold a password.
    #[error("the database's URL cannot be used: {what}")]
    Url {
        /// What is amiss, and what was expected.
        what: String,
    },
}

impl StoreError {
    /// True where the operator's settings are at fault, whatever the database does.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Scheme { .. } | Self::Url { .. })
    }

    /// True where nothing was tried, since the store is known to fail or to have little room, or is
    /// closed: whoever logged that has logged this.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        matches!(
            self,
            Self::Resting { .. } | Self::Crowded { .. } | Self::Closed { .. }
        )
    }

    /// True where the program ends, which is no fault.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// True where it says no more than that nothing was said in time.
    pub(super) fn is_vague(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Silent { .. } | Self::Busy { .. } | Self::Opening { .. } => {
                true
            }
            Self::Database { source, .. } | Self::Open { source, .. } => {
                matches!(source, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
            }
            _ => false,
        }
    }

    /// True where one operation did not end in time, which may be so by chance: no more is known
    /// of the database until it is asked.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Slow { .. } => true,
            Self::Database { source, .. } => {
                matches!(source, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
            }
            _ => false,
        }
    }

    /// True where there was no turn, and nothing was tried.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// True where the database was still being opened.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening { .. })
    }

    /// True where it does not pass by itself.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Open { lasts: true, .. } | Self::Resting { lasts: true, .. } => true,
            Self::Folder { source, .. } => matches!(
                source.kind(),
                IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem
            ),
            error => error.trouble().lasts(),
        }
    }

    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Database { source, .. } | Self::Open { source, .. } => Trouble::of(source),
            Self::Moved { .. } => Trouble::Gone,
            Self::Crowded { .. } => Trouble::Full,
            Self::Scheme { .. } | Self::Url { .. } => Trouble::Broken,
            Self::Slow { .. }
            | Self::Silent { .. }
            | Self::Busy { .. }
            | Self::Opening { .. }
            | Self::Resting { .. }
            | Self::Closed { .. }
            | Self::Folder { .. } => Trouble::Away,
        }
    }

    /// True where nothing is known to be wrong with the database that is there now: the one
    /// that was in use is being left for it.
    pub(super) fn is_of_the_last_one(&self) -> bool {
        matches!(
            self,
            Self::Moved { .. }
                | Self::Database {
                    source: DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
                    ..
                }
        )
    }

    /// True where the database said that what was to be written is at fault.
    pub(super) fn is_of_values(&self) -> bool {
        self.trouble() == Trouble::Values
    }

    /// True where what was to be written may be at fault: the database was spoken to, and did
    /// not say that it is something else.
    pub(super) fn may_be_of_values(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        match Trouble::of(source) {
            Trouble::Values => true,
            Trouble::Away => matches!(
                source,
                DbErr::Exec(RuntimeErr::SqlxError(_)) | DbErr::Query(RuntimeErr::SqlxError(_))
            ),
            _ => false,
        }
    }
}

/// What to do about what a database said, where that is known.
fn hint(source: &DbErr) -> &'static str {
    match is_of_a_pooler(source) {
        true => {
            "; a pooler seems to hand each transaction to another session, as PgBouncer does in its \
             transaction mode: add `?pgbouncer=true` to the URL"
        }
        false => "",
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (message, after) = match error.lasts() {
            false if error.is_busy() => (
                "the store has too much to do; try again in a moment",
                RETRY_AFTER,
            ),
            false if error.is_opening() => (
                "the store is still being opened; try again in a moment",
                RETRY_AFTER,
            ),
            true => (
                "the store cannot be used until its operator has mended it, and nothing was stored; the log says why",
                RETRY_AFTER_MENDING,
            ),
            false => (
                "the store is not reachable; try again in a moment",
                RETRY_AFTER,
            ),
        };
        Self::new(ErrorKind::Unavailable, message)
            .with_code("store_unavailable")
            .with_retry_after(after)
            .with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: StoreError) -> (String, Option<Duration>) {
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        (error.message().to_owned(), error.retry_after())
    }

    #[test]
    fn only_what_passes_is_to_be_tried_in_a_moment() {
        let slow = StoreError::Slow {
            doing: "x",
            limit: RETRY_AFTER,
        };
        let busy = StoreError::Busy {
            doing: "x",
            waited: RETRY_AFTER,
        };
        let silent = StoreError::Silent { limit: RETRY_AFTER };
        let opening = StoreError::Opening {
            doing: "x",
            waited: RETRY_AFTER,
        };
        for error in [slow, busy, silent, opening] {
            let (message, after) = told(error);
            assert!(message.contains("in a moment"), "{message}");
            assert_eq!(after, Some(RETRY_AFTER));
        }
        let resting = |lasts| StoreError::Resting {
            doing: "x",
            pause: RETRY_AFTER,
            lasts,
        };
        assert!(told(resting(false)).0.contains("in a moment"));
        let open = StoreError::Open {
            name: "/secret/place".into(),
            source: DbErr::Custom("no".into()),
            why: String::new(),
            lasts: true,
        };
        for error in [resting(true), open] {
            let (message, after) = told(error);
            assert!(!message.contains("in a moment"), "{message}");
            assert!(!message.contains('/'), "{message}");
            assert_eq!(after, Some(RETRY_AFTER_MENDING));
        }
    }
}
