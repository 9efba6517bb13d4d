//! Triggers of a step: made anew by each run of it, and gone with it.

use sea_orm_migration::prelude::{ConnectionTrait, DbErr, SchemaManager};
use sea_orm_migration::sea_orm::DatabaseBackend;

/// The triggers of one step.
pub(crate) struct Triggers {
    /// Each, with its table.
    pub(crate) each: &'static [(&'static str, &'static str)],
    /// Functions of PostgreSQL that they call.
    pub(crate) functions: &'static [&'static str],
    /// What a database says, a part of it, that lets nobody make or drop them: the step does
    /// without.
    pub(crate) refusals: &'static [&'static str],
}

impl Triggers {
    /// Makes them by these statements, in the place of those that there are. Where the database
    /// lets nobody make one, the rest is left out.
    pub(crate) async fn make(
        &self,
        manager: &SchemaManager<'_>,
        statements: Vec<String>,
    ) -> Result<(), DbErr> {
        self.drop(manager).await?;
        let connection = manager.get_connection();
        for statement in statements {
            match connection.execute_unprepared(&statement).await {
                Ok(_) => {}
                Err(error) if self.is_refusal(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops those that there are, and their functions.
    pub(crate) async fn drop(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let is_postgres = manager.get_database_backend() == DatabaseBackend::Postgres;
        for (name, table) in self.each {
            if is_postgres && !manager.has_table(table).await? {
                continue;
            }
            let on = match is_postgres {
                true => format!(" ON {table}"),
                false => String::new(),
            };
            let sql = format!("DROP TRIGGER IF EXISTS {name}{on}");
            match connection.execute_unprepared(&sql).await {
                Err(error) if !self.is_refusal(&error) => return Err(error),
                _ => {}
            }
        }
        if is_postgres {
            for name in self.functions {
                let sql = format!("DROP FUNCTION IF EXISTS {name}()");
                connection.execute_unprepared(&sql).await?;
            }
        }
        Ok(())
    }

    fn is_refusal(&self, error: &DbErr) -> bool {
        let text = error.to_string();
        self.refusals.iter().any(|said| text.contains(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_a_refusal() {
        let triggers = Triggers {
            each: &[],
            functions: &[],
            refusals: &["1142 (", "1419 ("],
        };
        let said = |text: &str| triggers.is_refusal(&DbErr::Custom(text.into()));
        assert!(said(
            "error returned from database: 1142 (42000): TRIGGER command denied"
        ));
        assert!(!said(
            "error returned from database: 1064 (42000): a mistake"
        ));
        assert!(!said("a column of 1142 rows"));
    }
}
