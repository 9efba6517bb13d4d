//! Tests of the whole crate through its public face, against the reference implementations.
//!
//! What they compare with was made by the Python scripts beside them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod damage;
mod expected;
mod tokens;
mod towers;
