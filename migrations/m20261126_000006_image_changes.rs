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

use crate::ddl::{id, query, table};
use crate::triggers::Triggers;

const CHANGES: &str = "omnizap_image_changes";
const IMAGES: &str = "clip_image_embedding_cache";
const ON_UPDATE: &str = "omnizap_image_updated";
const ON_DELETE: &str = "omnizap_image_deleted";
const FUNCTION: &str = "omnizap_image_changed";

static TRIGGERS: Triggers = Triggers {
    each: &[(ON_UPDATE, IMAGES), (ON_DELETE, IMAGES)],
    functions: &[FUNCTION],
    // What MySQL and MariaDB say to a user who may not make triggers: no such right, and a
    // server that replicates and trusts only administrators with them. A service that cannot be
    // started would be worse: it looks the ids through, a part at a time.
    refusals: &["1142 (", "1227 (", "1419 ("],
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let changes = table(manager, CHANGES)
            .col(id())
            .col(ColumnDef::new("image_id").big_integer().not_null())
            .to_owned();
        manager.create_table(changes).await?;
        let first = format!("SELECT 1 FROM {CHANGES} LIMIT 1");
        if query(manager, first).await?.is_none() {
            // No image has this id.
            let first = format!("INSERT INTO {CHANGES} (image_id) VALUES (0)");
            manager.get_connection().execute_unprepared(&first).await?;
        }
        let statements = statements(manager.get_database_backend());
        TRIGGERS.make(manager, statements).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        TRIGGERS.drop(manager).await?;
        let changes = Table::drop().table(CHANGES).if_exists().to_owned();
        manager.drop_table(changes).await
    }
}

/// The statements that make the triggers.
fn statements(backend: DatabaseBackend) -> Vec<String> {
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
