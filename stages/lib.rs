//! The built-in stages, one file each, beside the services that they share.
//!
//! # Layout
//!
//! Stages: [`hash`] · [`rank`]
//!
//! Shared: [`services`] (opened once, kept over reloads) · `labels` (parsing and bounds)
//!
//! # Invariants
//!
//! - A stage never imports another stage, and none knows the engine.
//! - No stage reads the environment: settings arrive as options of the pipeline file
//!   or through [`ServicesConfig`].
//! - Everything that waits in a queue, and every cache, has a bound with a name.

use std::sync::Arc;

use omnizap_contract::StageKind;

pub mod hash;
mod labels;
pub mod rank;
pub mod services;
#[cfg(test)]
mod testing;

pub use services::{Services, ServicesConfig};

/// Every built-in stage: the one list of them.
#[must_use]
pub fn builtins(_services: &Services) -> Vec<Arc<dyn StageKind>> {
    vec![Arc::new(hash::Hash), Arc::new(rank::Rank)]
}
