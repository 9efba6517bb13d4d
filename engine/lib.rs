//! The engine: what runs any pipeline. It knows no stage by name, no model and no table.
//!
//! - [`pipeline`]: a file checked, bound to a graph, built, and run for a request
//! - [`live`]: where pipelines come from, and how others take their place
//! - [`http`]: requests and answers
//! - [`metrics`]: what all of them count for the operator
//! - [`openapi`]: the live pipelines as a document for clients

#![forbid(unsafe_code)]

pub mod http;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod pipeline;
