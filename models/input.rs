//! What goes into the towers: a picture as pixels and a text as tokens, equal to what Pillow and
//! the models' own tokenizers make of them.

pub(crate) mod pixels;
pub(crate) mod preprocess;
pub(crate) mod tokenizer;
