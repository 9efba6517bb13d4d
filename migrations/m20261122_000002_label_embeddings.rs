//! Embeddings of labels by (model, hash of the text).

use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use sea_orm_migration::sea_orm::DatabaseBackend;

use crate::adopt;
use crate::ddl::{HASH_CHARS, MODEL_CHARS, query, table, text, timestamp};

const LABELS: &str = "clip_label_embedding_cache";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if is_unfinished(manager).await? {
            return take_over(manager).await;
        }
        let labels = table(manager, LABELS)
            .col(text("model_name", MODEL_CHARS))
            .col(text("label_key", HASH_CHARS))
            .col(ColumnDef::new("label").text().not_null())
            .col(ColumnDef::new("embedding_dim").integer().not_null())
            .col(ColumnDef::new("embedding").blob().not_null())
            .col(timestamp("created_at"))
            .col(timestamp("updated_at"))
            .primary_key(Index::create().col("model_name").col("label_key"))
            .to_owned();
        manager.create_table(labels).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(LABELS).if_exists().to_owned())
            .await
    }
}

/// True where the table is there and its key is not ours yet: as the Python service
/// left it, or half-way, where an earlier start was interrupted.
async fn is_unfinished(manager: &SchemaManager<'_>) -> Result<bool, DbErr> {
    if manager.get_database_backend() != DatabaseBackend::MySql
        || !manager.has_table(LABELS).await?
    {
        return Ok(false);
    }
    let key = query(
        manager,
        format!(
            "SELECT 1 FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME = '{LABELS}' AND INDEX_NAME = 'PRIMARY' AND COLUMN_NAME = 'label_key'"
        ),
    )
    .await?;
    Ok(key.is_none())
}

/// The Python service keyed by the text under a collation that took `cafe` for
/// `café`; here its hash is the key, so that text of any length has one.
async fn take_over(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    const BYTES: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    if !manager.has_column(LABELS, "label_key").await? {
        let clauses = [
            format!("MODIFY `model_name` VARCHAR({MODEL_CHARS}) {BYTES} NOT NULL"),
            format!("ADD COLUMN `label_key` VARCHAR({HASH_CHARS}) {BYTES} NOT NULL DEFAULT ''"),
            format!("MODIFY `label` VARCHAR(191) {BYTES} NOT NULL"),
            "MODIFY `embedding_dim` INT NOT NULL".to_owned(),
        ];
        adopt::alter(manager, LABELS, &clauses).await?;
    }
    let connection = manager.get_connection();
    connection
        .execute_unprepared(&format!(
            "UPDATE `{LABELS}` SET `label_key` = SHA2(`label`, 256) WHERE `label_key` = ''"
        ))
        .await?;
    connection
        .execute_unprepared(&format!(
            "ALTER TABLE `{LABELS}` DROP PRIMARY KEY, ADD PRIMARY KEY (`model_name`, `label_key`), \
             MODIFY `label` TEXT {BYTES} NOT NULL, \
             MODIFY `label_key` VARCHAR({HASH_CHARS}) {BYTES} NOT NULL"
        ))
        .await
        .map(drop)
}
