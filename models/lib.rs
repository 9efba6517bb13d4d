//! CLIP and its kin in Burn: from a picture or a text to a vector of length 1, by MobileCLIP, CLIP,
//! TinyCLIP and SigLIP2, from the files that their authors publish.
//!
//! ```no_run
//! use omnizap_models::{Cache, Device, Model, PixelView, Source};
//!
//! let source = Source::resolve(Some("MobileCLIP-S1"), Some("datacompdr"))?;
//! let model = Model::open(&source, &Cache::from_env(), Device::Cpu)?;
//! let pixels = model.preprocess(&PixelView::rgb(2, 1, &[255, 0, 0, 250, 5, 5])?);
//! let image = &model.encode_images(&[pixels])?[0];
//! let texts = model.encode_texts(&["something red", "something blue"])?;
//! let logits: Vec<f32> = texts
//!     .iter()
//!     .map(|text| model.logit_scale() * text.iter().zip(image).map(|(a, b)| a * b).sum::<f32>())
//!     .collect();
//! # Ok::<(), omnizap_models::Error>(())
//! ```
//!
//! # Layout
//!
//! - [`Source`], [`Preset`], [`config`]: which model is meant, and the numbers that make it.
//! - `model`: [`Model`], what all of this is for.
//! - `preprocess`, `tokenizer`: what goes into the towers, equal to Pillow and to the models' own.
//! - `towers`, `ops`: the folded, inference-only form of the network, channels last.
//! - `beside`: what lies beside a checkpoint and belongs to it.
//! - `checkpoint`, `import`: a published checkpoint read, and folded into that form.
//! - `record`: the folded form kept beside the checkpoint, mapped at the next start.
//! - [`Cache`], `hub`, `catalog`, `verify`: models on this machine, fetched, listed, checked.
//! - `confidence`: what a model's logits are worth.
//! - `embedded`: the small model inside the program.
//! - `nsfw`: [`NsfwNet`], a classifier of unsafe pictures inside the program.
//!
//! # Invariants
//!
//! - The towers know nothing of checkpoints, the import nothing of how a tower runs; between them
//!   are named weights. Another layout of weights or activations changes `ops`, `towers` and the
//!   last step of `import::fold`, and counts up the format of records.
//! - Every tensor of a checkpoint is used exactly once, or the import fails and names it.
//! - A checkpoint gets the preprocessing of its preset, however it is given.
//! - Nothing here knows of stages, pipelines, HTTP servers or databases.

mod beside;
mod cache;
pub mod catalog;
mod checkpoint;
mod confidence;
pub mod config;
mod device;
mod embedded;
mod error;
pub mod hub;
mod import;
mod model;
mod nsfw;
mod ops;
mod pixels;
mod preprocess;
mod preset;
mod record;
mod source;
mod tokenizer;
mod towers;
pub mod verify;
mod weights;

pub use cache::Cache;
pub use confidence::{Confidence, NoMatch, Temperature};
pub use device::{AVAILABLE as DEVICES, Device};
pub use error::Error;
pub use model::{Model, import_checkpoint};
pub use nsfw::{NSFW_CLASSES, NSFW_MODEL, NsfwClasses, NsfwNet, NsfwPixels};
pub use pixels::{Layout, MAX_SIDE, PixelView, Pixels};
pub use preprocess::preprocess;
pub use preset::{Licence, Preset, Weights, presets};
pub use source::Source;
pub use tokenizer::{Tokenizer, Tokens};
