//! What the classifier of unsafe pictures said of an image, by (hash of its bytes, model).

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::ddl::{HASH_CHARS, MODEL_CHARS, table, text, timestamp};

const CLASSES: &str = "omnizap_nsfw_classes";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let classes = table(manager, CLASSES)
            .col(text("content_hash", HASH_CHARS))
            .col(text("model_name", MODEL_CHARS))
            .col(ColumnDef::new("probabilities").blob().not_null())
            .col(timestamp("created_at"))
            .primary_key(Index::create().col("content_hash").col("model_name"))
            .to_owned();
        manager.create_table(classes).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A cache: the model makes it again.
        manager
            .drop_table(Table::drop().table(CLASSES).if_exists().to_owned())
            .await
    }
}
