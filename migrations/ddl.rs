//! Column types and table options that every step spells the same way.

use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, Expr, SchemaManager, Table, TableCreateStatement,
};
use sea_orm_migration::sea_orm::{DatabaseBackend, QueryResult, Statement};

/// Bytes in lower-case hex of a SHA-256: the width of every hash column.
pub(crate) const HASH_CHARS: u32 = 64;
/// Widest model id.
pub(crate) const MODEL_CHARS: u32 = 160;
/// Widest asset id.
pub(crate) const ASSET_CHARS: u32 = 255;
/// Widest theme.
pub(crate) const THEME_CHARS: u32 = 120;

/// A table that compares text by bytes: SQLite and PostgreSQL do so anyhow.
pub(crate) fn table(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name).if_not_exists();
    if manager.get_database_backend() == DatabaseBackend::MySql {
        table
            .engine("InnoDB")
            .character_set("utf8mb4")
            .collate("utf8mb4_bin");
    }
    table
}

/// A number for each row, given by the database: the key.
pub(crate) fn id() -> ColumnDef {
    let mut column = ColumnDef::new("id");
    column
        .big_integer()
        .not_null()
        .auto_increment()
        .primary_key();
    column
}

/// A text of so many characters at most, never null.
pub(crate) fn text(name: &'static str, chars: u32) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.string_len(chars).not_null();
    column
}

/// When the row was made or last changed, by the database's clock.
pub(crate) fn timestamp(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column
        .timestamp()
        .not_null()
        .default(Expr::current_timestamp());
    column
}

/// One row of a query made of constants of ours.
pub(crate) async fn query(
    manager: &SchemaManager<'_>,
    sql: String,
) -> Result<Option<QueryResult>, DbErr> {
    let connection = manager.get_connection();
    let statement = Statement::from_string(manager.get_database_backend(), sql);
    connection.query_one_raw(statement).await
}
