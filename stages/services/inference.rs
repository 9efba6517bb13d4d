//! Models, and the threads that run them.
//!
//! # Layout
//!
//! - [`pool`]: one open model with its queues, batches and threads, whatever model it is
//! - [`clip`]: the model that embeds pictures and texts: its names, its numbers, its pool
//! - [`nsfw`]: the classifier of unsafe pictures, in a pool of its own
//!
//! # Invariants
//!
//! - A model is opened once, and no two stages wait for two copies of it.
//! - A request waits for a model within the bounds of [`pool::PoolLimits`], or is refused at once.

pub mod clip;
pub mod nsfw;
pub mod pool;
