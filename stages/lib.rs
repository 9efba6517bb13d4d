//! The built-in stages, one file each. What they share is in `omnizap_services`.
//!
//! # Layout
//!
//! The stages of a classification, in the order of the pipeline:
//!
//! - [`hash`]: the names of an image
//! - [`recall`]: what was made of it before
//! - [`decode`]: the file becomes pixels
//! - [`embed`]: the pixels become a vector
//! - [`embed_text`]: a text becomes one
//! - [`write_vector`]: one as a client asks for it
//! - [`score`]: how well each label fits
//! - [`nsfw`]: whether the picture is safe to show
//! - [`adaptive`]: scores that learn from feedback
//! - [`rank`]: the scores in their order, and how sure they are of it
//! - [`tags`]: every label that fits well enough
//! - [`llm_expand`]: words around the best labels
//! - [`similarity`]: images that look like it
//! - [`persist`]: remembers the image
//!
//! Beside it, each in a pipeline of its own:
//!
//! - [`feedback`]: a judgement of an image
//! - [`forget`]: an image and all that is kept of it, deleted
//!
//! # Invariants
//!
//! - A stage never imports another stage, and none knows the engine.
//! - Stages share no state but through the services: a model, the store, the language model.
//! - No stage reads the environment: settings arrive as options of the pipeline file
//!   or through [`ServicesConfig`].
//! - No stage waits longer than the call has time, or queues without a bound with a name.

use std::sync::Arc;

use omnizap_contract::Kind;

pub mod adaptive;
pub mod decode;
pub mod embed;
pub mod embed_text;
pub mod feedback;
pub mod forget;
pub mod hash;
pub mod llm_expand;
pub mod nsfw;
pub mod persist;
pub mod rank;
pub mod recall;
pub mod score;
pub mod similarity;
pub mod tags;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod write_vector;

pub use omnizap_services::{Services, ServicesConfig};

/// Every built-in stage: the one list of them.
#[must_use]
pub fn builtins(services: &Services) -> Vec<Arc<dyn Kind>> {
    vec![
        Arc::new(hash::Hash),
        Arc::new(recall::Recall::new(services)),
        Arc::new(decode::Decode::new(services)),
        Arc::new(embed::Embed::new(services)),
        Arc::new(embed_text::EmbedText::new(services)),
        Arc::new(write_vector::WriteVector),
        Arc::new(score::ScoreLabels::new(services)),
        Arc::new(nsfw::Nsfw::new(services)),
        Arc::new(rank::Rank),
        Arc::new(tags::Tags),
        Arc::new(adaptive::Adaptive::new(services.store())),
        Arc::new(similarity::Similarity::new(services.store())),
        Arc::new(llm_expand::LlmExpand::new(services.llm())),
        Arc::new(persist::Persist::new(services.store())),
        Arc::new(feedback::GiveFeedback::new(services.store())),
        Arc::new(forget::Forget::new(services.store())),
    ]
}
