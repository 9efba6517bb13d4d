//! Table `omnizap_image_assets`: what clients have called images since the rows of their vectors
//! were written. A vector is written once; a picture that comes under another name, or another id
//! of the client's own, costs a small row here.
//!
//! Of the rows of an image the newest says what it is called now, the others what else clients
//! call it: by each of them it is found when an asset is to be forgotten. An image without a row
//! here is called as its own row says. A row counts for the image that has both its id and its
//! content: one that was written anew under another id, as former versions do, is called as it
//! says itself.

use std::collections::HashMap;

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QueryOrder, QuerySelect,
};

use super::limits;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_image_assets")]
pub(crate) struct Model {
    /// Grows with every name given.
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    /// The row of the image's vector.
    pub(crate) image_id: i64,
    /// SHA-256 of the bytes, as that row has it.
    pub(crate) content_hash: String,
    pub(crate) image_hash: String,
    pub(crate) asset_id: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What an image is called from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called<'a> {
    pub(super) image_id: i64,
    pub(super) content_hash: &'a str,
    pub(super) image_hash: &'a str,
    pub(super) asset_id: Option<&'a str>,
}

/// Notes what an image is called now. What it was called before is kept, the newest
/// [`limits::ASSETS_PER_IMAGE`] in all.
pub(super) async fn add<C: ConnectionTrait>(db: &C, called: Called<'_>) -> Result<(), DbErr> {
    let known: Vec<(i64, Option<String>)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::AssetId])
        .filter(Column::ImageId.eq(called.image_id))
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    let (same, others): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|(_, asset_id)| asset_id.as_deref() == called.asset_id);
    let oldest = others.into_iter().skip(limits::ASSETS_PER_IMAGE - 1);
    // By their ids, in their order: two copies that name one image lock the same rows alike.
    let mut gone: Vec<_> = same.into_iter().chain(oldest).map(|(id, _)| id).collect();
    gone.sort_unstable();
    delete(db, gone).await?;
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        image_id: ActiveValue::Set(called.image_id),
        content_hash: ActiveValue::Set(called.content_hash.to_owned()),
        image_hash: ActiveValue::Set(called.image_hash.to_owned()),
        asset_id: ActiveValue::Set(called.asset_id.map(str::to_owned)),
    };
    Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// What the images with those ids are called now, of those that are not called as their own
/// rows say. Their content is to be compared.
pub(super) async fn newest<C: ConnectionTrait>(
    db: &C,
    image_ids: &[i64],
) -> Result<HashMap<i64, Model>, DbErr> {
    if image_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = Entity::find()
        .filter(Column::ImageId.is_in(image_ids.iter().copied()))
        .order_by_asc(Column::Id)
        .all(db)
        .await?;
    // The last of equal keys stays.
    Ok(rows.into_iter().map(|row| (row.image_id, row)).collect())
}

/// The rows of those contents, as (id, id of the image).
pub(super) async fn of_contents<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<Vec<(i64, i64)>, DbErr> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::ImageId])
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .order_by_asc(Column::Id)
        .into_tuple()
        .all(db)
        .await
}

/// The next pictures that a client calls so, or did, in the order of their hashes.
pub(super) async fn contents_after<C: ConnectionTrait>(
    db: &C,
    asset_id: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    contents(db, Column::AssetId, asset_id, after, limit).await
}

/// The next pictures that go by a name, or did, in the order of their hashes.
pub(super) async fn named_after<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    contents(db, Column::ImageHash, image_hash, after, limit).await
}

async fn contents<C: ConnectionTrait>(
    db: &C,
    by: Column,
    name: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::ContentHash)
        .distinct()
        .filter(by.eq(name))
        .filter(Column::ContentHash.gt(after))
        .order_by_asc(Column::ContentHash)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}

/// The pictures that go by those names, as (name, hash of the bytes).
pub(super) async fn goers<C: ConnectionTrait>(
    db: &C,
    names: &[&str],
) -> Result<Vec<(String, String)>, DbErr> {
    Entity::find()
        .select_only()
        .columns([Column::ImageHash, Column::ContentHash])
        .filter(Column::ImageHash.is_in(names.iter().copied()))
        .into_tuple()
        .all(db)
        .await
}

/// The names of those images, the present ones and those before.
pub(super) async fn names<C: ConnectionTrait>(
    db: &C,
    image_ids: &[i64],
) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::ImageHash)
        .distinct()
        .filter(Column::ImageId.is_in(image_ids.iter().copied()))
        .into_tuple()
        .all(db)
        .await
}

/// Deletes rows by their own ids.
pub(super) async fn delete<C: ConnectionTrait>(db: &C, ids: Vec<i64>) -> Result<(), DbErr> {
    if ids.is_empty() {
        return Ok(());
    }
    Entity::delete_many()
        .filter(Column::Id.is_in(ids))
        .exec(db)
        .await
        .map(drop)
}
