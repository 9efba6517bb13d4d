//! The built-in stages, one file each, beside the services that they share.
//!
//! # Layout
//!
//! Stages: [`hash`] · [`recall`] · [`decode`] · [`embed`] · [`score`] · [`nsfw`] · [`rank`] ·
//! [`adaptive`] · [`similarity`] · [`llm_expand`] · [`persist`] · [`feedback`] · [`forget`]
//!
//! Shared:
//! - [`services`]: opened once, kept over reloads; what stages get at through it:
//! - [`open_model`]: a model, its names and its [`model_pool`] (queues, batches, threads)
//! - [`nsfw_model`]: the classifier of unsafe pictures, in a pool of its own
//! - `labels`: what a client sends as labels, made into labels that can be scored
//! - [`store`]: what is remembered, in a database; beside it [`vector_index`], in memory
//! - `softmax`: cosine and softmax, the arithmetic of scores
//!
//! # Invariants
//!
//! - A stage never imports another stage, and none knows the engine.
//! - No stage reads the environment: settings arrive as options of the pipeline file
//!   or through [`ServicesConfig`].
//! - Everything that waits in a queue, and every cache, has a bound with a name.

use std::sync::Arc;

use omnizap_contract::StageKind;

pub mod adaptive;
pub mod decode;
pub mod embed;
pub mod feedback;
pub mod forget;
pub mod hash;
mod labels;
pub mod llm_expand;
pub mod model_pool;
pub mod nsfw;
pub mod nsfw_model;
pub mod open_model;
pub mod persist;
pub mod rank;
pub mod recall;
pub mod score;
pub mod services;
pub mod similarity;
mod softmax;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod vector_index;

pub use services::{Services, ServicesConfig};

/// Every built-in stage: the one list of them.
#[must_use]
pub fn builtins(services: &Services) -> Vec<Arc<dyn StageKind>> {
    vec![
        Arc::new(hash::Hash),
        Arc::new(recall::Recall::new(services)),
        Arc::new(decode::Decode),
        Arc::new(embed::Embed::new(services)),
        Arc::new(score::ScoreLabels::new(services)),
        Arc::new(nsfw::Nsfw::new(services)),
        Arc::new(rank::Rank),
        Arc::new(adaptive::Adaptive::new(services.store())),
        Arc::new(similarity::Similarity::new(services.store())),
        Arc::new(llm_expand::LlmExpand::new(services.llm())),
        Arc::new(persist::Persist::new(services.store())),
        Arc::new(feedback::GiveFeedback::new(services.store())),
        Arc::new(forget::Forget::new(services.store())),
    ]
}
