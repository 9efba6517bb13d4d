//! Why there is no answer.

use std::sync::Arc;
use std::time::Duration;

use super::MAX_IN_FLIGHT;
use super::answer::AnswerFault;

/// Why there is no answer. Shared by all who asked the same. What it tells holds no key, and no
/// more than the beginning of what a server said.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LlmError {
    /// No key was given.
    #[error("there is no key for the language model; set OPENAI_API_KEY or the option api_key")]
    NoKey,
    /// Nothing can be asked as it is set up.
    #[error("the language model cannot be asked: {0}")]
    NoClient(Arc<str>),
    /// The server kept failing and is left alone for a while.
    #[error("the language model kept failing and is left alone for a while")]
    Open,
    /// Too many questions are under way.
    #[error("more than {MAX_IN_FLIGHT} questions to the language model are under way")]
    Busy,
    /// The time for the answer ran out.
    #[error("the language model did not answer within {limit:?}{}", before(.last.as_deref()))]
    Slow {
        /// The time that there was.
        limit: Duration,
        /// What became of the try before, if there was one.
        last: Option<Arc<str>>,
    },
    /// The server could not be reached, or broke off, or sent what cannot be read.
    #[error("no answer of the language model at {0}")]
    Lost(Arc<str>),
    /// The server said no.
    #[error("the language model refused: {0}")]
    Refused(Arc<str>),
    /// The answer was not what was asked for.
    #[error(transparent)]
    Answer(#[from] Arc<AnswerFault>),
    /// The task that asked was broken off.
    #[error("the question was broken off")]
    BrokenOff,
}

fn before(last: Option<&str>) -> String {
    last.map_or_else(String::new, |last| format!("; the try before: {last}"))
}
