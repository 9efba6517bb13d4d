//! What a pipeline is and how it runs.
//!
//! A file goes through these in order, and each step only sees the result of
//! the one before:
//!
//! 1. [`layers`]: a file and what it extends, as one tree
//! 2. [`config`]: that tree to a checked [`config::PipelineFile`]
//! 3. [`graph`]: ports bound, switched-off stages pruned, an order found (pure)
//! 4. [`build`]: stages built (models loaded, stores opened)
//! 5. [`run`]: one request through the built stages, with a [`trace`]

pub mod all;
pub mod answer;
pub mod build;
pub mod case;
pub mod condition;
pub mod config;
pub mod diagnostic;
pub mod graph;
pub mod interpolate;
pub mod layers;
pub mod options;
mod reader;
pub mod registry;
pub mod render;
pub mod request;
pub mod run;
pub mod template;
pub mod trace;
mod tree;
pub mod trial;

pub use build::Pipeline;
pub use registry::Registry;
