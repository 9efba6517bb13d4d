//! What clients call pictures since their rows were written: a picture that comes under another
//! name, or another id of the client's own, adds a small row here, and its vector stays as it
//! is.
//!
//! Nothing is carried over: the rows of `clip_image_embedding_cache` keep what they say, for
//! those too who read nothing else (the Python service, copies of a former version). A row
//! here counts for the image with its id and its content, so that a picture that a former
//! version deletes and writes anew, to rename it, is called as its new row says.
//!
//! Triggers keep it so whoever changes those rows: what was called otherwise since goes with a
//! row that is deleted, and with one that is given another name by hand; it follows a row to
//! another id. A change here is written down as a change of the image.

use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table,
    async_trait,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

use crate::ddl::{ASSET_CHARS, HASH_CHARS, id, query, table, text, timestamp};
use crate::triggers::Triggers;

const ASSETS: &str = "omnizap_image_assets";
const CHANGES: &str = "omnizap_image_changes";
const IMAGES: &str = "clip_image_embedding_cache";
const FEEDBACK: &str = "clip_image_theme_feedback";

/// Indexes of [`ASSETS`], each of one column.
const INDEXES: [(&str, &str); 4] = [
    ("omnizap_image_assets_image", "image_id"),
    ("omnizap_image_assets_content", "content_hash"),
    ("omnizap_image_assets_name", "image_hash"),
    ("omnizap_image_assets_asset", "asset_id"),
];
/// Indexes of other tables by `asset_id`.
const BY_ASSET: [(&str, &str); 2] = [
    (IMAGES, "clip_image_asset"),
    (FEEDBACK, "clip_image_theme_feedback_asset"),
];
/// Characters of an asset id in an index of MySQL: those of the Python service were no longer,
/// and rows of an old format have no room for all.
const ASSET_INDEX_CHARS: u32 = 64;

static TRIGGERS: Triggers = Triggers {
    each: &[
        (ON_IMAGE_UPDATE, IMAGES),
        (ON_IMAGE_DELETE, IMAGES),
        (ON_UPDATE, ASSETS),
        (ON_DELETE, ASSETS),
    ],
    functions: &[FOLLOW_IMAGE, NOTE_CHANGE],
    // What MySQL and MariaDB say to a user who may not make triggers: no such right, a server
    // that replicates and trusts only administrators with them, and an old one that has one
    // trigger a table and event. The program itself needs none: they are for what others do.
    refusals: &["1142 (", "1227 (", "1419 (", "1235 ("],
};
const ON_IMAGE_UPDATE: &str = "omnizap_image_assets_renamed";
const ON_IMAGE_DELETE: &str = "omnizap_image_assets_dropped";
const ON_UPDATE: &str = "omnizap_image_asset_updated";
const ON_DELETE: &str = "omnizap_image_asset_deleted";
/// Functions of PostgreSQL that they call.
const FOLLOW_IMAGE: &str = "omnizap_image_assets_follow";
const NOTE_CHANGE: &str = "omnizap_image_asset_changed";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let assets = table(manager, ASSETS)
            .col(id())
            .col(ColumnDef::new("image_id").big_integer().not_null())
            .col(text("content_hash", HASH_CHARS))
            .col(text("image_hash", HASH_CHARS))
            .col(ColumnDef::new("asset_id").string_len(ASSET_CHARS))
            .col(timestamp("created_at"))
            .to_owned();
        manager.create_table(assets).await?;
        for (name, column) in INDEXES {
            index(manager, ASSETS, name, column).await?;
        }
        for (table, name) in BY_ASSET {
            if !has_index_by_asset(manager, table).await? {
                let column = match manager.get_database_backend() {
                    DatabaseBackend::MySql => format!("asset_id({ASSET_INDEX_CHARS})"),
                    _ => "asset_id".to_owned(),
                };
                index(manager, table, name, &column).await?;
            }
        }
        let statements = statements(manager.get_database_backend());
        TRIGGERS.make(manager, statements).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        TRIGGERS.drop(manager).await?;
        if manager.has_table(ASSETS).await? {
            // A former version knows one name, the newest.
            let connection = manager.get_connection();
            connection.execute_unprepared(&carry_back()).await?;
        }
        for (table, name) in BY_ASSET {
            if manager.has_index(table, name).await? {
                let on = match manager.get_database_backend() {
                    DatabaseBackend::MySql => format!(" ON {table}"),
                    _ => String::new(),
                };
                let sql = format!("DROP INDEX {name}{on}");
                manager.get_connection().execute_unprepared(&sql).await?;
            }
        }
        let assets = Table::drop().table(ASSETS).if_exists().to_owned();
        manager.drop_table(assets).await
    }
}

/// Makes an index unless it is there: MySQL has no transaction around this step, and no
/// `IF NOT EXISTS` for indexes.
async fn index(
    manager: &SchemaManager<'_>,
    table: &str,
    name: &str,
    column: &str,
) -> Result<(), DbErr> {
    if manager.has_index(table, name).await? {
        return Ok(());
    }
    let sql = format!("CREATE INDEX {name} ON {table} ({column})");
    let connection = manager.get_connection();
    connection.execute_unprepared(&sql).await.map(drop)
}

/// True where an index begins with the asset id, whatever it is called: the Python service had
/// one, on MySQL.
async fn has_index_by_asset(manager: &SchemaManager<'_>, table: &str) -> Result<bool, DbErr> {
    if manager.get_database_backend() != DatabaseBackend::MySql {
        return Ok(false);
    }
    let sql = format!(
        "SELECT 1 FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
         AND TABLE_NAME = '{table}' AND COLUMN_NAME = 'asset_id' AND SEQ_IN_INDEX = 1 LIMIT 1"
    );
    Ok(query(manager, sql).await?.is_some())
}

