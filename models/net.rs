//! The network in its folded, inference-only form, channels last: named weights, the towers that
//! take them, and the operations that these run.

pub(crate) mod ops;
pub(crate) mod towers;
pub(crate) mod weights;
