//! Every bound of the HTTP side.

use std::time::Duration;

/// Bounds of the HTTP side; [`Limits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes: 413 beyond.
    pub max_body_bytes: usize,
    /// Most requests to pipelines at one time, those that wait for a place in a
    /// stage included: 429 beyond.
    pub max_requests_in_flight: usize,
    /// Longest time for a client to send its body: 408 beyond.
    pub body_timeout: Duration,
    /// Longest time for requests in flight to finish once shutdown has begun.
    pub shutdown_grace: Duration,
    /// Most parts of a multipart body: 422 beyond.
    pub max_parts: usize,
}

impl Default for Limits {
    /// 32 MiB a body, 256 requests in flight, 30 s for a body, 30 s of grace, 64 parts.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_requests_in_flight: 256,
            body_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
            max_parts: 64,
        }
    }
}