/// Gives each row of an image the name that it has by now.
fn carry_back() -> String {
    let newest = |column: &str| {
        format!(
            "{column} = (SELECT named.{column} FROM {ASSETS} named \
             WHERE named.image_id = {IMAGES}.id AND named.content_hash = {IMAGES}.content_hash \
             ORDER BY named.id DESC LIMIT 1)"
        )
    };
    format!(
        "UPDATE {IMAGES} SET {}, {} WHERE EXISTS (SELECT 1 FROM {ASSETS} named \
         WHERE named.image_id = {IMAGES}.id AND named.content_hash = {IMAGES}.content_hash)",
        newest("image_hash"),
        newest("asset_id")
    )
}

/// The statements that make the triggers.
fn statements(backend: DatabaseBackend) -> Vec<String> {
    let each = |name: &str, event: &str, table: &str, body: &str| {
        format!("CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {body}")
    };
    let drop = format!("DELETE FROM {ASSETS} WHERE image_id = OLD.id");
    let follow = format!("UPDATE {ASSETS} SET image_id = NEW.id WHERE image_id = OLD.id");
    // A change is noted where the image is there: that it goes is noted already.
    match backend {
        DatabaseBackend::Postgres => {
            let call = |function: &str| format!("EXECUTE FUNCTION {function}()");
            let mut statements = functions();
            let image = call(FOLLOW_IMAGE);
            let change = call(NOTE_CHANGE);
            statements.extend([
                each(ON_IMAGE_UPDATE, "UPDATE", IMAGES, &image),
                each(ON_IMAGE_DELETE, "DELETE", IMAGES, &image),
                each(ON_UPDATE, "UPDATE", ASSETS, &change),
                each(ON_DELETE, "DELETE", ASSETS, &change),
            ]);
            statements
        }
        DatabaseBackend::Sqlite => {
            let same = "NEW.image_hash IS OLD.image_hash AND NEW.asset_id IS OLD.asset_id";
            let renamed =
                format!("BEGIN {drop} AND NOT ({same}); {follow} AND NEW.id <> OLD.id; END");
            let note = |ids: &str| {
                format!(
                    "BEGIN INSERT INTO {CHANGES} (image_id) SELECT id FROM {IMAGES} \
                     WHERE id IN ({ids}); END"
                )
            };
            let (one, both) = (note("OLD.image_id"), note("OLD.image_id, NEW.image_id"));
            vec![
                each(ON_IMAGE_UPDATE, "UPDATE", IMAGES, &renamed),
                each(
                    ON_IMAGE_DELETE,
                    "DELETE",
                    IMAGES,
                    &format!("BEGIN {drop}; END"),
                ),
                each(ON_UPDATE, "UPDATE", ASSETS, &both),
                each(ON_DELETE, "DELETE", ASSETS, &one),
            ]
        }
        _ => {
            let same = "NEW.image_hash <=> OLD.image_hash AND NEW.asset_id <=> OLD.asset_id";
            let renamed = format!(
                "IF NOT ({same}) THEN {drop}; ELSEIF NEW.id <> OLD.id THEN {follow}; END IF"
            );
            // Never `INSERT .. SELECT`: that locks what it reads and the counter of the table,
            // and two copies that name pictures at once would stop each other.
            let note = |id: &str| {
                format!(
                    "IF EXISTS (SELECT 1 FROM {IMAGES} WHERE id = {id}) \
                     THEN INSERT INTO {CHANGES} (image_id) VALUES ({id}); END IF"
                )
            };
            let (old, new) = (note("OLD.image_id"), note("NEW.image_id"));
            vec![
                each(ON_IMAGE_UPDATE, "UPDATE", IMAGES, &renamed),
                each(ON_IMAGE_DELETE, "DELETE", IMAGES, &drop),
                each(
                    ON_UPDATE,
                    "UPDATE",
                    ASSETS,
                    &format!("BEGIN {old}; {new}; END"),
                ),
                each(ON_DELETE, "DELETE", ASSETS, &old),
            ]
        }
    }
}

/// The functions of PostgreSQL's triggers. They run as the one who made them, and find the
/// tables in the schema of the one that was changed: whoever changes an image needs no right to
/// these, nor their schema in the search path.
fn functions() -> Vec<String> {
    let function = |name: &str, body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql \
             SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN {body} \
             RETURN NULL; END $$"
        )
    };
    let run = |sql: &str| format!("EXECUTE format('{sql}', TG_TABLE_SCHEMA)");
    let drop = run(&format!("DELETE FROM %I.{ASSETS} WHERE image_id = $1"));
    let follow = run(&format!(
        "UPDATE %I.{ASSETS} SET image_id = $2 WHERE image_id = $1"
    ));
    let note = |ids: &str| {
        format!(
            "EXECUTE format('INSERT INTO %1$I.{CHANGES} (image_id) SELECT id FROM %1$I.{IMAGES} \
             WHERE id IN ({ids})', TG_TABLE_SCHEMA)"
        )
    };
    let image = format!(
        "IF TG_OP = 'DELETE' THEN {drop} USING OLD.id; \
         ELSIF NEW.image_hash IS DISTINCT FROM OLD.image_hash \
         OR NEW.asset_id IS DISTINCT FROM OLD.asset_id THEN {drop} USING OLD.id; \
         ELSIF NEW.id <> OLD.id THEN {follow} USING OLD.id, NEW.id; END IF;"
    );
    let change = format!(
        "IF TG_OP = 'DELETE' THEN {} USING OLD.image_id; \
         ELSE {} USING OLD.image_id, NEW.image_id; END IF;",
        note("$1"),
        note("$1, $2")
    );
    vec![
        function(FOLLOW_IMAGE, &image),
        function(NOTE_CHANGE, &change),
    ]
}
