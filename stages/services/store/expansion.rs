//! Table `clip_llm_label_expansion_cache`: good answers of the language model.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue, ConnectionTrait, DbErr};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clip_llm_label_expansion_cache")]
pub(crate) struct Model {
    /// SHA-256 of the question.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) cache_key: String,
    pub(crate) model_name: String,
    #[sea_orm(column_type = "Text")]
    pub(crate) top_labels_json: String,
    #[sea_orm(column_type = "Text")]
    pub(crate) expansion_json: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The answer as it was kept. Rows of the Python service may hold a failure: whoever
/// reads checks it as if it had just come.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    cache_key: &str,
) -> Result<Option<String>, DbErr> {
    let row = Entity::find_by_id(cache_key).one(db).await?;
    Ok(row.map(|row| row.expansion_json))
}

/// Keeps an answer, in place of an earlier one.
pub(super) async fn save<C: ConnectionTrait>(db: &C, answer: Model) -> Result<(), DbErr> {
    let mut conflict = OnConflict::column(Column::CacheKey);
    conflict
        .update_columns([
            Column::ModelName,
            Column::TopLabelsJson,
            Column::ExpansionJson,
        ])
        .value("updated_at", Expr::current_timestamp());
    let row = ActiveModel {
        cache_key: ActiveValue::Set(answer.cache_key),
        model_name: ActiveValue::Set(answer.model_name),
        top_labels_json: ActiveValue::Set(answer.top_labels_json),
        expansion_json: ActiveValue::Set(answer.expansion_json),
    };
    Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(db)
        .await
        .map(drop)
}
