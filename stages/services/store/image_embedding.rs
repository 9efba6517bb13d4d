//! Table `clip_image_embedding_cache`: the embedding of an image by the hash of its
//! bytes and the model that made it.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::vector;

/// How often an image is renamed anew when other copies rename it at the same time.
const RENAME_TRIES: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clip_image_embedding_cache")]
pub(crate) struct Model {
    /// Grows with every row written, and other copies are followed by it.
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    /// The name by which clients last called the image.
    pub(crate) image_hash: String,
    /// SHA-256 of the bytes; none in rows of the Python service, which trusted names.
    pub(crate) content_hash: Option<String>,
    pub(crate) asset_id: Option<String>,
    pub(crate) model_name: String,
    pub(crate) embedding_dim: i32,
    /// Little-endian f32, `[embedding_dim]`.
    #[sea_orm(column_type = "Blob")]
    pub(crate) embedding: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// One image as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    pub(super) image_hash: &'a str,
    pub(super) content_hash: &'a str,
    pub(super) asset_id: Option<&'a str>,
    pub(super) model: &'a str,
    pub(super) vector: &'a [f32],
}

/// Everything of a row but the vector.
#[derive(Debug, FromQueryResult)]
struct Known {
    id: i64,
    image_hash: String,
    asset_id: Option<String>,
}

/// Writes an image, or what has changed of it: most images that come again change
/// nothing, and their vector is never written twice. An image with new names is written
/// anew, so that it gets a new id: ids are what other copies follow.
pub(super) async fn save<C: ConnectionTrait>(db: &C, image: Image<'_>) -> Result<(), DbErr> {
    let mut known = known(db, image, false).await?;
    for _ in 0..RENAME_TRIES {
        let Some(row) = known else {
            return insert(db, image).await;
        };
        let asset_id = image.asset_id.or(row.asset_id.as_deref());
        if row.image_hash == image.image_hash && row.asset_id.as_deref() == asset_id {
            return Ok(());
        }
        let deleted = Entity::delete_by_id(row.id).exec(db).await?;
        if deleted.rows_affected == 1 {
            return insert(db, Image { asset_id, ..image }).await;
        }
        // Another copy wrote it anew meanwhile, and its row counts now.
        known = self::known(db, image, true).await?;
    }
    Ok(())
}

/// The row of an image: as it was when the transaction began, or as it is `now`, locked.
async fn known<C: ConnectionTrait>(
    db: &C,
    image: Image<'_>,
    now: bool,
) -> Result<Option<Known>, DbErr> {
    let mut query = Entity::find()
        .select_only()
        .columns([Column::Id, Column::ImageHash, Column::AssetId])
        .filter(Column::ContentHash.eq(image.content_hash))
        .filter(Column::ModelName.eq(image.model));
    if now {
        query = query.lock_exclusive();
    }
    query.into_model::<Known>().one(db).await
}

async fn insert<C: ConnectionTrait>(db: &C, image: Image<'_>) -> Result<(), DbErr> {
    // Another copy may have been faster: then its row stays, with our names.
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::ModelName]);
    conflict.update_column(Column::ImageHash);
    if image.asset_id.is_some() {
        conflict.update_column(Column::AssetId);
    }
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        image_hash: ActiveValue::Set(image.image_hash.to_owned()),
        content_hash: ActiveValue::Set(Some(image.content_hash.to_owned())),
        asset_id: ActiveValue::Set(image.asset_id.map(str::to_owned)),
        model_name: ActiveValue::Set(image.model.to_owned()),
        embedding_dim: ActiveValue::Set(i32::try_from(image.vector.len()).unwrap_or(i32::MAX)),
        embedding: ActiveValue::Set(vector::to_bytes(image.vector)),
    };
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// The vector of an image by its bytes' own hash, so that no client can plant one.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
) -> Result<Option<Vec<f32>>, DbErr> {
    let bytes: Option<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Embedding)
        .filter(Column::ContentHash.eq(content_hash))
        .filter(Column::ModelName.eq(model))
        .into_tuple()
        .one(db)
        .await?;
    Ok(bytes.and_then(|bytes| vector::from_bytes(&bytes)))
}

/// Rows with an id above `after`, oldest first, at most `limit`.
pub(super) async fn page<C: ConnectionTrait>(
    db: &C,
    after: i64,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await
}

/// Ids above `after`, without the rows, at most `limit`, oldest first.
pub(super) async fn ids<C: ConnectionTrait>(
    db: &C,
    after: i64,
    limit: u64,
) -> Result<Vec<i64>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}

/// The newest id up to that one.
pub(super) async fn newest<C: ConnectionTrait>(db: &C, up_to: i64) -> Result<Option<i64>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.lte(up_to))
        .order_by_desc(Column::Id)
        .into_tuple()
        .one(db)
        .await
}

/// Ids of the rows of those contents, as (id, content, model).
pub(super) async fn numbers<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<Vec<(i64, String, String)>, DbErr> {
    let rows: Vec<(i64, Option<String>, String)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::ContentHash, Column::ModelName])
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .into_tuple()
        .all(db)
        .await?;
    let named = rows.into_iter();
    Ok(named
        .filter_map(|(id, content, model)| Some((id, content?, model)))
        .collect())
}

/// The rows with those ids.
pub(super) async fn by_ids<C: ConnectionTrait>(db: &C, ids: Vec<i64>) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::Id.is_in(ids))
        .order_by_asc(Column::Id)
        .all(db)
        .await
}
