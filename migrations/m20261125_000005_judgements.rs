//! What a judgement is about: what pictures were seen as, the names that they have, and what
//! was credited to which label for which picture.
//!
//! The sums of `omnizap_theme_labels` were shares of five labels a picture. They are
//! reckoned anew here: a judgement counts for the one label that the picture was seen as.

use std::collections::BTreeMap;

use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveMigrationName, Expr, ExprTrait, Index, IntoIden,
    MigrationTrait, Order, Query, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_orm::QueryResult;
use sha2::{Digest, Sha256};

use crate::adopt;
use crate::ddl::{HASH_CHARS, MODEL_CHARS, THEME_CHARS, table, text, timestamp};

const LOOKS: &str = "omnizap_looks";
const NAMES: &str = "omnizap_image_names";
const NAMES_BY_NAME: &str = "omnizap_image_names_name";
const CREDITS: &str = "omnizap_image_credits";
const CREDITS_BY_IMAGE: &str = "omnizap_image_credits_image";
const JUDGEMENTS: &str = "omnizap_judgements";
const SUMS: &str = "omnizap_theme_labels";
const FEEDBACK: &str = "clip_image_theme_feedback";
const IMAGES: &str = "clip_image_embedding_cache";
/// What a picture was last labelled as, by its name; [`LOOKS`] takes its place.
const OLD_LABELS: &str = "omnizap_image_labels";

/// Rows read, or written, by one statement.
const PAGE: u64 = 500;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_tables(manager).await?;
        if manager.has_table(OLD_LABELS).await? {
            // MySQL has no transaction around this: a start that was interrupted does it
            // all again, from what the old tables hold.
            for table in [CREDITS, SUMS, LOOKS] {
                let all = Query::delete().from_table(table).to_owned();
                manager.execute(all).await?;
            }
            carry_names(manager).await?;
            carry_labels(manager).await?;
            let drop = Table::drop().table(OLD_LABELS).to_owned();
            manager.drop_table(drop).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The label that a client named is kept nowhere else; the rest comes again.
        adopt::refuse_to_lose(manager, JUDGEMENTS, "total > 0").await?;
        for name in [LOOKS, NAMES, CREDITS, JUDGEMENTS] {
            manager
                .drop_table(Table::drop().table(name).if_exists().to_owned())
                .await?;
        }
        let labels = table(manager, OLD_LABELS)
            .col(text("image_hash", HASH_CHARS).primary_key())
            .col(ColumnDef::new("verified").boolean().not_null())
            .col(ColumnDef::new("labels_json").text().not_null())
            .col(timestamp("updated_at"))
            .to_owned();
        manager.create_table(labels).await
    }
}

async fn create_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let looks = table(manager, LOOKS)
        .col(text("content_hash", HASH_CHARS))
        .col(text("look_key", HASH_CHARS))
        .col(text("theme", THEME_CHARS))
        .col(text("label_set", HASH_CHARS))
        .col(text("model_name", MODEL_CHARS))
        .col(ColumnDef::new("default_labels").boolean().not_null())
        .col(ColumnDef::new("labels_json").text().not_null())
        .col(timestamp("created_at"))
        .primary_key(Index::create().col("content_hash").col("look_key"))
        .to_owned();
    let names = table(manager, NAMES)
        .col(text("content_hash", HASH_CHARS))
        .col(text("image_hash", HASH_CHARS))
        .col(timestamp("created_at"))
        .primary_key(Index::create().col("content_hash").col("image_hash"))
        .to_owned();
    let credits = table(manager, CREDITS)
        .col(text("theme", THEME_CHARS))
        .col(text("image_hash", HASH_CHARS))
        .col(text("label_key", HASH_CHARS))
        .col(ColumnDef::new("accepted").double().not_null())
        .col(ColumnDef::new("rejected").double().not_null())
        .primary_key(
            Index::create()
                .col("theme")
                .col("image_hash")
                .col("label_key"),
        )
        .to_owned();
    let mut judgements = table(manager, JUDGEMENTS)
        .col(text("image_hash", HASH_CHARS))
        .col(text("theme", THEME_CHARS))
        .col(text("label_set", HASH_CHARS))
        .col(text("label_key", HASH_CHARS))
        .col(ColumnDef::new("label").text().not_null())
        .to_owned();
    for count in ["accepted", "total", "credited_accepted", "credited_total"] {
        judgements.col(ColumnDef::new(count).big_integer().not_null().default(0));
    }
    judgements.col(timestamp("updated_at")).primary_key(
        Index::create()
            .col("image_hash")
            .col("theme")
            .col("label_set")
            .col("label_key"),
    );
    for table in [looks, names, credits, judgements] {
        manager.create_table(table).await?;
    }
    for (table, name) in [(NAMES, NAMES_BY_NAME), (CREDITS, CREDITS_BY_IMAGE)] {
        // MySQL has no `IF NOT EXISTS` for indexes.
        if !manager.has_index(table, name).await? {
            let index = Index::create()
                .name(name)
                .table(table)
                .col("image_hash")
                .to_owned();
            manager.create_index(index).await?;
        }
    }
    Ok(())
}

