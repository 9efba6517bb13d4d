//! Small mechanisms that more than one room needs, so that each stands once.
//!
//! - [`digest`]: SHA-256 and its 64 digits
//! - [`fold`]: words of people in the form in which they are compared
//! - [`names`]: the valid name that was probably meant
//! - [`round`]: numbers as answers show them
//! - [`chain`]: an error and its causes
//! - [`queue`]: what waits, bounded, and fair between owners
//! - [`backoff`]: pauses between tries
//! - [`breaker`]: leaves alone what keeps failing

pub mod backoff;
pub mod breaker;
pub mod chain;
pub mod digest;
pub mod fold;
pub mod names;
pub mod queue;
pub mod round;
