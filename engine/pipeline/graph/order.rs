//! An order in which every stage comes after those that feed it.

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use super::Asked;
use super::binder::Binder;

fn edges(
    nodes: usize,
    feeders: impl Fn(usize) -> Vec<usize>,
) -> (DiGraph<usize, ()>, Vec<NodeIndex>) {
    let mut graph = DiGraph::new();
    let indices: Vec<NodeIndex> = (0..nodes).map(|node| graph.add_node(node)).collect();
    for node in 0..nodes {
        for feeder in feeders(node) {
            graph.update_edge(indices[feeder], indices[node], ());
        }
    }
    (graph, indices)
}

/// Every node after those that it waits for; [`None`] where they wait for each other.
pub(super) fn in_order(nodes: usize, feeders: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    let (graph, _) = edges(nodes, feeders);
    let order = toposort(&graph, None).ok()?;
    Some(order.into_iter().map(|index| graph[index]).collect())
}

impl Binder<'_> {
    /// Every stage after those that feed it; a cycle is reported.
    pub(super) fn find_order(&mut self) -> Vec<usize> {
        let (graph, indices) = edges(self.ports.len(), |node| self.feeders(node, |_| true));
        if let Ok(order) = toposort(&graph, None) {
            return order.into_iter().map(|index| graph[index]).collect();
        }
        for component in tarjan_scc(&graph) {
            let mut members: Vec<usize> = component.iter().map(|index| graph[*index]).collect();
            members.sort_unstable();
            let in_cycle =
                members.len() > 1 || graph.contains_edge(indices[members[0]], indices[members[0]]);
            if in_cycle {
                self.report_cycle(&members);
            }
        }
        Vec::new()
    }

    fn report_cycle(&mut self, members: &[usize]) {
        let names: Vec<&str> = members
            .iter()
            .chain(&members[..1])
            .map(|node| self.file.stages[*node].name.get_ref().as_str())
            .collect();
        let path = names.join(" -> ");
        // Only a binding by hand can point forward, so one of them closes the cycle.
        let span = members
            .iter()
            .flat_map(|node| {
                let inputs = self.file.stages[*node].inputs.iter();
                let sources = inputs.flat_map(|input| &input.from);
                sources.map(move |from| (node, from))
            })
            .find(|(node, from)| {
                let stage = from.get_ref().rsplit_once('.').map(|(stage, _)| stage);
                members.iter().any(|member| {
                    member >= *node && stage == Some(self.file.stages[*member].name.get_ref())
                })
            })
            .map_or_else(
                || self.file.stages[members[0]].name.span(),
                |(_, from)| from.span(),
            );
        self.report(
            span,
            format!("stages feed each other in a cycle: {path}"),
            Some("bind this input to a stage that does not depend on its own".into()),
        );
    }

    /// The nodes that feed a node, through ports or its condition.
    pub(super) fn feeders(&self, node: usize, active: impl Fn(usize) -> bool) -> Vec<usize> {
        let ports = self.inputs[node].iter();
        let feeding = ports.flatten().filter_map(|source| source.node());
        let asked = self.asked[node].iter().flat_map(Asked::nodes);
        let mut feeders: Vec<usize> = feeding.chain(asked).filter(|node| active(*node)).collect();
        feeders.sort_unstable();
        feeders.dedup();
        feeders
    }
}
