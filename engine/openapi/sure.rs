//! Which fields of an answer always hold what a stage gave, and which may show what stands for
//! nothing.
//!
//! What the operator can switch without writing the file anew counts as if it were off, so that a
//! client that was made from the document goes on to understand the answers.

use omnizap_contract::{Input, Presence};

use crate::pipeline::config::OnError;
use crate::pipeline::graph::{Graph, Node, ResponseField, Source, State};

/// What is sure of a graph.
pub(super) struct Sure<'g> {
    graph: &'g Graph,
    /// Ports of the request that have a value in every request.
    request: Vec<bool>,
    /// Nodes that run in every request that goes well, or fail and are skipped.
    starts: Vec<bool>,
}

impl<'g> Sure<'g> {
    pub(super) fn of(graph: &'g Graph) -> Self {
        let fields = graph.file.request.iter();
        let request = fields.flat_map(|field| {
            let is_sure = field.is_sure();
            // What an upload says of itself it may leave out.
            let ports = field.ports().enumerate();
            ports.map(move |(position, _)| position == 0 && is_sure)
        });
        let mut sure = Self {
            graph,
            request: request.collect(),
            starts: vec![false; graph.nodes.len()],
        };
        for node in &graph.order {
            sure.starts[*node] = sure.does_start(*node);
        }
        sure
    }

    /// True where an answer always shows a value that a stage gave or a request brought.
    pub(super) fn is_filled(&self, field: &ResponseField) -> bool {
        field.is_required || field.sources.iter().any(|source| self.gives(*source))
    }

    fn does_start(&self, index: usize) -> bool {
        let entry = &self.graph.file.stages[index];
        let node = &self.graph.nodes[index];
        let is_firm = node.state == State::Active
            && !entry.is_toggled
            && entry.condition.is_none()
            && !entry.on_demand;
        let inputs = 0..node.ports.inputs.len();
        is_firm && inputs.into_iter().all(|at| self.is_fed(node, at))
    }

    /// True where a node has what it needs at an input.
    fn is_fed(&self, node: &Node, at: usize) -> bool {
        let has = |at: usize| {
            let mut sources = node.inputs[at].iter();
            sources.any(|source| self.gives(*source))
        };
        let input: &Input = &node.ports.inputs[at];
        let is_required = matches!(input.presence, Presence::Required);
        let other = input.unless.as_ref().filter(|_| !is_required);
        if !is_required && other.is_none() {
            return true;
        }
        let mut inputs = node.ports.inputs.iter();
        let other = other.and_then(|other| inputs.position(|input| input.name == *other));
        has(at) || other.is_some_and(has)
    }

    fn gives(&self, source: Source) -> bool {
        match source {
            Source::Request(port) => self.request[port],
            Source::Stage { node, output } => {
                let port = &self.graph.nodes[node].ports.outputs[output];
                let never_fails = self.graph.file.stages[node].on_error == OnError::Fail;
                self.starts[node] && !port.optional && (never_fails || port.failed.is_some())
            }
        }
    }
}
