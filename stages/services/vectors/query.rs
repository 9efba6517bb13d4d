//! What is asked of the index, and what is told.

use std::sync::Arc;

use super::Row;

/// A question: which images are like this one?
#[derive(Clone, Debug)]
pub struct Query {
    /// Model id that made the vector.
    pub model: Arc<str>,
    /// `[dim]`; need not be normalised.
    pub vector: Arc<[f32]>,
    /// Least similarity of an answer, -1 to 1, as it is told.
    pub threshold: f64,
    /// Most answers.
    pub limit: usize,
    /// How many of the newest images are all looked at; 0 looks at all there are. Of the
    /// others those in the nearest lists, once there are lists.
    pub scan: usize,
    /// The image itself, by the name that the client gives it: never an answer.
    pub image_hash: Option<Arc<str>>,
    /// The image itself, by its bytes: never an answer.
    pub content_hash: Option<Arc<str>>,
}

impl Query {
    /// True where a row is the image that is asked about, by any of its names: rows of
    /// the Python service may be named by the hash of the bytes, and their bytes are not
    /// known.
    pub(super) fn is_itself(&self, row: &Row) -> bool {
        let names = [&self.image_hash, &self.content_hash];
        let names = names.into_iter().flatten();
        let known = [Some(&row.image_hash), row.content_hash.as_ref()];
        names.into_iter().any(|name| known.contains(&Some(name)))
    }
}

/// An image that is like the one asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its name.
    pub image_hash: Arc<str>,
    /// SHA-256 of its bytes; none in rows of the Python service.
    pub content_hash: Option<Arc<str>>,
    /// The client's own id of it.
    pub asset_id: Option<Arc<str>>,
    /// Cosine, -1 to 1, to six decimals: what is told of it.
    pub similarity: f64,
}

impl Hit {
    /// A row and how like it is.
    pub(super) fn of(row: &Row, similarity: f64) -> Self {
        Self {
            image_hash: row.image_hash.clone(),
            content_hash: row.content_hash.clone(),
            asset_id: row.asset_id.clone(),
            similarity,
        }
    }
}

/// The images most like one that is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Similar {
    /// Best first; of those that are told as equal the newer first.
    pub images: Vec<Hit>,
    /// False where some of what decides was ranked by estimates: then similarities are off by
    /// their margins, and an image within them of the last may be missing.
    pub is_exact: bool,
}
