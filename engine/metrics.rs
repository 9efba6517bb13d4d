//! Numbers for the operator, as Prometheus reads them.
//!
//! What happens often is counted where it happens, by meters that are found once, when a pipeline
//! is built: an addition to an atomic number each, without a lock and without a name. A scrape
//! walks over what is live and gathers all of it into families, so that what is gone is told no
//! more. Nothing here knows of pipelines or of HTTP.
//!
//! - [`histogram`]: durations, by bounds that stand for all
//! - [`stage`]: what is counted of each stage and of each pipeline
//! - [`route`]: what is counted of each route
//! - [`reloads`]: how loads of pipelines ended
//! - [`numbers`]: what stages count themselves
//! - [`process`]: what the system knows of the process
//! - [`families`]: all of it by name, and its text
//! - [`trace_context`]: whose request a request is a part of
//!
//! # Invariants
//!
//! - A label's value comes from a fixed set, or is a name that the operator gave, or one of those
//!   few that the host takes from a plugin: never a path, a hash or a word of a client.
//! - A meter goes on over reloads for as long as a stage of that name is there; one that is gone
//!   and comes back begins anew, as Prometheus expects of counters.

pub mod families;
pub mod histogram;
pub mod numbers;
pub mod process;
pub mod reloads;
pub mod route;
pub mod stage;
pub mod trace_context;

pub use families::{Families, Format};
pub use histogram::Histogram;
pub use reloads::ReloadNumbers;
pub use route::RouteMeters;
pub use stage::{PipelineMeters, StageMeters};
pub use trace_context::TraceContext;
