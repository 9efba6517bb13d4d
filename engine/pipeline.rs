//! What a pipeline is and how it runs.
//!
//! A file goes through these in order, and each step only sees the result of
//! the one before:
//!
//! 1. [`config`]: TOML to a checked [`config::PipelineFile`]
//! 2. [`graph`]: ports bound, switched-off stages pruned, an order found (pure)
//! 3. [`build`]: stages built (models loaded, stores opened)
//! 4. [`run`]: one request through the built stages, with a [`trace`]

pub mod build;
pub mod condition;
pub mod config;
pub mod diagnostic;
pub mod graph;
pub mod interpolate;
pub mod options;
mod reader;
pub mod registry;
pub mod render;
pub mod request;
pub mod run;
pub mod set;
pub mod trace;

pub use build::Pipeline;
pub use registry::Registry;
