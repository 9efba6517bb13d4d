//! Every bound of the HTTP side.

use std::time::Duration;

use crate::pipeline::request::RequestLimits;

/// Bounds of the HTTP side; [`Limits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes: 413 beyond.
    pub max_body_bytes: usize,
    /// Most requests to pipelines at one time, those that wait for a place in a
    /// stage included: 429 beyond.
    pub max_requests_in_flight: usize,
    /// Longest time without a byte of a body that is to come: 408 beyond.
    pub body_idle_timeout: Duration,
    /// Longest time for a client to send its whole body, however steadily: 408 beyond.
    pub body_timeout: Duration,
    /// Most bytes of a body that are read on, and thrown away, once the request is answered: a
    /// client that reads no answer before it has sent all would not get it else.
    pub max_drain_bytes: usize,
    /// Longest time for that.
    pub drain_timeout: Duration,
    /// Longest time without a byte in it.
    pub drain_idle_timeout: Duration,
    /// Most requests whose bodies are read on at one time; beyond, the connection is closed.
    pub max_draining: usize,
    /// Longest time for requests in flight to finish once shutdown has begun.
    pub shutdown_grace: Duration,
    /// Most parts of a multipart body, and most fields of a query string: 422 beyond.
    pub max_parts: usize,
    /// Longest query string, in bytes: 414 beyond.
    pub max_query_bytes: usize,
}

impl Default for Limits {
    /// 32 MiB a body, 256 requests in flight, 30 s without a byte of a body and 10 minutes for the
    /// whole, 30 s of grace, 64 parts, 16 KiB a query string. After an early answer 256 MiB are
    /// read on, for 30 s and 5 s without a byte, of 256 bodies.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_requests_in_flight: 256,
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(10),
            max_drain_bytes: 256 << 20,
            drain_timeout: Duration::from_secs(30),
            drain_idle_timeout: Duration::from_secs(5),
            max_draining: 256,
            shutdown_grace: Duration::from_secs(30),
            max_parts: 64,
            max_query_bytes: 16 << 10,
        }
    }
}

impl Limits {
    /// The same for the requests of a pipeline, which may be stricter.
    pub(super) fn within(mut self, own: &RequestLimits) -> Self {
        let stricter =
            |of_all: usize, own: Option<usize>| own.map_or(of_all, |own| own.min(of_all));
        self.max_body_bytes = stricter(self.max_body_bytes, own.max_body_bytes);
        self.max_parts = stricter(self.max_parts, own.max_fields);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_stricter_and_never_looser() {
        let own = |bytes: usize, fields: usize| RequestLimits {
            max_body_bytes: Some(bytes),
            max_fields: Some(fields),
            ..RequestLimits::default()
        };
        let all = Limits::default();
        assert_eq!(all.within(&RequestLimits::default()), all);
        assert_eq!(all.within(&own(usize::MAX, usize::MAX)), all);
        let strict = all.within(&own(10, 2));
        assert_eq!((strict.max_body_bytes, strict.max_parts), (10, 2));
    }
}
