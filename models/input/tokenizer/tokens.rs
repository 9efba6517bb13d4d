//! What a text has become.

/// The tokens of one text, padded to the context length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub(super) ids: Vec<u32>,
    pub(super) end: usize,
    pub(super) is_cut: bool,
}

impl Tokens {
    /// The ids, special ones included, as many as the context is long.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// True where the text had more tokens than the context has room for.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Where the first end token is.
    pub fn end(&self) -> usize {
        self.end
    }
}
