//! The HTTP side: routes made from pipelines, requests turned into values,
//! answers and errors turned into JSON.
//!
//! - [`limits`]: every bound, with its default
//! - [`service`]: the pipelines that are live, and which route reaches which
//! - [`server`]: the listener, request ids, graceful shutdown
//! - `wire`, `drain`: what is said and read where a request is answered before it was read
//! - `body`, `query`, `raw`, `text`, `fields`: a request to the values of a pipeline's request
//! - `reply`: JSON answers and errors
//! - `health`: liveness, readiness, facts

mod body;
mod drain;
mod fields;
mod health;
pub mod limits;
mod query;
mod raw;
mod reply;
pub mod server;
pub mod service;
mod text;
mod wire;

pub use limits::Limits;
pub use server::serve;
pub use service::Service;
