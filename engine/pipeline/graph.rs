//! Ports bound to what feeds them, switched-off stages pruned, an order found.
//! Pure: a checked file in, a [`Graph`] or all of its mistakes out.
//!
//! # How ports bind
//!
//! An input sees the nearest earlier output of its name and type, as a `let`
//! shadows an earlier one; then older ones, for when the nearer is skipped; last
//! the request's field of that name. `inputs = { port = "stage.port" }` binds by
//! hand, and to that output only. A switched-off stage takes part in nothing,
//! and whoever required what only it gave is pruned with it.

mod binder;
mod demand;
mod effective;
mod order;
mod required;
mod response;

use omnizap_contract::{PortType, Ports};
use serde_json::Value as Json;

use self::binder::Binder;
use super::config::{PipelineFile, REQUEST};
use super::diagnostic::Diagnostics;

/// A pipeline whose edges are known.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The file that it was made from.
    pub file: PipelineFile,
    /// Ports of the request: fields, and what an upload says of itself.
    pub request_ports: Vec<(String, PortType)>,
    /// One node for each stage of the file, in its order.
    pub nodes: Vec<Node>,
    /// The active nodes, each after all that it depends on.
    pub order: Vec<usize>,
    /// Fields of the response, in their order.
    pub response: Vec<ResponseField>,
    /// What is allowed and may not be meant.
    pub warnings: Diagnostics,
}

/// A stage in its graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Ports under the options in force.
    pub ports: Ports,
    /// Whether the stage takes part.
    pub state: State,
    /// For each input port what may feed it, nearest first.
    pub inputs: Vec<Vec<Source>>,
    /// For each variable of the condition what may feed it, nearest first, and
    /// what it is when nothing does.
    pub variables: Vec<(Vec<Source>, Json)>,
    /// The active nodes that must have ended before this one starts.
    pub depends_on: Vec<usize>,
    /// Where it runs on demand, those that may ask for it.
    pub demand: Option<Vec<Demander>>,
    /// The nodes that must have ended before it is known whether anyone asks for it.
    waits_to_decide: Vec<usize>,
}

/// A node that takes what another gives that runs on demand.
#[derive(Clone, Debug)]
pub struct Demander {
    /// Which.
    pub node: usize,
    /// Whether its condition is known before; it asks for nothing where that is false.
    pub asks_condition: bool,
    /// Whether it runs on demand itself; then it asks where somebody asks for it.
    pub asks_demand: bool,
    /// For each of its inputs that the other one feeds, what makes the input unnecessary; `None`
    /// where one of them is necessary.
    pub unless: Option<Vec<Vec<Source>>>,
}

/// Whether a stage takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// Its file says `enabled = false`.
    Disabled,
    /// What it requires has no producer left; the text says why.
    Pruned(String),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A port of the request, by index.
    Request(usize),
    /// An output of a stage, both by index.
    Stage {
        /// Which node.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

/// A field of the response.
#[derive(Clone, Debug)]
pub struct ResponseField {
    /// Its name.
    pub name: String,
    /// What may fill it, the latest first.
    pub sources: Vec<Source>,
    /// What it shows when nothing fills it.
    pub neutral: Json,
    /// Decimals that its numbers are rounded to.
    pub decimals: Option<u8>,
}

impl Graph {
    /// `stage.port`, or `request.port`.
    #[must_use]
    pub fn source_name(&self, source: Source) -> String {
        match source {
            Source::Request(port) => format!("{REQUEST}.{}", self.request_ports[port].0),
            Source::Stage { node, output } => format!(
                "{}.{}",
                self.stage_name(node),
                self.nodes[node].ports.outputs[output].name
            ),
        }
    }

    /// The name of a node's stage.
    #[must_use]
    pub fn stage_name(&self, node: usize) -> &str {
        self.file.stages[node].name.get_ref()
    }
}

/// Binds a file's stages.
///
/// # Errors
/// Every binding, condition, cycle and requirement that does not hold.
pub fn bind(file: &PipelineFile) -> Result<Graph, Diagnostics> {
    let mut binder = Binder::new(file);
    for index in 0..file.stages.len() {
        binder.bind_stage(index);
    }
    let order = binder.find_order();
    binder.diagnostics.clone().into_result()?;
    let graph = binder.effective_graph(&order)?;
    required::check(&graph)?;
    Ok(graph)
}
