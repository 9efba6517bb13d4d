//! What is known of a request before its body.

use std::sync::Arc;

use warp::http::HeaderMap;

use super::connections::Seat;

/// A request without its body.
#[derive(Clone, Copy)]
pub(super) struct Head<'r> {
    pub(super) method: &'r str,
    pub(super) path: &'r str,
    /// Without the question mark; empty where there is none.
    pub(super) query: &'r str,
    /// By which name the service is called, where the request says so beside its headers.
    pub(super) authority: Option<&'r str>,
    pub(super) headers: &'r HeaderMap,
    pub(super) request_id: &'r Arc<str>,
    /// Its connection.
    pub(super) seat: &'r Seat,
    pub(super) is_http2: bool,
    pub(super) is_http10: bool,
    /// True where the service listens on a loopback address.
    pub(super) is_loopback: bool,
}
