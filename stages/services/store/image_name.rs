//! Table `omnizap_image_names`: the names that clients have given to pictures, by their
//! bytes. Whoever names a picture anew adds a name; none is ever taken from it, so that what
//! was said of it stays with it.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{limits, look};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_image_names")]
pub(crate) struct Model {
    /// SHA-256 of the bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) content_hash: String,
    /// A name that a client gave them.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) image_hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Adds a name to a picture, unless it has [`limits::NAMES_PER_IMAGE`].
pub(super) async fn save<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    image_hash: &str,
) -> Result<(), DbErr> {
    if content_hash == image_hash {
        return Ok(());
    }
    let key = (content_hash.to_owned(), image_hash.to_owned());
    if Entity::find_by_id(key).one(db).await?.is_some() {
        return Ok(());
    }
    let names = Entity::find().filter(Column::ContentHash.eq(content_hash));
    if names.count(db).await? >= limits::NAMES_PER_IMAGE {
        return Ok(());
    }
    let row = ActiveModel {
        content_hash: ActiveValue::Set(content_hash.to_owned()),
        image_hash: ActiveValue::Set(image_hash.to_owned()),
    };
    let mut conflict = OnConflict::columns([Column::ContentHash, Column::ImageHash]);
    conflict.update_column(Column::ImageHash);
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Writes a name of a picture that is none, and takes it away again: committed, it shows that
/// the database can be written, and leaves nothing.
pub(super) async fn try_to_write<C: ConnectionTrait>(db: &C, name: &str) -> Result<(), DbErr> {
    let row = ActiveModel {
        content_hash: ActiveValue::Set(name.to_owned()),
        image_hash: ActiveValue::Set(name.to_owned()),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Entity::delete_by_id((name.to_owned(), name.to_owned()))
        .exec(db)
        .await
        .map(drop)
}

/// The names of those pictures. A name that is the hash of a picture that is known belongs
/// to that picture, whoever gave it to another.
pub(super) async fn of_contents<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<Vec<Model>, DbErr> {
    let owner = Query::select()
        .expr(Expr::value(1))
        .from(look::Entity)
        .and_where(
            Expr::col((look::Entity, look::Column::ContentHash))
                .equals((Entity, Column::ImageHash)),
        )
        .to_owned();
    Entity::find()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .filter(Expr::exists(owner).not())
        .all(db)
        .await
}

/// The pictures that go by a name, at most [`limits::NAMES_PER_IMAGE`].
pub(super) async fn contents_of<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
) -> Result<Vec<String>, DbErr> {
    contents_after(db, image_hash, "", limits::NAMES_PER_IMAGE).await
}

/// The next pictures that go by a name, in the order of their hashes, at most `limit`.
pub(super) async fn contents_after<C: ConnectionTrait>(
    db: &C,
    image_hash: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::ContentHash)
        .filter(Column::ImageHash.eq(image_hash))
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

/// Of those hashes, the ones that are of the bytes of a picture with a name.
pub(super) async fn known<C: ConnectionTrait>(
    db: &C,
    hashes: &[&str],
) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::ContentHash)
        .distinct()
        .filter(Column::ContentHash.is_in(hashes.iter().copied()))
        .into_tuple()
        .all(db)
        .await
}

/// Forgets the names of those pictures. Others keep theirs, whatever they are called.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    content_hashes: &[&str],
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::ContentHash.is_in(content_hashes.iter().copied()))
        .exec(db)
        .await
        .map(drop)
}
