//! Stages that run on demand: who may ask for them, and what must be known before that is told.
//!
//! Whoever takes what such a stage gives asks for it, unless its own `if` is false or the input
//! need not be looked at, because another one is there ([`omnizap_contract::Input::unless`]). So
//! the stage waits for whatever those decisions wait for. Where one of them waits for the stage
//! itself, nothing can be told before, and the stage is taken to be needed.

use omnizap_contract::Presence;

use super::{Asked, Demander, Node, ResponseField, Source, State};
use crate::pipeline::config::StageEntry;

/// Finds for each active stage on demand who asks for it, and makes it wait for what tells whether
/// they do.
///
/// Gives what is odd about a stage on demand, by its node.
pub(super) fn bind(
    stages: &[StageEntry],
    nodes: &mut [Node],
    response: &[ResponseField],
) -> Vec<(usize, &'static str)> {
    let mut odd = Vec::new();
    // Later stages first: whether one of them runs may decide about an earlier one.
    for node in (0..nodes.len()).rev() {
        let is_shown = response
            .iter()
            .any(|field| comes_from(&field.sources, node));
        if !stages[node].on_demand || nodes[node].state != State::Active {
            continue;
        }
        if is_shown {
            odd.push((node, "it runs always: the response shows what it gives"));
            continue;
        }
        let mut demanders = Vec::new();
        for other in 0..nodes.len() {
            if nodes[other].state == State::Active {
                demanders.extend(demander(stages, nodes, node, other));
            }
        }
        if demanders.is_empty() {
            odd.push((node, "it never runs: no active stage takes what it gives"));
        }
        for demander in &demanders {
            let mut waits = Vec::new();
            if demander.asks_condition {
                waits.extend(nodes[demander.node].asked.iter().flat_map(Asked::nodes));
            }
            let unless = demander.unless.iter().flatten().flatten();
            waits.extend(unless.filter_map(|source| source.node()));
            if demander.asks_demand {
                waits.extend(nodes[demander.node].waits_to_decide.iter().copied());
            }
            nodes[node].waits_to_decide.extend(waits);
        }
        let waits = &mut nodes[node].waits_to_decide;
        waits.sort_unstable();
        waits.dedup();
        let waits = waits.clone();
        let depends_on = &mut nodes[node].depends_on;
        depends_on.extend(waits);
        depends_on.sort_unstable();
        depends_on.dedup();
        nodes[node].demand = Some(demanders);
    }
    odd
}

/// Whether and when `other` asks for what `node` gives.
fn demander(stages: &[StageEntry], nodes: &[Node], node: usize, other: usize) -> Option<Demander> {
    let asked = &nodes[other].asked;
    let decides = asked.iter().any(|asked| comes_from(asked.sources(), node));
    let ports = nodes[other].ports.inputs.iter().zip(&nodes[other].inputs);
    let fed: Vec<_> = ports
        .filter(|(_, sources)| comes_from(sources, node))
        .map(|(port, _)| port)
        .collect();
    if fed.is_empty() && !decides {
        return None;
    }
    let is_before = |source: usize| source != node && !depends(nodes, source, node);
    let known_before = |source: &Source| source.node().is_none_or(is_before);
    let is_condition_known = asked.iter().flat_map(Asked::nodes).all(is_before);
    // For each input that it feeds, what makes that input unnecessary.
    let unless: Option<Vec<Vec<Source>>> = fed
        .iter()
        .map(|port| {
            // What is required is needed, whatever else there is.
            let is_required = matches!(port.presence, Presence::Required);
            let unless = port.unless.as_ref().filter(|_| !is_required)?;
            let mut ports = nodes[other].ports.inputs.iter();
            let at = ports.position(|port| port.name == *unless)?;
            let sources = &nodes[other].inputs[at];
            sources.iter().all(known_before).then(|| sources.clone())
        })
        .collect();
    let is_on_demand = stages[other].on_demand && nodes[other].demand.is_some();
    let waits = &nodes[other].waits_to_decide;
    let is_demand_known = waits
        .iter()
        .all(|source| *source != node && !depends(nodes, *source, node));
    Some(Demander {
        node: other,
        asks_condition: !decides && stages[other].condition.is_some() && is_condition_known,
        asks_demand: is_on_demand && is_demand_known,
        unless: unless.filter(|_| !decides),
    })
}

/// True where one of the sources is a value that a node gives.
fn comes_from(sources: &[Source], wanted: usize) -> bool {
    let is_wanted =
        |source: &Source| matches!(source, Source::Stage { node, .. } if *node == wanted);
    sources.iter().any(is_wanted)
}

/// True where a node waits for another, directly or through others.
fn depends(nodes: &[Node], node: usize, on: usize) -> bool {
    let mut seen = vec![false; nodes.len()];
    let mut open = vec![node];
    while let Some(next) = open.pop() {
        for feeder in &nodes[next].depends_on {
            if *feeder == on {
                return true;
            }
            if !std::mem::replace(&mut seen[*feeder], true) {
                open.push(*feeder);
            }
        }
    }
    false
}
