//! What several tests need.

pub(crate) mod http;
pub(crate) mod kinds;
pub(crate) mod program;
