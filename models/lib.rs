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
//! - `model`: [`Model`], what all of this is for. [`Device`], [`Precision`]: where and in which numbers
//!   it computes.
//! - `input`: what goes into the towers, equal to Pillow and to the models' own tokenizers.
//! - `net`: the folded, inference-only form of the network, channels last: weights, towers and
//!   their operations.
//! - `files`: checkpoints read and folded into that form, the record kept of it and mapped at the
//!   next start, what lies beside a checkpoint, [`Cache`] and [`hub`].
//! - [`catalog`], [`verify`]: models on this machine, listed and checked.
//! - `confidence`: what a model's logits are worth.
//! - [`tls`]: the one TLS of the program.
//! - `embedded`: the small model inside the program.
//! - `nsfw`: [`NsfwNet`], a classifier of unsafe pictures inside the program.
//!
//! # Invariants
//!
//! - No module knows one that knows it. `error` and `precision` know none, `config` `error` alone,
//!   `preset` these two; `input` and `net` know `config`, `error` and `precision`; `files` knows
//!   those, `preset` and of `net` the weights. Which device is meant only `device` knows, and who
//!   opens a model; `net` has it from its tensors.
//! - The towers know nothing of checkpoints, the import nothing of how a tower runs; between them
//!   are named weights. Another layout of weights or activations changes `net` and the last step of
//!   `files::import::fold`, and counts up the format of records.
//! - Every tensor of a checkpoint is used exactly once, or the import fails and names it.
//! - A checkpoint gets the preprocessing of its preset, however it is given.
//! - Nothing here knows of stages, pipelines, HTTP servers or databases.

pub mod catalog;
mod confidence;
pub mod config;
mod device;
mod embedded;
mod error;
mod files;
mod input;
mod model;
mod net;
mod nsfw;
mod precision;
mod preset;
mod source;
pub mod tls;
pub mod verify;

pub use confidence::{Confidence, NoMatch, Temperature};
pub use device::Device;
pub use error::Error;
#[doc(hidden)]
pub use files::bare;
pub use files::cache::Cache;
pub use files::hub;
pub use input::pixels::{Layout, MAX_SIDE, PixelView, Pixels};
pub use input::preprocess::preprocess;
pub use input::tokenizer::{Tokenizer, Tokens};
pub use model::Model;
pub use nsfw::{NSFW_CLASSES, NSFW_MODEL, NsfwClasses, NsfwNet, NsfwPixels};
pub use precision::Precision;
pub use preset::{Licence, Preset, Weights, presets};
pub use source::{Source, expand_home, looks_like_a_path, names_a_config};
