//! Embeddings of images by (content hash, model), and what each image was last
//! labelled as, by the name that clients give it.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::adopt;
use crate::ddl::{ASSET_CHARS, HASH_CHARS, MODEL_CHARS, id, table, text, timestamp};

const EMBEDDINGS: &str = "clip_image_embedding_cache";
const LABELS: &str = "omnizap_image_labels";
/// What takes the place of [`LABELS`] with a later step.
const LOOKS: &str = "omnizap_looks";
const BY_CONTENT: &str = "clip_image_content_model";
const BY_NAME: &str = "clip_image_hash";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if adopt::is_foreign(manager, EMBEDDINGS, "content_hash").await? {
            take_over(manager).await?;
        } else {
            create_embeddings(manager).await?;
        }
        if manager.has_table(LOOKS).await? {
            // Applied again, where the table was lost: what takes the place of the labels is there,
            // and would be made anew from none.
            return Ok(());
        }
        let labels = table(manager, LABELS)
            .col(text("image_hash", HASH_CHARS).primary_key())
            .col(ColumnDef::new("verified").boolean().not_null())
            .col(ColumnDef::new("labels_json").text().not_null())
            .col(timestamp("updated_at"))
            .to_owned();
        manager.create_table(labels).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        adopt::refuse_to_lose(manager, EMBEDDINGS, "content_hash IS NULL").await?;
        for name in [LABELS, EMBEDDINGS] {
            manager
                .drop_table(Table::drop().table(name).if_exists().to_owned())
                .await?;
        }
        Ok(())
    }
}

async fn create_embeddings(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let embeddings = table(manager, EMBEDDINGS)
        .col(id())
        .col(text("image_hash", HASH_CHARS))
        .col(ColumnDef::new("content_hash").string_len(HASH_CHARS))
        .col(ColumnDef::new("asset_id").string_len(ASSET_CHARS))
        .col(text("model_name", MODEL_CHARS))
        .col(ColumnDef::new("embedding_dim").integer().not_null())
        .col(ColumnDef::new("embedding").blob().not_null())
        .col(timestamp("created_at"))
        .col(timestamp("updated_at"))
        .to_owned();
    manager.create_table(embeddings).await?;
    // MySQL has no `IF NOT EXISTS` for indexes, and no transaction around this
    // step: one that was interrupted finds some of them made.
    for (name, columns, unique) in [
        (BY_CONTENT, &["content_hash", "model_name"][..], true),
        (BY_NAME, &["image_hash"][..], false),
    ] {
        if manager.has_index(EMBEDDINGS, name).await? {
            continue;
        }
        let mut index = Index::create();
        index.name(name).table(EMBEDDINGS);
        for column in columns {
            index.col(*column);
        }
        if unique {
            index.unique();
        }
        manager.create_index(index).await?;
    }
    Ok(())
}

/// The Python service keyed images by `image_hash` alone, which may be a name that a
/// client made up: its rows keep it as a name, and have no content hash.
async fn take_over(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    const BYTES: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    let clauses = [
        "DROP PRIMARY KEY".to_owned(),
        "ADD COLUMN `id` BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST".to_owned(),
        format!("MODIFY `image_hash` VARCHAR({HASH_CHARS}) {BYTES} NOT NULL"),
        format!("ADD COLUMN `content_hash` VARCHAR({HASH_CHARS}) {BYTES} NULL"),
        format!("MODIFY `asset_id` VARCHAR({ASSET_CHARS}) {BYTES} NULL"),
        format!("MODIFY `model_name` VARCHAR({MODEL_CHARS}) {BYTES} NOT NULL"),
        "MODIFY `embedding_dim` INT NOT NULL".to_owned(),
        format!("ADD UNIQUE INDEX `{BY_CONTENT}` (`content_hash`, `model_name`)"),
        format!("ADD INDEX `{BY_NAME}` (`image_hash`)"),
    ];
    adopt::alter(manager, EMBEDDINGS, &clauses).await
}
