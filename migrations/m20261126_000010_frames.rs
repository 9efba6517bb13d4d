//! Which frame of a picture that moves decided, by (hash of its bytes, model): what an answer says
//! of it where the embedding is recalled.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::ddl::{HASH_CHARS, MODEL_CHARS, table, text};

const FRAMES: &str = "omnizap_frames";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let frames = table(manager, FRAMES)
            .col(text("content_hash", HASH_CHARS))
            .col(text("model_name", MODEL_CHARS))
            .col(ColumnDef::new("frame").integer().not_null())
            .col(ColumnDef::new("frames_seen").integer().not_null())
            .primary_key(Index::create().col("content_hash").col("model_name"))
            .to_owned();
        manager.create_table(frames).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // It goes with the embeddings, which are a cache.
        manager
            .drop_table(Table::drop().table(FRAMES).if_exists().to_owned())
            .await
    }
}
