//! From a text to the tokens that a text tower takes.

mod clean;
mod clip;
mod entities;
mod file;
mod mojibake;

use std::path::Path;

use crate::error::Error;
use clip::ClipTokenizer;
use file::FileTokenizer;

pub(crate) use clip::VOCABULARY_SIZE;

/// The tokens of one text, padded to the context length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    end: usize,
    is_cut: bool,
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

/// A tokenizer with its vocabulary.
pub struct Tokenizer(Kind);

enum Kind {
    Clip(Box<ClipTokenizer>),
    File(Box<FileTokenizer>),
}

impl Tokenizer {
    /// CLIP's.
    pub fn new() -> Self {
        Self(Kind::Clip(Box::new(ClipTokenizer::new())))
    }

    /// One of a `tokenizer.json`, over texts without punctuation and capitals, as SigLIP takes them.
    ///
    /// # Errors
    /// [`Error::BadTokenizer`] when the file is missing, is no tokenizer, or has no end token or
    /// padding.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        Ok(Self(Kind::File(Box::new(FileTokenizer::open(path)?))))
    }

    /// The tokens of a text, cut to `context` with the end token kept last, padded.
    pub fn encode(&self, text: &str, context: usize) -> Tokens {
        match &self.0 {
            Kind::Clip(tokenizer) => tokenizer.encode(text, context),
            Kind::File(tokenizer) => tokenizer.encode(text, context),
        }
    }

    /// Ids are below this.
    pub(crate) fn size(&self) -> usize {
        match &self.0 {
            Kind::Clip(_) => VOCABULARY_SIZE,
            Kind::File(tokenizer) => tokenizer.size(),
        }
    }

    /// SHA-256 of the file that it is from, in hexadecimal, if it is from one.
    pub(crate) fn file_sha256(&self) -> Option<&str> {
        match &self.0 {
            Kind::Clip(_) => None,
            Kind::File(tokenizer) => Some(tokenizer.sha256()),
        }
    }
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}
