//! Which embeddings of images were changed or deleted, by whomever: triggers write it
//! down, so that what a person does by hand is seen as well. New rows are not written
//! down: their ids say that they are new.
//!
//! A row says which id to look at again and nothing of the image, so that what was
//! deleted is not kept here. There is always one: whoever follows the changes finds the
//! last that it saw, or knows that others were pruned before it saw them.

use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table,
    async_trait,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

use crate::ddl::{query, table};

const CHANGES: &str = "omnizap_image_changes";
const IMAGES: &str = "clip_image_embedding_cache";
const ON_UPDATE: &str = "omnizap_image_updated";
const ON_DELETE: &str = "omnizap_image_deleted";
const FUNCTION: &str = "omnizap_image_changed";

/// What MySQL and MariaDB say to a user who may not make triggers: no such right, and a
/// server that replicates and trusts only administrators with them.
const NO_RIGHT: [&str; 3] = ["1142 (", "1227 (", "1419 ("];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let changes = table(manager, CHANGES)
            .col(
                ColumnDef::new("id")
                    .big_integer()
                    .not_null()
                    .auto_increment()
                    .primary_key(),
            )
            .col(ColumnDef::new("image_id").big_integer().not_null())
            .to_owned();
        manager.create_table(changes).await?;
        let first = format!("SELECT 1 FROM {CHANGES} LIMIT 1");
        if query(manager, first).await?.is_none() {
            // No image has this id.
            let first = format!("INSERT INTO {CHANGES} (image_id) VALUES (0)");
            manager.get_connection().execute_unprepared(&first).await?;
        }
        drop_triggers(manager).await?;
        let connection = manager.get_connection();
        for statement in triggers(manager.get_database_backend()) {
            match connection.execute_unprepared(&statement).await {
                Ok(_) => {}
                // A service that cannot be started would be worse: it looks the ids
                // through, a part at a time.
                Err(error) if is_no_right(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_triggers(manager).await?;
        let changes = Table::drop().table(CHANGES).if_exists().to_owned();
        manager.drop_table(changes).await
    }
}

fn is_no_right(error: &DbErr) -> bool {
    let text = error.to_string();
    NO_RIGHT.iter().any(|said| text.contains(said))
}

/// The statements that make the triggers.
fn triggers(backend: DatabaseBackend) -> Vec<String> {
    // A row whose id was changed is gone under the one and new under the other.
    let ids = "SELECT OLD.id UNION SELECT NEW.id";
    let changes = format!("INSERT INTO {CHANGES} (image_id)");
    let each = |name: &str, event: &str, body: &str| {
        format!("CREATE TRIGGER {name} AFTER {event} ON {IMAGES} FOR EACH ROW {body}")
    };
    match backend {
        DatabaseBackend::Postgres => {
            // As the one who made it, and into the schema of the table: whoever deletes an
            // image needs no right to this table, nor its schema in the search path.
            let body = |ids: &str| {
                format!(
                    "EXECUTE format('INSERT INTO %I.{CHANGES} (image_id) {ids}', TG_TABLE_SCHEMA)"
                )
            };
            let (one, both) = (body("VALUES ($1)"), body("SELECT $1 UNION SELECT $2"));
            let function = format!(
                "CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql \
                 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN \
                 IF TG_OP = 'DELETE' THEN {one} USING OLD.id; \
                 ELSE {both} USING OLD.id, NEW.id; END IF; RETURN NULL; END $$"
            );
            let call = format!("EXECUTE FUNCTION {FUNCTION}()");
            vec![
                function,
                each(ON_UPDATE, "UPDATE", &call),
                each(ON_DELETE, "DELETE", &call),
            ]
        }
        DatabaseBackend::Sqlite => vec![
            each(ON_UPDATE, "UPDATE", &format!("BEGIN {changes} {ids}; END")),
            each(
                ON_DELETE,
                "DELETE",
                &format!("BEGIN {changes} VALUES (OLD.id); END"),
            ),
        ],
        _ => vec![
            each(ON_UPDATE, "UPDATE", &format!("{changes} {ids}")),
            each(ON_DELETE, "DELETE", &format!("{changes} VALUES (OLD.id)")),
        ],
    }
}

async fn drop_triggers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let is_postgres = manager.get_database_backend() == DatabaseBackend::Postgres;
    for name in [ON_UPDATE, ON_DELETE] {
        if is_postgres && !manager.has_table(IMAGES).await? {
            continue;
        }
        let table = match is_postgres {
            true => format!(" ON {IMAGES}"),
            false => String::new(),
        };
        let sql = format!("DROP TRIGGER IF EXISTS {name}{table}");
        match connection.execute_unprepared(&sql).await {
            Err(error) if !is_no_right(&error) => return Err(error),
            _ => {}
        }
    }
    if is_postgres {
        let sql = format!("DROP FUNCTION IF EXISTS {FUNCTION}()");
        connection.execute_unprepared(&sql).await?;
    }
    Ok(())
}
