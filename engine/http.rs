//! The HTTP side: routes made from pipelines, requests turned into values,
//! answers and errors turned into JSON.
//!
//! - [`limits`]: every bound, with its default
//! - [`service`]: the pipelines that are live, and which route reaches which
//! - [`server`]: the listener, request ids, graceful shutdown
//! - `connections`, `peer`: who has one, and who gives way where there are too many
//! - `trust`: whom the service answers: names of hosts, pages of other sites, keys
//! - `wire`, `drain`: what is said and read where a request is answered before it was read
//! - `head`, `body`, `query`, `raw`, `text`, `fields`: a request to the values of a pipeline's request
//! - `reply`: JSON answers and errors
//! - `health`: liveness, readiness, facts

mod body;
mod connections;
mod drain;
mod fields;
mod head;
mod health;
pub mod limits;
mod peer;
mod query;
mod raw;
mod reply;
pub mod server;
pub mod service;
mod text;
mod trust;
mod wire;

pub use limits::Limits;
pub use server::serve;
pub use service::Service;
pub use trust::{Hosts, Keys, Origins, Trust};
