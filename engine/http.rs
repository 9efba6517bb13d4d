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
//! - `metrics`: what is counted of requests, and the answer to a scrape
//! - `traced`: who asks where the time of a request went, and whose it is
//! - `spans`: what became of requests, for whoever collects traces
//! - `admin`: what administrators ask of the service itself
//! - `docs`: a page that shows what clients may ask for
//! - `page`: the files of a page for people, which the program gives

mod admin;
mod body;
mod connections;
mod docs;
mod drain;
mod fields;
mod head;
mod health;
pub mod limits;
mod metrics;
mod page;
mod peer;
mod query;
mod raw;
mod reply;
pub mod server;
pub mod service;
mod spans;
mod text;
mod traced;
mod trust;
mod wire;

#[doc(hidden)]
pub use body::split_form;
pub use limits::Limits;
pub use page::Page;
pub use server::{Ended, serve};
pub use service::Service;
pub use spans::{Collector, RequestSpan, RunSpan, StageSpan};
pub use trust::{Hosts, Keys, Origins, Trust};
