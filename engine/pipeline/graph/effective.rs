//! The graph without what is off and what that takes with it, and its response.

use super::binder::Binder;
use super::order::in_order;
use super::{Asked, Graph, Node, Source, State, demand, needed};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};

impl Binder<'_> {
    /// The graph without what is off and what that takes with it.
    ///
    /// # Errors
    /// A response that contradicts itself.
    pub(super) fn effective_graph(self, order: &[usize]) -> Result<Graph, Diagnostics> {
        let stages = &self.file.stages;
        let mut states: Vec<State> = stages
            .iter()
            .map(|stage| {
                if stage.enabled {
                    State::Active
                } else {
                    State::Disabled
                }
            })
            .collect();
        for node in order {
            if states[*node] == State::Active
                && let Some(reason) = self.why_prune(*node, &states)
            {
                states[*node] = State::Pruned(reason);
            }
        }
        let active = |node: usize| states[node] == State::Active;
        let live = |sources: &[Source]| -> Vec<Source> {
            let sources = sources.iter().copied();
            sources
                .filter(|source| source.node().is_none_or(active))
                .collect()
        };
        let (response, warnings) = self.response(active)?;
        let mut warnings = {
            let mut all = self.file.warnings.clone();
            all.extend(self.warnings.clone());
            all.extend(warnings);
            all
        };
        let mut nodes: Vec<Node> = (0..stages.len())
            .map(|node| Node {
                ports: self.ports[node].clone(),
                state: states[node].clone(),
                inputs: self.inputs[node]
                    .iter()
                    .map(|sources| live(sources))
                    .collect(),
                condition: self.conditions[node].clone(),
                asked: self.asked[node]
                    .iter()
                    .map(|asked| match asked {
                        Asked::Value(sources) => Asked::Value(live(sources)),
                        Asked::Ran(ran) => Asked::Ran(ran.filter(|node| active(*node))),
                    })
                    .collect(),
                depends_on: self.feeders(node, active),
                demand: None,
                waits_to_decide: Vec::new(),
            })
            .collect();
        if response.is_empty() && !self.file.has_unreadable_part {
            let name = &self.file.name;
            let message = format!(
                "the answers of `{}` are empty: no stage publishes anything",
                name.get_ref()
            );
            let empty = Diagnostic::new(&self.file.source, name.span(), message);
            warnings
                .push(empty.help("add a stage, or show an output: publish = { port = \"field\" }"));
        }
        for (node, odd) in demand::bind(stages, &mut nodes, &response) {
            let name = &stages[node].name;
            let message = format!("`{}` is to run on demand, and {odd}", name.get_ref());
            warnings.push(Diagnostic::new(&self.file.source, name.span(), message));
        }
        // What runs on demand waits for more than what feeds it.
        let order = in_order(nodes.len(), |node| nodes[node].depends_on.clone());
        let order = order.expect("a stage waits only for those that do not wait for it");
        Ok(Graph {
            response,
            warnings,
            file: self.file.clone(),
            order: order.into_iter().filter(|node| active(*node)).collect(),
            nodes,
            request_ports: self.request_ports,
        })
    }

    fn why_prune(&self, node: usize, states: &[State]) -> Option<String> {
        let ports = &self.ports[node].inputs;
        let is_active = |node: usize| states[node] == State::Active;
        let is_fed = |at: usize| {
            let mut sources = self.inputs[node][at].iter();
            sources.any(|source| source.node().is_none_or(is_active))
        };
        for (at, (input, sources)) in ports.iter().zip(&self.inputs[node]).enumerate() {
            if needed(ports, at).is_none_or(|mut any| any.any(is_fed)) {
                continue;
            }
            let lost: Vec<String> = sources
                .iter()
                .filter_map(|source| source.node())
                .map(|node| {
                    let name = self.file.stages[node].name.get_ref();
                    let state = if states[node] == State::Disabled {
                        "disabled"
                    } else {
                        "pruned"
                    };
                    format!("`{name}`, which is {state}")
                })
                .collect();
            if lost.is_empty() {
                return Some(format!("its input `{}` is unbound", input.name));
            }
            return Some(format!(
                "its input `{}` came from {}",
                input.name,
                lost.join(", and from ")
            ));
        }
        None
    }
}
