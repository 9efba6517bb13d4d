//! What several tests need.

pub(crate) mod database;
pub(crate) mod database_server;
pub(crate) mod http;
pub(crate) mod kinds;
pub(crate) mod pictures;
pub(crate) mod program;
