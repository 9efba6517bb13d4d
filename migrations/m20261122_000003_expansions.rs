//! Answers of the language model by (model, labels).

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

use crate::adopt;
use crate::ddl::{HASH_CHARS, MODEL_CHARS, table, text, timestamp};

const EXPANSIONS: &str = "clip_llm_label_expansion_cache";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DatabaseBackend::MySql
            && manager.has_table(EXPANSIONS).await?
        {
            return take_over(manager).await;
        }
        let expansions = table(manager, EXPANSIONS)
            .col(text("cache_key", HASH_CHARS).primary_key())
            .col(text("model_name", MODEL_CHARS))
            .col(ColumnDef::new("top_labels_json").text().not_null())
            .col(ColumnDef::new("expansion_json").text().not_null())
            .col(timestamp("created_at"))
            .col(timestamp("updated_at"))
            .to_owned();
        manager.create_table(expansions).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(EXPANSIONS).if_exists().to_owned())
            .await
    }
}

/// Same layout as the Python service's, but for widths and collation; doing it twice
/// does no harm.
async fn take_over(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    const BYTES: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    let clauses = [
        format!("MODIFY `cache_key` VARCHAR({HASH_CHARS}) {BYTES} NOT NULL"),
        format!("MODIFY `model_name` VARCHAR({MODEL_CHARS}) {BYTES} NOT NULL"),
        format!("MODIFY `top_labels_json` TEXT {BYTES} NOT NULL"),
        format!("MODIFY `expansion_json` LONGTEXT {BYTES} NOT NULL"),
    ];
    adopt::alter(manager, EXPANSIONS, &clauses).await
}
