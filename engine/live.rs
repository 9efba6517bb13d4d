//! The pipelines that are live: where they come from, what is built of them, and how others take
//! their place while requests are answered. A library: no process is needed to try it.
//!
//! - [`source`]: a folder, a file, or texts inside the program
//! - [`workshop`]: texts checked and bound with the stages that each may name, and built
//! - [`generation`]: what was built together, its routes, and the swap of one for the next
//! - [`watch`]: a change of the files becomes a generation
//!
//! # Invariants
//!
//! - A generation is built as a whole before it is swapped in; a mistake changes nothing.
//! - A request ends on the generation that it began on; each is closed once, after its requests.

pub mod generation;
pub mod source;
pub mod watch;
pub mod workshop;

pub use generation::{Generation, Live};
pub use source::{LoadError, Source};
pub use workshop::Workshop;
