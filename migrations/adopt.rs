//! Taking over the tables that the Python service made, in place, every row kept.
//!
//! It ran on MySQL or MariaDB only, so elsewhere there is nothing to take over. Each
//! table changes by one `ALTER TABLE`, which the server does wholly or not at all; a
//! start that was interrupted between two tables goes on where it stopped.

use sea_orm_migration::prelude::{ConnectionTrait, DbErr, SchemaManager};
use sea_orm_migration::sea_orm::DatabaseBackend;

use crate::ddl::query;

/// True where the table is there in the layout of the Python service: without the
/// column that our layout adds.
pub(crate) async fn is_foreign(
    manager: &SchemaManager<'_>,
    table: &str,
    our_column: &str,
) -> Result<bool, DbErr> {
    Ok(manager.get_database_backend() == DatabaseBackend::MySql
        && manager.has_table(table).await?
        && !manager.has_column(table, our_column).await?)
}

/// Changes a table to our layout: `clauses` are those of an `ALTER TABLE`, and
/// `created_at` and `updated_at` get defaults where they have none, since we leave
/// them to the database.
pub(crate) async fn alter(
    manager: &SchemaManager<'_>,
    table: &str,
    clauses: &[String],
) -> Result<(), DbErr> {
    let mut clauses = clauses.to_vec();
    for column in ["created_at", "updated_at"] {
        clauses.extend(clock_default(manager, table, column).await?);
    }
    let sql = format!("ALTER TABLE `{table}` {}", clauses.join(", "));
    let connection = manager.get_connection();
    connection.execute_unprepared(&sql).await.map(drop)
}

/// The clause that gives a time column the default `CURRENT_TIMESTAMP`, in the type
/// and precision it has; none where it has a default already. A column that is not
/// there is added.
async fn clock_default(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
) -> Result<Option<String>, DbErr> {
    let row = query(
        manager,
        format!(
            "SELECT CAST(COLUMN_TYPE AS CHAR), CAST(COLUMN_DEFAULT AS CHAR), \
             CAST(DATETIME_PRECISION AS SIGNED) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' AND COLUMN_NAME = '{column}'"
        ),
    )
    .await?;
    let Some(row) = row else {
        return Ok(Some(format!(
            "ADD COLUMN `{column}` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
        )));
    };
    let column_type: String = row.try_get_by_index(0)?;
    let default: Option<String> = row.try_get_by_index(1)?;
    let precision: Option<i64> = row.try_get_by_index(2)?;
    // MariaDB spells "no default" of a nullable column as the string NULL.
    if default.is_some_and(|default| !default.eq_ignore_ascii_case("null")) {
        return Ok(None);
    }
    let clock = match precision.unwrap_or(0) {
        0 => "CURRENT_TIMESTAMP".to_owned(),
        digits => format!("CURRENT_TIMESTAMP({digits})"),
    };
    Ok(Some(format!(
        "MODIFY `{column}` {column_type} NULL DEFAULT {clock}"
    )))
}

/// Refuses to drop a table with rows that cannot be made again, which `condition`
/// tells.
pub(crate) async fn refuse_to_lose(
    manager: &SchemaManager<'_>,
    table: &str,
    condition: &str,
) -> Result<(), DbErr> {
    let sql = format!("SELECT 1 FROM {table} WHERE {condition} LIMIT 1");
    match query(manager, sql).await? {
        None => Ok(()),
        Some(_) => Err(DbErr::Migration(format!(
            "table {table} holds rows that cannot be made again; copy them elsewhere and delete them here before going down"
        ))),
    }
}
