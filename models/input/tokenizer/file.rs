//! A tokenizer that its authors publish as a `tokenizer.json`, such as the Gemma tokenizer of SigLIP2.
//! Equal to open_clip's `HFTokenizer` with `clean="canonicalize"`.
//!
//! Only what cuts a text into tokens is taken from the file. The end token and the padding are put
//! on here: which special tokens a file's own template adds differs between copies of one tokenizer.

use std::path::Path;

use omnizap_contract::common::digest::Sha256Hex;
use tokenizers::{Model, ModelWrapper};

use super::clean;
use super::tokens::Tokens;
use crate::error::Error;

/// The token after every text, and what fills up the context.
const END: &str = "<eos>";
const PADDING: &str = "<pad>";

/// The largest file that is read; Gemma's has 34 MB.
const LARGEST: u64 = 256 << 20;

/// A tokenizer of the `tokenizers` crate.
pub(super) struct FileTokenizer {
    tokenizer: tokenizers::Tokenizer,
    end: u32,
    padding: u32,
    size: usize,
    sha256: Sha256Hex,
}

impl FileTokenizer {
    /// Reads a `tokenizer.json`.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadTokenizer {
            path: path.to_owned(),
            reason,
        };
        let length = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
        if length.len() > LARGEST {
            return Err(bad(format!("larger than {} MiB", LARGEST >> 20)));
        }
        let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| bad(error.to_string()))?;
        let id = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.ok_or_else(|| bad(format!("it has no token {token}")))
        };
        let (end, padding) = (id(END)?, id(PADDING)?);
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return Err(bad("its model is not byte-pair encoding".to_owned()));
        };
        // Then no text is without tokens. The model looks among its own, not among added ones.
        match &model.unk_token {
            Some(unknown) if model.token_to_id(unknown).is_some() => {}
            Some(unknown) => return Err(bad(format!("it has no token {unknown}"))),
            None => return Err(bad("it names no unknown token".to_owned())),
        };
        let ids = tokenizer.get_vocab(true).into_values();
        let size = ids.max().map_or(0, |id| id as usize + 1);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            tokenizer,
            end,
            padding,
            size,
            sha256: Sha256Hex::of(&bytes),
        })
    }

    /// The tokens of a text, cut to `context` with the end token kept last, padded.
    pub(super) fn encode(&self, text: &str, context: usize) -> Tokens {
        let encoded = self.tokenizer.encode_fast(clean::canonicalize(text), false);
        // Only an unknown token without an entry could fail, which is checked when the file is read.
        let mut ids = encoded.map_or_else(|_| Vec::new(), |encoded| encoded.get_ids().to_vec());
        let is_cut = ids.len() > context - 1;
        ids.truncate(context - 1);
        let end = ids.len();
        ids.push(self.end);
        ids.resize(context, self.padding);
        Tokens { ids, end, is_cut }
    }

    /// Ids are below this.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// SHA-256 of the file.
    pub(super) fn sha256(&self) -> Sha256Hex {
        self.sha256
    }
}
