//! What an error of a database means: what is at fault, what still works, and whether it
//! passes. The numbers are those of SQLite, of MySQL and MariaDB, and the SQLSTATEs of
//! PostgreSQL.

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::sqlx::error::{DatabaseError, ErrorKind};
use sea_orm::{DbErr, RuntimeErr, SqlxMySqlError, SqlxPostgresError, SqlxSqliteError};

/// What is amiss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The database will not have these values: they are at fault, and nobody else need
    /// suffer.
    Values,
    /// Another holds a lock, or was preferred: the same passes later.
    Contention,
    /// It can be read and not be written: no room, or the disk says no.
    Full,
    /// A server takes no writes any more, as one does that another took over from.
    ReadOnly,
    /// It may not be written, until somebody changes rights.
    Denied,
    /// What was opened is not there any more: a file, a table.
    Gone,
    /// What is in the file makes no sense: it is another's, or something of it is gone. What is
    /// there once it is opened anew may be whole.
    Damaged,
    /// It cannot be used, until somebody mends it.
    Broken,
    /// It cannot be reached, or does not say what is the matter.
    Away,
}

impl Trouble {
    pub(super) fn of(error: &DbErr) -> Self {
        if let Some(said) = said(error) {
            return of_said(said);
        }
        match error {
            DbErr::Custom(text) if text.contains(NEWER_SCHEMA) => Self::Broken,
            _ => Self::Away,
        }
    }

    /// True where it does not pass by itself.
    pub(super) fn lasts(self) -> bool {
        matches!(self, Self::Denied | Self::Broken)
    }

    /// True where what failed in writing says nothing about reading.
    pub(super) fn spares_reading(self) -> bool {
        matches!(
            self,
            Self::Contention | Self::Full | Self::ReadOnly | Self::Denied
        )
    }

    /// True where a new connection may find what this one has lost: the tables made anew, the
    /// server that took over, or a file that is whole.
    pub(super) fn wants_reopening(self) -> bool {
        matches!(self, Self::Gone | Self::ReadOnly | Self::Damaged)
    }

    /// True where a server may keep to what it knew of us when we connected, whatever rights were
    /// given since.
    pub(super) fn wants_new_connections(self) -> bool {
        matches!(self, Self::Denied | Self::Broken)
    }
}

/// How a migrator says that a newer program has changed the schema.
const NEWER_SCHEMA: &str = "this migration has been applied but its file is missing";

/// What the database itself said, if it said something.
pub(super) fn said(error: &DbErr) -> Option<&(dyn DatabaseError + 'static)> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    match &**error {
        SqlxError::Database(error) => Some(&**error),
        _ => None,
    }
}

/// The result code of SQLite, with what it adds in the higher bits.
pub(super) fn sqlite_code(error: &DbErr) -> Option<u32> {
    let said = said(error)?.try_downcast_ref::<SqlxSqliteError>()?;
    DatabaseError::code(said)?.parse().ok()
}

/// True where a statement that was prepared is not there, or one that was not is: sessions are
/// handed from one to another.
pub(super) fn is_of_a_pooler(error: &DbErr) -> bool {
    let Some(said) = said(error) else {
        return false;
    };
    if said.try_downcast_ref::<SqlxPostgresError>().is_none() {
        return false;
    }
    let is_of_statements = || said.message().contains("prepared statement");
    match said.code().as_deref() {
        // No such prepared statement, one of that name, and another one of that name.
        Some("26000" | "42P05") => true,
        Some("08P01") => is_of_statements(),
        _ => false,
    }
}

/// True where SQLite has no room. It has undone what it was writing then.
pub(super) fn is_out_of_room(error: &DbErr) -> bool {
    const SQLITE_FULL: u32 = 13;
    sqlite_code(error).is_some_and(|code| code & SQLITE_PRIMARY == SQLITE_FULL)
}

