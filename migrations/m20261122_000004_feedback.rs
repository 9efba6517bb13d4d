//! Feedback by (image, theme), and what it adds up to by (theme, label).

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::adopt;
use crate::ddl::{ASSET_CHARS, HASH_CHARS, THEME_CHARS, table, text, timestamp};

const FEEDBACK: &str = "clip_image_theme_feedback";
const SUMS: &str = "omnizap_theme_labels";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if adopt::is_foreign(manager, FEEDBACK, "credited_total").await? {
            take_over(manager).await?;
        } else {
            create_feedback(manager).await?;
        }
        let sums = table(manager, SUMS)
            .col(text("theme", THEME_CHARS))
            .col(text("label_key", HASH_CHARS))
            .col(ColumnDef::new("label").text().not_null())
            .col(ColumnDef::new("accepted").double().not_null())
            .col(ColumnDef::new("rejected").double().not_null())
            .col(timestamp("updated_at"))
            .primary_key(Index::create().col("theme").col("label_key"))
            .to_owned();
        manager.create_table(sums).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Feedback is not a cache: nothing can make it again.
        adopt::refuse_to_lose(manager, FEEDBACK, "total_assignments > 0").await?;
        for name in [SUMS, FEEDBACK] {
            manager
                .drop_table(Table::drop().table(name).if_exists().to_owned())
                .await?;
        }
        Ok(())
    }
}

async fn create_feedback(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut feedback = table(manager, FEEDBACK)
        .col(text("image_hash", HASH_CHARS))
        .col(ColumnDef::new("asset_id").string_len(ASSET_CHARS))
        .col(text("theme", THEME_CHARS))
        .to_owned();
    for count in [
        "acceptance_count",
        "total_assignments",
        "credited_accepted",
        "credited_total",
    ] {
        feedback.col(ColumnDef::new(count).big_integer().not_null().default(0));
    }
    feedback
        .col(timestamp("created_at"))
        .col(timestamp("updated_at"))
        .primary_key(Index::create().col("image_hash").col("theme"));
    manager.create_table(feedback).await
}

/// Rows of the Python service start with nothing credited to labels: it did not keep
/// which labels an image had. They are credited once the image is seen again.
async fn take_over(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    const BYTES: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    let clauses = [
        format!("MODIFY `image_hash` VARCHAR({HASH_CHARS}) {BYTES} NOT NULL"),
        format!("MODIFY `asset_id` VARCHAR({ASSET_CHARS}) {BYTES} NULL"),
        format!("MODIFY `theme` VARCHAR({THEME_CHARS}) {BYTES} NOT NULL"),
        "MODIFY `acceptance_count` BIGINT NOT NULL DEFAULT 0".to_owned(),
        "MODIFY `total_assignments` BIGINT NOT NULL DEFAULT 0".to_owned(),
        "ADD COLUMN `credited_accepted` BIGINT NOT NULL DEFAULT 0".to_owned(),
        "ADD COLUMN `credited_total` BIGINT NOT NULL DEFAULT 0".to_owned(),
    ];
    adopt::alter(manager, FEEDBACK, &clauses).await
}
