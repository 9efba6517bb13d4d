//! Table `omnizap_image_changes`: ids of embeddings that were changed, called otherwise or
//! deleted, by whomever. Triggers write it, and the program where it gives an image another name,
//! which is to be seen where no triggers are allowed too; copies of the program follow it, and
//! prune it.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QueryOrder, QuerySelect,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "omnizap_image_changes")]
pub(crate) struct Model {
    /// Grows with every change.
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    /// The id of the row to look at again.
    pub(crate) image_id: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Notes that an image is to be looked at again.
pub(super) async fn add<C: ConnectionTrait>(db: &C, image_id: i64) -> Result<(), DbErr> {
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        image_id: ActiveValue::Set(image_id),
    };
    Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Changes with an id above `after`, oldest first, at most `limit`.
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

/// The id of the newest change; none where somebody emptied the table.
pub(super) async fn newest<C: ConnectionTrait>(db: &C) -> Result<Option<i64>, DbErr> {
    id(db, false).await
}

/// The id of the oldest change.
pub(super) async fn oldest<C: ConnectionTrait>(db: &C) -> Result<Option<i64>, DbErr> {
    id(db, true).await
}

async fn id<C: ConnectionTrait>(db: &C, is_oldest: bool) -> Result<Option<i64>, DbErr> {
    let query = Entity::find().select_only().column(Column::Id);
    let query = match is_oldest {
        true => query.order_by_asc(Column::Id),
        false => query.order_by_desc(Column::Id),
    };
    query.into_tuple().one(db).await
}

/// Deletes the changes with an id below `first`.
pub(super) async fn prune<C: ConnectionTrait>(db: &C, first: i64) -> Result<(), DbErr> {
    let pruned = Entity::delete_many().filter(Column::Id.lt(first));
    pruned.exec(db).await.map(drop)
}
