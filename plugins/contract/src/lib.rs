//! What every stage agrees on: the values that travel between stages, the
//! ports they travel through, the [`Stage`] itself, and the errors it may give.
//!
//! # Layout
//!
//! - [`value`]: [`Value`] and the data it shares ([`Image`], [`Embedding`], [`Scores`], [`Tensor`])
//! - [`port`]: typed inputs and outputs, and what an output publishes in the response
//! - [`shape`]: what a JSON value looks like
//! - [`option`]: the schema of a stage's `with = { .. }` table and its checked values
//! - [`typed`]: ports and options as typed constants, by which stages read and write
//! - [`stage`]: [`StageKind`] (what a name stands for), [`Stage`] (one built instance), [`Call`]
//! - [`facts`]: what a stage says of itself
//! - [`error`]: [`Error`], sorted by what a client may do about it
//! - [`common`]: mechanisms that more than one room needs
//! - [`abi`]: the C ABI that carries all of this across the boundary of a library
//!
//! # Invariants
//!
//! - This crate depends on nothing of ours. The engine, the built-in stages and
//!   third-party plugins depend on it, and on each other never.
//! - It holds safe Rust types only, but for [`abi`], which declares C structs and has
//!   no behaviour: the host (`plugins/host`) and the SDK (`plugins/sdk`) translate.
//! - Values are cheap to clone: everything big sits behind a shared pointer.

pub mod abi;
pub mod common;
pub mod error;
pub mod facts;
pub mod option;
pub mod port;
pub mod shape;
pub mod stage;
pub mod typed;
pub mod value;

pub use bytes::Bytes;
pub use error::{Error, ErrorKind};
pub use facts::{Counters, Facts};
pub use option::{OptionFault, OptionSpec, OptionType, Options};
pub use port::{Input, Output, Ports, Presence, Publish};
pub use shape::JsonShape;
pub use stage::{
    AsyncStage, BoxFuture, Call, Cancel, Health, Inputs, Kind, Observed, Outputs, Runner, Stage,
    StageKind, StageSpec, Waiting,
};
pub use value::{Channels, Embedding, Image, PortType, Score, Scores, Tensor, TensorData, Value};
