//! Models, and the threads that run them.
//!
//! # Layout
//!
//! - [`pool`]: one open model with its queues, batches and threads, whatever model it is
//! - [`clip`]: the model that embeds pictures and texts: its names, its numbers, its pool
//! - [`nsfw`]: the classifier of unsafe pictures, in a pool of its own
//! - [`frames`]: which frames of a picture that moves count
//! - [`pictures`]: the room and the threads for what is decoded
//!
//! # Invariants
//!
//! - A model is opened once, and no two stages wait for two copies of it.
//! - A request waits for a model within the bounds of [`pool::PoolLimits`], or is refused at once.
//! - Decoded pixels take no more than [`pictures::PictureLimits`] say, whoever holds them.

pub mod clip;
pub mod frames;
pub mod nsfw;
pub mod pictures;
pub mod pool;
