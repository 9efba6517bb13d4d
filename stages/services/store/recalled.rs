//! What was made of an image that was seen before, read at once: each question to the database costs
//! more than what it finds.

use sea_orm::entity::prelude::EntityTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, JoinType, QueryFilter, QuerySelect, QueryTrait,
};

use super::image_record::Frames;
use super::{image_embedding, image_frames, nsfw_classes, vector};

/// What models made of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// Its vector, and the frames that it is of.
    pub vector: Option<(Vec<f32>, Frames)>,
    /// What the nsfw model said of it.
    pub nsfw: Option<Vec<f32>>,
}

/// Vector, frame, frames seen, what the nsfw model said.
type Row = (Vec<u8>, Option<i32>, Option<i32>, Option<Vec<u8>>);

/// What is known of an image by its bytes' own hash; of the nsfw model only where one is named.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    content_hash: &str,
    model: &str,
    nsfw_model: Option<&str>,
) -> Result<Recalled, DbErr> {
    use image_embedding::Column as Of;
    use image_frames::Column as Frame;
    use nsfw_classes::Column as Nsfw;
    let frames = image_embedding::Entity::belongs_to(image_frames::Entity)
        .from((Of::ContentHash, Of::ModelName))
        .to((Frame::ContentHash, Frame::ModelName));
    let mut found = image_embedding::Entity::find()
        .select_only()
        .column(Of::Embedding)
        .column(Frame::Frame)
        .column(Frame::FramesSeen)
        .join(JoinType::LeftJoin, frames.into())
        .filter(Of::ContentHash.eq(content_hash))
        .filter(Of::ModelName.eq(model));
    if let Some(nsfw_model) = nsfw_model {
        found = found.column(Nsfw::Probabilities);
        // Not column by column: the tables may be of different makers, who order texts differently.
        let is_it = Expr::col((nsfw_classes::Entity, Nsfw::ContentHash))
            .eq(content_hash)
            .and(Expr::col((nsfw_classes::Entity, Nsfw::ModelName)).eq(nsfw_model));
        QueryTrait::query(&mut found).left_join(nsfw_classes::Entity, is_it);
    } else {
        found = found.expr(Expr::value(None::<Vec<u8>>));
    }
    // There is one at most. A limit would be a number that SQLite prepares the statement anew for, each
    // time, which takes longer than all else that it does here.
    let rows: Vec<Row> = found.into_tuple().all(db).await?;
    let Some((vector, frame, seen, nsfw)) = rows.into_iter().next() else {
        // Whoever embeds it anew may know that much.
        let nsfw = match nsfw_model {
            Some(model) => nsfw_classes::find(db, content_hash, model).await?,
            None => None,
        };
        return Ok(Recalled { vector: None, nsfw });
    };
    let frames = match (frame, seen) {
        (Some(frame), Some(seen)) => Frames {
            frame: frame.into(),
            seen: seen.into(),
        },
        _ => Frames::default(),
    };
    Ok(Recalled {
        vector: vector::from_bytes(&vector).map(|vector| (vector, frames)),
        nsfw: nsfw.and_then(|bytes| vector::from_bytes(&bytes)),
    })
}
