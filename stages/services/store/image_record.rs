//! One image as it is given to the store.

use std::sync::Arc;

use omnizap_contract::Embedding;

use super::look::Look;

/// The frames that an image's embedding is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The one that decided, from 0.
    pub frame: i64,
    /// How many were looked at.
    pub seen: i64,
}

impl Default for Frames {
    /// Those of a picture that does not move.
    fn default() -> Self {
        Self { frame: 0, seen: 1 }
    }
}

/// One image as the store keeps it.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    /// SHA-256 of the bytes, lower-case hex: the key.
    pub content_hash: Arc<str>,
    /// The name by which clients call the image, lower-case hex.
    pub image_hash: Arc<str>,
    /// The client's own id of it, at most [`limits::ASSET_CHARS`](super::limits::ASSET_CHARS)
    /// characters.
    pub asset_id: Option<Arc<str>>,
    /// Its vector and the model that made it.
    pub embedding: Arc<Embedding>,
    /// False where the vector is not to be kept, nor found by searches.
    pub keep_embedding: bool,
    /// The frames that it is of; nothing is changed where that is not there.
    pub frames: Option<Frames>,
    /// What the model saw in it, if it was asked.
    pub look: Option<Look>,
    /// What the nsfw model gave its classes, and the model; nothing is changed where it is not
    /// there.
    pub nsfw: Option<Arc<Embedding>>,
}

impl ImageRecord {
    /// Takes in what an earlier record of the same image says, where one row of each table holds
    /// both. False where they are to be written one after the other: the image goes by several
    /// names, or was looked at in several ways.
    pub(super) fn takes_in(&mut self, before: &Self) -> bool {
        let is_one = self.image_hash == before.image_hash
            && self.keep_embedding == before.keep_embedding
            && self.embedding.model == before.embedding.model
            && agree(&self.asset_id, &before.asset_id, |a, b| a == b)
            && agree(&self.look, &before.look, is_of_one_row)
            && agree(&self.nsfw, &before.nsfw, |a, b| a.model == b.model);
        if !is_one {
            return false;
        }
        // The same bytes and the same model: the same vector, which need not be held twice.
        self.embedding = before.embedding.clone();
        if self.asset_id.is_none() {
            self.asset_id.clone_from(&before.asset_id);
        }
        self.frames = before.frames.or(self.frames);
        if self.nsfw.is_none() {
            self.nsfw.clone_from(&before.nsfw);
        }
        if let Some(look) = &mut self.look {
            let before = before.look.as_ref();
            look.default_labels |= before.is_some_and(|before| before.default_labels);
        } else {
            self.look.clone_from(&before.look);
        }
        true
    }
}

/// True where one of two says nothing, or both say what goes together.
fn agree<T>(one: &Option<T>, other: &Option<T>, go: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => go(one, other),
        _ => true,
    }
}

/// True where the later of two looks takes the place of the earlier, as it does in the table.
pub(super) fn is_of_one_row(one: &Look, other: &Look) -> bool {
    one.theme == other.theme && one.label_set == other.label_set
}
