//! Themes count without case: rows that were written before they did are found under the folded
//! theme from now on, and added to those that are there. The Python service folded them itself; a
//! row of it that somebody wrote by hand is folded too.
//!
//! The folding is that of requests as it is today: without the blanks around, in lower case. It is
//! done here and not by the database, whose `LOWER` knows ASCII alone on SQLite, and on the others
//! what their locale says.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::{DatabaseBackend, QueryResult, Statement, Value};

use crate::ddl::THEME_CHARS;

/// Rows that are looked at, and folded, in one transaction.
const PAGE: u64 = 500;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in &TABLES {
            let mut after = None;
            loop {
                let page = table.page(manager, after).await?;
                let Some(last) = page.last() else {
                    break;
                };
                after = Some(last.clone());
                // MySQL has no transaction around this step: none of these is folded, or all, and
                // a start that was interrupted goes on with the rest.
                let within = manager.begin().await?;
                for row in &page {
                    table.fold(&within, row).await?;
                }
                within.commit().await?;
            }
        }
        Ok(())
    }

    /// Does nothing: nobody knows any more how they were written, and former versions find what is
    /// folded under folded themes.
    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// A table with themes.
struct Themed {
    name: &'static str,
    /// The first two columns of its key: in their order it is gone through.
    order: [&'static str; 2],
    /// What else is of its key, or else of its rows, but for times that the database sets.
    rest: &'static [&'static str],
    /// Of them those that are of the key.
    keys: &'static [&'static str],
    /// What two rows that become one add up to; nothing where one is as good as the other.
    sums: &'static [&'static str],
}

const TABLES: [Themed; 5] = [
    Themed {
        name: "clip_image_theme_feedback",
        order: ["image_hash", "theme"],
        rest: &["asset_id", "created_at", "updated_at"],
        keys: &["image_hash", "theme"],
        sums: &[
            "acceptance_count",
            "total_assignments",
            "credited_accepted",
            "credited_total",
        ],
    },
    Themed {
        name: "omnizap_judgements",
        order: ["image_hash", "theme"],
        rest: &["label_set", "label_key", "label", "updated_at"],
        keys: &["image_hash", "theme", "label_set", "label_key"],
        sums: &["accepted", "total", "credited_accepted", "credited_total"],
    },
    Themed {
        name: "omnizap_image_credits",
        order: ["theme", "image_hash"],
        rest: &["label_key"],
        keys: &["theme", "image_hash", "label_key"],
        sums: &["accepted", "rejected"],
    },
    Themed {
        name: "omnizap_theme_labels",
        order: ["theme", "label_key"],
        rest: &["label", "updated_at"],
        keys: &["theme", "label_key"],
        sums: &["accepted", "rejected"],
    },
    // The key is a hash of more than the theme, and stays: a look that was looked at before is
    // looked at again under another key, and says the same.
    Themed {
        name: "omnizap_looks",
        order: ["content_hash", "look_key"],
        rest: &[],
        keys: &[],
        sums: &[],
    },
];

/// Where rows are: the values of the columns of [`Themed::order`], and the theme.
#[derive(Clone)]
struct Found {
    at: [String; 2],
    theme: String,
}

impl Themed {
    /// The next rows, in their order.
    async fn page(
        &self,
        manager: &SchemaManager<'_>,
        after: Option<Found>,
    ) -> Result<Vec<Found>, DbErr> {
        let [first, second] = self.order;
        let mut query = Query::new(manager);
        query.say(&format!(
            "SELECT DISTINCT {first}, {second}, theme FROM {}",
            self.name
        ));
        if let Some(Found { at, .. }) = after {
            query.say(&format!(" WHERE {first} > "));
            query.give(&at[0]);
            query.say(&format!(" OR ({first} = "));
            query.give(&at[0]);
            query.say(&format!(" AND {second} > "));
            query.give(&at[1]);
            query.say(")");
        }
        query.say(&format!(" ORDER BY {first}, {second} LIMIT {PAGE}"));
        let rows = query.rows(manager).await?;
        rows.iter()
            .map(|row| {
                Ok(Found {
                    at: [row.try_get_by_index(0)?, row.try_get_by_index(1)?],
                    theme: row.try_get_by_index(2)?,
                })
            })
            .collect()
    }