/// The names that clients gave to pictures whose bytes are known.
async fn carry_names(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let known = Query::select()
        .distinct()
        .columns(["content_hash", "image_hash"])
        .from(IMAGES)
        .and_where(Expr::col("content_hash").is_not_null())
        .and_where(Expr::col("content_hash").ne(Expr::col("image_hash")))
        .to_owned();
    let all = Query::delete().from_table(NAMES).to_owned();
    manager.execute(all).await?;
    let mut insert = Query::insert();
    insert
        .into_table(NAMES)
        .columns(["content_hash", "image_hash"])
        .select_from(known)
        .map_err(|error| DbErr::Migration(error.to_string()))?;
    manager.execute(insert).await
}

/// A picture of the old table.
struct Labelled {
    image_hash: String,
    verified: bool,
    /// `[["label", weight over the first], ..]`, best first.
    labels: Vec<(String, f64)>,
}

/// What each picture was seen as, and the judgements that were credited to it.
async fn carry_labels(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut sums = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = Query::select()
            .columns(["image_hash", "verified", "labels_json"])
            .from(OLD_LABELS)
            .and_where(Expr::col("image_hash").gt(after.as_str()))
            .order_by("image_hash", Order::Asc)
            .limit(PAGE)
            .to_owned();
        let rows = rows(manager, page).await?;
        let Some(last) = rows.last() else {
            break;
        };
        after = last.try_get("", "image_hash")?;
        let labelled: Vec<Labelled> = rows.iter().map(labelled).collect::<Result<_, _>>()?;
        carry_page(manager, &labelled, &mut sums).await?;
    }
    let rows = sums
        .into_iter()
        .map(|((theme, key), (label, tally))| {
            vec![
                theme.into(),
                key.into(),
                label.into(),
                tally[0].into(),
                tally[1].into(),
            ]
        })
        .collect();
    let columns = ["theme", "label_key", "label", "accepted", "rejected"];
    insert(manager, SUMS, &columns, rows).await
}

/// By theme and label: the label for people, and what was accepted and rejected.
type Sums = BTreeMap<(String, String), (String, [f64; 2])>;

async fn carry_page(
    manager: &SchemaManager<'_>,
    page: &[Labelled],
    sums: &mut Sums,
) -> Result<(), DbErr> {
    let contents = contents_of(manager, page).await?;
    let mut looks = Vec::new();
    for labelled in page {
        let own = [labelled.image_hash.clone()];
        let of_name = contents.get(&labelled.image_hash);
        let contents = match (labelled.verified, of_name) {
            (true, _) => &own[..],
            (false, Some(contents)) => contents,
            (false, None) => &[],
        };
        for content in contents {
            looks.push(vec![
                content.as_str().into(),
                sha256_hex(&format!("carried {}", labelled.image_hash)).into(),
                "".into(),
                "".into(),
                "".into(),
                false.into(),
                look(&labelled.labels).into(),
            ]);
        }
    }
    let columns = [
        "content_hash",
        "look_key",
        "theme",
        "label_set",
        "model_name",
        "default_labels",
        "labels_json",
    ];
    insert(manager, LOOKS, &columns, looks).await?;
    let names = page.iter().map(|labelled| labelled.image_hash.as_str());
    let judged = Query::select()
        .columns(["image_hash", "theme", "credited_accepted", "credited_total"])
        .from(FEEDBACK)
        .and_where(Expr::col("image_hash").is_in(names))
        .and_where(Expr::col("credited_total").gt(0))
        .to_owned();
    let mut credits = Vec::new();
    for row in rows(manager, judged).await? {
        let image: String = row.try_get("", "image_hash")?;
        let theme: String = row.try_get("", "theme")?;
        let total: i64 = row.try_get("", "credited_total")?;
        let accepted: i64 = row.try_get("", "credited_accepted")?;
        let accepted = accepted.clamp(0, total);
        let labelled = page.iter().find(|labelled| labelled.image_hash == image);
        let Some((label, weight)) = labelled.and_then(|labelled| first(&labelled.labels)) else {
            continue;
        };
        let key = sha256_hex(&label.trim().to_lowercase());
        let tally = [accepted, total - accepted].map(|count| count as f64 * weight);
        credits.push(vec![
            theme.clone().into(),
            image.into(),
            key.clone().into(),
            tally[0].into(),
            tally[1].into(),
        ]);
        let readable = label.chars().filter(|char| !char.is_control()).collect();
        let (_, sum) = sums.entry((theme, key)).or_insert((readable, [0.0; 2]));
        sum[0] += tally[0];
        sum[1] += tally[1];
    }
    let columns = ["theme", "image_hash", "label_key", "accepted", "rejected"];
    insert(manager, CREDITS, &columns, credits).await
}