fn of_said(said: &(dyn DatabaseError + 'static)) -> Trouble {
    if said.kind() != ErrorKind::Other {
        return Trouble::Values;
    }
    let code = said.code();
    let code = code.as_deref().unwrap_or_default();
    if said.try_downcast_ref::<SqlxSqliteError>().is_some() {
        return of_sqlite(code.parse().unwrap_or(0), said.message());
    }
    match said.try_downcast_ref::<SqlxMySqlError>() {
        Some(error) => of_mysql(error.number(), code),
        None => of_postgres(code),
    }
}

/// The part of a result code that says what kind of error it is.
const SQLITE_PRIMARY: u32 = 0xff;
/// Of the errors that SQLite calls I/O errors, those of reading and of memory.
const SQLITE_IOERR_READ: u32 = 266;
const SQLITE_IOERR_SHORT_READ: u32 = 522;
const SQLITE_IOERR_NOMEM: u32 = 3082;
/// The file was moved or removed while it was open.
const SQLITE_READONLY_DBMOVED: u32 = 1032;

fn of_sqlite(code: u32, message: &str) -> Trouble {
    match (code & SQLITE_PRIMARY, code) {
        // ERROR: of its kinds only this one means that the file is another.
        (1, _) if message.contains("no such table") => Trouble::Gone,
        // BUSY, LOCKED.
        (5 | 6, _) => Trouble::Contention,
        (8, SQLITE_READONLY_DBMOVED) => Trouble::Gone,
        // READONLY.
        (8, _) => Trouble::Denied,
        // The log is shorter than what was committed.
        (10, SQLITE_IOERR_SHORT_READ) => Trouble::Damaged,
        (10, SQLITE_IOERR_READ | SQLITE_IOERR_NOMEM) => Trouble::Away,
        // IOERR, FULL.
        (10 | 13, _) => Trouble::Full,
        // CORRUPT, NOTADB.
        (11 | 26, _) => Trouble::Damaged,
        // TOOBIG, CONSTRAINT, MISMATCH.
        (18..=20, _) => Trouble::Values,
        _ => Trouble::Away,
    }
}

fn of_mysql(number: u16, state: &str) -> Trouble {
    match number {
        // Record changed since last read (MariaDB, where `innodb_snapshot_isolation` is on), lock
        // wait timeout, deadlock; MariaDB says of some deadlocks that a counter cannot be read.
        1020 | 1205 | 1213 | 1467 => Trouble::Contention,
        // Error writing a file, disk full, error from the storage engine, table full.
        3 | 1021 | 1026 | 1030 | 1114 => Trouble::Full,
        // `--read-only`, a transaction of a read-only session, read-only mode.
        1290 | 1792 | 1836 => Trouble::ReadOnly,
        // Denied: a table, a column, a privilege, a routine.
        1142 | 1143 | 1227 | 1370 => Trouble::Denied,
        // No such table.
        1146 => Trouble::Gone,
        // Access denied, unknown database; tables that are crashed.
        1034 | 1044 | 1045 | 1049 | 1194 | 1195 | 1698 | 1712 | 1932 => Trouble::Broken,
        // A text that its column cannot hold.
        1366 => Trouble::Values,
        _ => of_class(state),
    }
}

fn of_postgres(state: &str) -> Trouble {
    match state {
        // Serialisation, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Trouble::Contention,
        // Disk full, I/O error.
        "53100" | "58030" => Trouble::Full,
        "25006" => Trouble::ReadOnly,
        "42501" => Trouble::Denied,
        // No such table.
        "42P01" => Trouble::Gone,
        // Authorization, password, no such database; corrupted data, corrupted index.
        "28000" | "28P01" | "3D000" | "XX001" | "XX002" => Trouble::Broken,
        _ => of_class(state),
    }
}

/// SQLSTATE classes 22 (data), 23 (constraints) and 40 (rolled back).
fn of_class(state: &str) -> Trouble {
    match state.get(..2) {
        Some("22" | "23") if state.len() == 5 => Trouble::Values,
        Some("40") if state.len() == 5 => Trouble::Contention,
        _ => Trouble::Away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_is_at_fault() {
        for (code, message, expected) in [
            (1, "no such table: x", Trouble::Gone),
            (1, "near \"x\": syntax error", Trouble::Away),
            (5, "database is locked", Trouble::Contention),
            (517, "database is locked", Trouble::Contention),
            (8, "attempt to write a readonly database", Trouble::Denied),
            (1032, "attempt to write a readonly database", Trouble::Gone),
            (778, "disk I/O error", Trouble::Full),
            (1034, "disk I/O error", Trouble::Full),
            (266, "disk I/O error", Trouble::Away),
            (13, "database or disk is full", Trouble::Full),
            (522, "disk I/O error", Trouble::Damaged),
            (11, "database disk image is malformed", Trouble::Damaged),
            (26, "file is not a database", Trouble::Damaged),
            (14, "unable to open database file", Trouble::Away),
            (7, "out of memory", Trouble::Away),
            (1811, "from a trigger", Trouble::Values),
        ] {
            assert_eq!(of_sqlite(code, message), expected, "{code} {message}");
        }
        for (number, state, expected) in [
            (1213, "40001", Trouble::Contention),
            (1467, "HY000", Trouble::Contention),
            (1114, "HY000", Trouble::Full),
            (1290, "HY000", Trouble::ReadOnly),
            (1142, "42000", Trouble::Denied),
            (1146, "42S02", Trouble::Gone),
            (1045, "28000", Trouble::Broken),
            (1406, "22001", Trouble::Values),
            (1153, "08S01", Trouble::Away),
        ] {
            assert_eq!(of_mysql(number, state), expected, "{number}");
        }
        for (state, expected) in [
            ("40P01", Trouble::Contention),
            ("53100", Trouble::Full),
            ("25006", Trouble::ReadOnly),
            ("42501", Trouble::Denied),
            ("42P01", Trouble::Gone),
            ("28P01", Trouble::Broken),
            ("22021", Trouble::Values),
            ("57P01", Trouble::Away),
            ("", Trouble::Away),
        ] {
            assert_eq!(of_postgres(state), expected, "{state}");
        }
    }

    #[test]
    fn a_newer_schema_lasts_and_other_words_of_ours_do_not() {
        let newer = format!("Migration file of version 'm9' is missing, {NEWER_SCHEMA}");
        assert!(Trouble::of(&DbErr::Custom(newer)).lasts());
        assert!(!Trouble::of(&DbErr::Custom("closed".into())).lasts());
    }
}
