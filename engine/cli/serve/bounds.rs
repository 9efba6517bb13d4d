//! Bounds on connections, and on the bodies of all requests together.

use std::time::Duration;

use clap::Args;
use engine::http::Limits;

use crate::cli::value::whole;

#[derive(Clone, Debug, Args)]
pub(super) struct BoundArgs {
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
        default_value_t = 10_000,
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    head_timeout_ms: u64,
    /// Longest time that a connection is kept open for another request, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 75_000,
        value_parser = |text: &str| whole(text, 1, 86_400_000)
    )]
    idle_timeout_ms: u64,
    /// Longest time without a byte of an answer that the client takes, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_WRITE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    write_timeout_ms: u64,
    /// How old a connection gets before the client is asked for another, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_MAX_CONNECTION_AGE_MS",
        value_name = "MS",
        default_value_t = 3_600_000,
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
}

impl BoundArgs {
    /// The same with the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn taking(&self, before: &Self, is_said: &dyn Fn(&str) -> bool) -> Self {
        let one = |id: &str| if is_said(id) { before } else { self };
        Self {
            max_connections: one("max_connections").max_connections,
            head_timeout_ms: one("head_timeout_ms").head_timeout_ms,
            idle_timeout_ms: one("idle_timeout_ms").idle_timeout_ms,
            write_timeout_ms: one("write_timeout_ms").write_timeout_ms,
            max_connection_age_ms: one("max_connection_age_ms").max_connection_age_ms,
            max_streams: one("max_streams").max_streams,
            max_coming_bodies: one("max_coming_bodies").max_coming_bodies,
            max_held_bytes: one("max_held_bytes").max_held_bytes,
        }
    }

    /// Those of them, beside what is the default.
    ///
    /// # Errors
    /// A number that this machine cannot count to.
    pub(super) fn limits(&self) -> Result<Limits, std::num::TryFromIntError> {
        Ok(Limits {
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
}
