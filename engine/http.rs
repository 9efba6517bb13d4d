//! The HTTP side: routes made from pipelines, requests turned into values,
//! answers and errors turned into JSON.
//!
//! - [`limits`]: every bound, with its default
//! - [`service`]: the pipelines that are live, and which route reaches which
//! - [`server`]: the listener, request ids, graceful shutdown
//! - `body`, `fields`: a body to the values of a pipeline's request
//! - `reply`: JSON answers and errors
//! - `health`: liveness, readiness, facts

mod body;
mod fields;
mod health;
pub mod limits;
mod reply;
pub mod server;
pub mod service;

pub use limits::Limits;
pub use server::serve;
pub use service::Service;
