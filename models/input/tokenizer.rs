//! From a text to the tokens that a text tower takes.

mod clean;
mod clip;
mod entities;
mod file;
mod mojibake;
mod tokens;

use std::path::Path;

use omnizap_contract::common::digest::Sha256Hex;

use crate::config::CLIP_VOCABULARY;
use crate::error::Error;
use clip::ClipTokenizer;
use file::FileTokenizer;

pub use tokens::Tokens;

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
            Kind::Clip(_) => CLIP_VOCABULARY,
            Kind::File(tokenizer) => tokenizer.size(),
        }
    }

    /// SHA-256 of the file that it is from, if it is from one.
    pub(crate) fn file_sha256(&self) -> Option<Sha256Hex> {
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