    /// Folds the theme of rows, where that changes it.
    async fn fold(&self, manager: &SchemaManager<'_>, row: &Found) -> Result<(), DbErr> {
        let folded = fold(&row.theme);
        // A longer one has no room, and no request asks for it.
        if folded == row.theme || folded.chars().nth(THEME_CHARS as usize).is_some() {
            return Ok(());
        }
        if self.keys.is_empty() {
            let mut update = Query::new(manager);
            update.say(&format!("UPDATE {} SET theme = ", self.name));
            update.give(&folded);
            self.at(&mut update, row, &folded);
            return update.run(manager).await;
        }
        let others = self.order.iter().copied().filter(|name| *name != "theme");
        let columns: Vec<_> = others.chain(self.rest.iter().copied()).collect();
        let columns = [&columns[..], self.sums].concat().join(", ");
        let mut merge = Query::new(manager);
        merge.say(&format!(
            "INSERT INTO {} (theme, {columns}) SELECT ",
            self.name
        ));
        merge.give_text(&folded);
        // Called otherwise, so that nobody takes its columns for those of the row that is there.
        merge.say(&format!(
            ", {columns} FROM (SELECT {columns} FROM {}",
            self.name
        ));
        self.at(&mut merge, row, &folded);
        merge.say(") folded WHERE 1 = 1 ");
        merge.say(&self.on_conflict(manager.get_database_backend()));
        merge.run(manager).await?;
        let mut delete = Query::new(manager);
        delete.say(&format!("DELETE FROM {}", self.name));
        self.at(&mut delete, row, &folded);
        delete.run(manager).await
    }

    /// Says which rows are meant. Those that are folded are never among them: MySQL takes a word
    /// and the word with a blank behind it for one.
    fn at(&self, query: &mut Query, row: &Found, folded: &str) {
        let [first, second] = self.order;
        query.say(&format!(" WHERE {first} = "));
        query.give(&row.at[0]);
        query.say(&format!(" AND {second} = "));
        query.give(&row.at[1]);
        query.say(" AND theme <> ");
        query.give(folded);
    }

    /// Adds to the row that is there.
    fn on_conflict(&self, backend: DatabaseBackend) -> String {
        let table = self.name;
        let is_mysql = backend == DatabaseBackend::MySql;
        let new = |column: &str| match is_mysql {
            true => format!("VALUES({column})"),
            false => format!("excluded.{column}"),
        };
        let sums = self.sums.iter().map(|column| {
            let more = new(column);
            format!("{column} = {table}.{column} + {more}")
        });
        let mut set: Vec<_> = sums.collect();
        if self.rest.contains(&"asset_id") {
            let other = new("asset_id");
            set.push(format!("asset_id = COALESCE({table}.asset_id, {other})"));
        }
        let set = set.join(", ");
        match is_mysql {
            true => format!("ON DUPLICATE KEY UPDATE {set}"),
            false => format!("ON CONFLICT ({}) DO UPDATE SET {set}", self.keys.join(", ")),
        }
    }
}

/// As requests are folded.
fn fold(theme: &str) -> String {
    theme.trim().to_lowercase()
}

/// A statement, and the values that it is given.
struct Query {
    backend: DatabaseBackend,
    sql: String,
    values: Vec<Value>,
}

impl Query {
    fn new(manager: &SchemaManager<'_>) -> Self {
        Self {
            backend: manager.get_database_backend(),
            sql: String::new(),
            values: Vec::new(),
        }
    }

    fn say(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    fn give(&mut self, value: &str) {
        self.values.push(value.into());
        match self.backend {
            DatabaseBackend::Postgres => self.sql.push_str(&format!("${}", self.values.len())),
            _ => self.sql.push('?'),
        }
    }

    /// The same where nothing else says that it is text.
    fn give_text(&mut self, value: &str) {
        let is_postgres = self.backend == DatabaseBackend::Postgres;
        if is_postgres {
            self.say("CAST(");
        }
        self.give(value);
        if is_postgres {
            self.say(" AS VARCHAR)");
        }
    }

    fn statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.sql, self.values)
    }

    async fn run(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_raw(self.statement()).await.map(drop)
    }

    async fn rows(self, manager: &SchemaManager<'_>) -> Result<Vec<QueryResult>, DbErr> {
        manager
            .get_connection()
            .query_all_raw(self.statement())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn it_folds_as_requests_are_folded() {
        for (theme, folded) in [
            (" Party ", "party"),
            ("AÇÃO", "ação"),
            ("ΟΔΟΣ", "οδος"),
            ("CAFÉ", "café"),
            ("party", "party"),
        ] {
            assert_eq!(fold(theme), folded);
        }
    }
}
