//! Bounds on connections, on requests, and on their bodies, each and all together.

use std::time::Duration;

use clap::Args;
use engine::http::Limits;
use engine::pipeline::build::AdmissionLimits;

use crate::cli::value::{ms, whole};

#[derive(Clone, Debug, Args)]
pub(super) struct BoundArgs {
    /// Largest request body, in bytes
    #[arg(
        long,
        env = "OMNIZAP_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().max_body_bytes as u64,
        value_parser = |text: &str| whole(text, 1, 1 << 30)
    )]
    max_body_bytes: u64,
    /// Most requests in flight; further ones are answered 429
    #[arg(
        long,
        env = "OMNIZAP_MAX_REQUESTS_IN_FLIGHT",
        value_name = "N",
        default_value_t = Limits::default().max_requests_in_flight as u64,
        value_parser = |text: &str| whole(text, 1, 65_536)
    )]
    max_requests_in_flight: u64,
    /// Longest time without a byte of a request body, in milliseconds; 408 beyond
    #[arg(
        long,
        env = "OMNIZAP_BODY_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().body_idle_timeout),
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    body_idle_timeout_ms: u64,
    /// Longest time for a whole request body, in milliseconds; 408 beyond
    #[arg(
        long,
        env = "OMNIZAP_BODY_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().body_timeout),
        value_parser = |text: &str| whole(text, 1, 86_400_000)
    )]
    body_timeout_ms: u64,
    /// Longest time that a body is read on after an early answer, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_DRAIN_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().drain_timeout),
        value_parser = |text: &str| whole(text, 0, 3_600_000)
    )]
    drain_timeout_ms: u64,
    /// Most bytes of a body that are read on after an early answer
    #[arg(
        long,
        env = "OMNIZAP_MAX_DRAIN_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().max_drain_bytes as u64,
        value_parser = |text: &str| whole(text, 0, 1 << 40)
    )]
    max_drain_bytes: u64,
    /// Most connections at one time; beyond, the one that has waited longest for a request gives
    /// way
    #[arg(
        long,
        env = "OMNIZAP_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = Limits::default().max_connections as u64,
        value_parser = |text: &str| whole(text, 1, 16_384)
    )]
    max_connections: u64,
    /// Longest time for the head of a request, in milliseconds; the connection is closed beyond
    #[arg(
        long,
        env = "OMNIZAP_HEAD_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().head_timeout),
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    head_timeout_ms: u64,
    /// Longest time that a connection is kept open for another request, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().idle_timeout),
        value_parser = |text: &str| whole(text, 1, 86_400_000)
    )]
    idle_timeout_ms: u64,
    /// Longest time without a byte of an answer that the client takes, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_WRITE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().write_timeout),
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    write_timeout_ms: u64,
    /// How old a connection gets before the client is asked for another, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_MAX_CONNECTION_AGE_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().max_connection_age),
        value_parser = |text: &str| whole(text, 1, 864_000_000)
    )]
    max_connection_age_ms: u64,
    /// Most requests at one time over one connection of HTTP/2
    #[arg(
        long,
        env = "OMNIZAP_MAX_STREAMS",
        value_name = "N",
        default_value_t = u64::from(Limits::default().max_streams),
        value_parser = |text: &str| whole(text, 1, 1024)
    )]
    max_streams: u64,
    /// Most requests whose bodies are coming; beyond, one that has been at it longest is answered
    /// 503
    #[arg(
        long,
        env = "OMNIZAP_MAX_COMING_BODIES",
        value_name = "N",
        default_value_t = Limits::default().max_coming_bodies as u64,
        value_parser = |text: &str| whole(text, 1, 65_536)
    )]
    max_coming_bodies: u64,
    /// Most bytes of request bodies that are held in all; beyond, the largest that is still coming
    /// is answered 503. No single body may be larger
    #[arg(
        long,
        env = "OMNIZAP_MAX_HELD_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().max_held_bytes as u64,
        value_parser = |text: &str| whole(text, 1, 1 << 40)
    )]
    max_held_bytes: u64,
    /// So many requests of a pipeline in flight are always taken, however many more come than can
    /// be answered; with as many as may be in flight, all are
    #[arg(
        long,
        env = "OMNIZAP_ADMISSION_ALWAYS",
        value_name = "N",
        default_value_t = AdmissionLimits::default().always as u64,
        value_parser = |text: &str| whole(text, 1, 65_536)
    )]
    admission_always: u64,
    /// How many times as many requests as keep a pipeline busy may come in a burst, if they are not
    /// done within a quarter of a second anyway; of more, those that cannot be answered in good
    /// time are answered 429 at once
    #[arg(
        long,
        env = "OMNIZAP_ADMISSION_BURST",
        value_name = "N",
        default_value_t = AdmissionLimits::default().burst as u64,
        value_parser = |text: &str| whole(text, 2, 1000)
    )]
    admission_burst: u64,
}

impl BoundArgs {
    /// The same with the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn taking(&self, before: &Self, is_said: &dyn Fn(&str) -> bool) -> Self {
        let one = |id: &str| if is_said(id) { before } else { self };
        Self {
            max_body_bytes: one("max_body_bytes").max_body_bytes,
            max_requests_in_flight: one("max_requests_in_flight").max_requests_in_flight,
            body_idle_timeout_ms: one("body_idle_timeout_ms").body_idle_timeout_ms,
            body_timeout_ms: one("body_timeout_ms").body_timeout_ms,
            drain_timeout_ms: one("drain_timeout_ms").drain_timeout_ms,
            max_drain_bytes: one("max_drain_bytes").max_drain_bytes,
            max_connections: one("max_connections").max_connections,
            head_timeout_ms: one("head_timeout_ms").head_timeout_ms,
            idle_timeout_ms: one("idle_timeout_ms").idle_timeout_ms,
            write_timeout_ms: one("write_timeout_ms").write_timeout_ms,
            max_connection_age_ms: one("max_connection_age_ms").max_connection_age_ms,
            max_streams: one("max_streams").max_streams,
            max_coming_bodies: one("max_coming_bodies").max_coming_bodies,
            max_held_bytes: one("max_held_bytes").max_held_bytes,
            admission_always: one("admission_always").admission_always,
            admission_burst: one("admission_burst").admission_burst,
        }
    }

    /// Those of them, beside what is the default.
    ///
    /// # Errors
    /// A number that this machine cannot count to.
    pub(super) fn limits(&self) -> Result<Limits, std::num::TryFromIntError> {
        Ok(Limits {
            max_body_bytes: usize::try_from(self.max_body_bytes)?,
            max_requests_in_flight: usize::try_from(self.max_requests_in_flight)?,
            body_idle_timeout: Duration::from_millis(self.body_idle_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            max_drain_bytes: usize::try_from(self.max_drain_bytes)?,
            max_connections: usize::try_from(self.max_connections)?,
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            max_connection_age: Duration::from_millis(self.max_connection_age_ms),
            max_streams: u32::try_from(self.max_streams)?,
            max_coming_bodies: usize::try_from(self.max_coming_bodies)?,
            max_held_bytes: usize::try_from(self.max_held_bytes)?,
            ..Limits::default()
        })
    }

    /// Those of which requests are taken.
    ///
    /// # Errors
    /// As [`BoundArgs::limits`].
    pub(super) fn admission(&self) -> Result<AdmissionLimits, std::num::TryFromIntError> {
        Ok(AdmissionLimits {
            always: usize::try_from(self.admission_always)?,
            burst: usize::try_from(self.admission_burst)?,
        })
    }
}
