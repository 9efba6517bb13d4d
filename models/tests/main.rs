//! Tests of the whole crate through its public face, against the reference implementations.
//!
//! What they compare with was made by the Python scripts beside them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod damage;
#[cfg(all(embedded_model, embedded_goldens))]
mod embedded;
mod expected;
#[cfg(feature = "wgpu")]
mod gpu;
mod nsfw;
mod precision;
mod preprocessing;
mod pull;
mod tokens;
mod towers;
mod verify;