/// The contents that go by the names of a page, where a name is not a hash of bytes itself.
async fn contents_of(
    manager: &SchemaManager<'_>,
    page: &[Labelled],
) -> Result<BTreeMap<String, Vec<String>>, DbErr> {
    let names = page
        .iter()
        .filter(|labelled| !labelled.verified)
        .map(|labelled| labelled.image_hash.as_str());
    let known = Query::select()
        .columns(["content_hash", "image_hash"])
        .from(NAMES)
        .and_where(Expr::col("image_hash").is_in(names))
        .to_owned();
    let mut contents: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(manager, known).await? {
        let name: String = row.try_get("", "image_hash")?;
        contents
            .entry(name)
            .or_default()
            .push(row.try_get("", "content_hash")?);
    }
    Ok(contents)
}

fn labelled(row: &QueryResult) -> Result<Labelled, DbErr> {
    let json: String = row.try_get("", "labels_json")?;
    Ok(Labelled {
        image_hash: row.try_get("", "image_hash")?,
        verified: row.try_get("", "verified")?,
        // A row that does not parse is one without labels.
        labels: serde_json::from_str(&json).unwrap_or_default(),
    })
}

/// Probabilities that fit the old weights, which were over the first label's: as if the
/// labels that were kept were all there are.
fn probabilities(labels: &[(String, f64)]) -> impl Iterator<Item = (&str, f64)> {
    // `ExprTrait` has a `max` too.
    let weights = labels.iter().map(|(_, weight)| f64::max(*weight, 0.0));
    let sum: f64 = weights.clone().sum();
    let scale = if sum > 0.0 { 1.0 / sum } else { 0.0 };
    let labels = labels.iter().map(|(label, _)| label.as_str());
    labels.zip(weights.map(move |weight| weight * scale))
}

/// As `omnizap_looks` keeps it: how many labels there were, and the best with their
/// probabilities.
fn look(labels: &[(String, f64)]) -> String {
    let best: Vec<_> = probabilities(labels).collect();
    // The old table kept no second label where it had no weight to speak of.
    serde_json::json!([best.len().max(2), best]).to_string()
}

/// The first label, and how far it stands above chance: 0 to 1.
fn first(labels: &[(String, f64)]) -> Option<(&str, f64)> {
    let count = labels.len().max(2) as f64;
    let (label, probability) = probabilities(labels).next()?;
    let weight = (count * probability - 1.0) / (count - 1.0);
    Some((label, weight.clamp(0.0, 1.0)))
}

fn sha256_hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn rows(
    manager: &SchemaManager<'_>,
    select: sea_orm_migration::prelude::SelectStatement,
) -> Result<Vec<QueryResult>, DbErr> {
    manager.get_connection().query_all(&select).await
}

async fn insert<const N: usize>(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str; N],
    rows: Vec<Vec<Expr>>,
) -> Result<(), DbErr> {
    for page in rows.chunks(PAGE as usize / 5) {
        let mut insert = Query::insert();
        insert
            .into_table(table)
            .columns(columns.iter().map(|column| column.into_iden()));
        for row in page {
            insert
                .values(row.iter().cloned())
                .map_err(|error| DbErr::Migration(error.to_string()))?;
        }
        manager.execute(insert).await?;
    }
    Ok(())
}
