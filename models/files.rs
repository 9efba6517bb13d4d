//! Models as files: checkpoints read and folded into named weights, the records kept of them, what
//! lies beside them, and where they are on this machine and come from.

pub mod bare;
pub(crate) mod beside;
pub(crate) mod cache;
pub(crate) mod checkpoint;
pub mod hub;
pub(crate) mod import;
pub(crate) mod mapping;
pub(crate) mod record;
