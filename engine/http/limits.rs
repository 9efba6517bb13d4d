//! Every bound of the HTTP side.

use std::time::Duration;

use crate::pipeline::request::RequestLimits;

/// Bounds of the HTTP side; [`Limits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at one time. Where there are as many, the one that has waited longest for a
    /// request gives way to the next.
    pub max_connections: usize,
    /// Longest time from the first byte of a request's head, and of a connection, to its last.
    pub head_timeout: Duration,
    /// Longest time for a client to read its answer and to begin another request.
    pub idle_timeout: Duration,
    /// Longest time without a byte of an answer that the client takes.
    pub write_timeout: Duration,
    /// How old a connection gets before the client is asked for another.
    pub max_connection_age: Duration,
    /// Most requests at one time over one connection of HTTP/2.
    pub max_streams: u32,
    /// Most requests whose bodies are coming at one time; beyond, one that has been at it longest
    /// gives way: 503.
    pub max_coming_bodies: usize,
    /// Most bytes of bodies that are held, of all requests together; beyond, a body that holds the
    /// most gives way: 503.
    pub max_held_bytes: usize,
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
    /// 512 connections, 10 s for a head, 75 s between two requests, 30 s without a byte of an
    /// answer that is taken, an hour for a connection, 32 requests at one time over one of HTTP/2;
    /// 1,024 bodies that come and 256 MiB of them in all, 32 MiB each, 256 requests in flight, 30 s
    /// without a byte of a body and 10 minutes for the whole, 30 s of grace, 64 parts, 16 KiB a query
    /// string. After an early answer 256 MiB are read on, for 30 s and 5 s without a byte, of 256
    /// bodies.
    fn default() -> Self {
        Self {
            max_connections: 512,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_connection_age: Duration::from_hours(1),
            max_streams: 32,
            max_coming_bodies: 1024,
            max_held_bytes: 256 << 20,
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
    /// The same for a process that may have so many files open at one time: connections, those
    /// included that are read on after an early answer, get at most three quarters of them, since
    /// databases, models and pictures need some too. No body is larger than all may be together.
    pub(super) fn fitting(mut self, open_files: usize) -> Self {
        let most = open_files - open_files / 4;
        if self.max_connections.saturating_add(self.max_draining) > most {
            self.max_connections = self.max_connections.min(most * 2 / 3).max(1);
            self.max_draining = self.max_draining.min(most - self.max_connections.min(most));
        }
        self.max_body_bytes = self.max_body_bytes.min(self.max_held_bytes);
        self
    }

    /// The same for the requests of a pipeline, which may be stricter.
    pub(super) fn within(mut self, own: &RequestLimits) -> Self {
        let stricter =
            |of_all: usize, own: Option<usize>| own.map_or(of_all, |own| own.min(of_all));
        self.max_body_bytes = stricter(self.max_body_bytes, own.max_body_bytes);
        self.max_parts = stricter(self.max_parts, own.max_fields);
        self
    }
}

/// How many files this process may have open at one time, where that is bounded and can be told.
pub(super) fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_limit(&limits)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let mut lines = limits.lines();
    let values = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_others() {
        let all = Limits::default();
        let few = |open_files: usize| {
            let limits = all.fitting(open_files);
            (limits.max_connections, limits.max_draining)
        };
        assert_eq!(few(1 << 20), (512, 256));
        assert_eq!(few(1024), (512, 256), "what most systems allow");
        assert_eq!(few(128), (64, 32));
        assert_eq!(few(2), (1, 1));
        assert_eq!(few(0), (1, 0));
        let one = Limits {
            max_connections: 100,
            ..all
        };
        let fitted = one.fitting(256);
        assert_eq!((fitted.max_connections, fitted.max_draining), (100, 92));
        let tight = Limits {
            max_held_bytes: 1000,
            ..all
        };
        assert_eq!(tight.fitting(1024).max_body_bytes, 1000);
    }

    #[test]
    fn the_bound_on_files_is_read_from_what_the_system_says() {
        let limits = "Limit            Soft Limit Hard Limit Units\n\
                      Max processes    7          8          processes\n\
                      Max open files   1024       524288     files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit(&limits.replace("1024", "unlimited")), None);
        assert_eq!(soft_limit(""), None);
        #[cfg(target_os = "linux")]
        assert_ne!(open_files(), Some(0));
    }

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
