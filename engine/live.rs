//! The pipelines that are live: where they come from, what is built of them, and how others take
//! their place while requests are answered. A library: no process is needed to try it.
//!
//! - [`source`]: a folder, a file, or texts inside the program
//! - [`workshop`]: texts checked and bound with the stages that each may name, and built
//! - [`binding`]: which code of plugins may run meanwhile; [`steps`]: which does
//! - [`trial`]: what plugins would do, done in a process of its own first
//! - [`loading`]: all of that with time limits, on threads of its own
//! - [`generation`]: what was built together, its routes, and the swap of one for the next
//! - [`watch`]: a change of the files becomes a generation
//! - [`reloads`]: those that are asked for, and what came of the last ones
//!
//! # Invariants
//!
//! - A generation is built as a whole before it is swapped in; a mistake changes nothing.
//! - A request ends on the generation that it began on; each is closed once, after its requests.
//! - No code of a plugin runs on a thread that answers requests or waits for a signal, when
//!   pipelines are loaded and when they end; whoever waits for it does so for a bounded time.

pub mod binding;
pub mod generation;
mod home;
pub mod loading;
pub mod reloads;
pub mod source;
pub mod steps;
pub mod trial;
pub mod watch;
pub mod workshop;

pub use generation::{Generation, Live};
pub use loading::Loading;
pub use reloads::Reloads;
pub use source::{LoadError, Source};
pub use trial::Trial;
pub use workshop::Workshop;
