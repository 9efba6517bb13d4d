//! The engine: what runs any pipeline. It knows no stage by name, no model and no table.

pub mod http;
pub mod pipeline;
pub mod plugin;
