//! The graph without what is off and what that takes with it, and its response.

use omnizap_contract::Presence;
use serde_json::Value as Json;

use super::binder::Binder;
use super::{Graph, Node, ResponseField, Source, State};

impl Binder<'_> {
    /// The graph without what is off and what that takes with it.
    pub(super) fn effective_graph(self, order: &[usize]) -> Graph {
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
                .filter(|source| match source {
                    Source::Request(_) => true,
                    Source::Stage { node, .. } => active(*node),
                })
                .collect()
        };
        let nodes = (0..stages.len())
            .map(|node| Node {
                ports: self.ports[node].clone(),
                state: states[node].clone(),
                inputs: self.inputs[node]
                    .iter()
                    .map(|sources| live(sources))
                    .collect(),
                variables: self.variables[node]
                    .iter()
                    .map(|(sources, neutral)| (live(sources), neutral.clone()))
                    .collect(),
                depends_on: self.feeders(node, active),
            })
            .collect();
        Graph {
            response: self.response(active),
            file: self.file.clone(),
            nodes,
            order: order.iter().copied().filter(|node| active(*node)).collect(),
            request_ports: self.request_ports,
        }
    }

    fn why_prune(&self, node: usize, states: &[State]) -> Option<String> {
        let ports = self.ports[node].inputs.iter().zip(&self.inputs[node]);
        for (input, sources) in ports {
            let fed = sources.iter().any(|source| match source {
                Source::Request(_) => true,
                Source::Stage { node, .. } => states[*node] == State::Active,
            });
            if fed || !matches!(input.presence, Presence::Required) {
                continue;
            }
            let lost: Vec<String> = sources
                .iter()
                .filter_map(|source| match source {
                    Source::Stage { node, .. } => Some(*node),
                    Source::Request(_) => None,
                })
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
            return Some(format!(
                "its input `{}` came from {}",
                input.name,
                lost.join(", and from ")
            ));
        }
        None
    }

    fn response(&self, active: impl Fn(usize) -> bool) -> Vec<ResponseField> {
        let mut fields: Vec<ResponseField> = Vec::new();
        for (node, ports) in self.ports.iter().enumerate() {
            for (output, port) in ports.outputs.iter().enumerate() {
                let Some(publish) = &port.publish else {
                    continue;
                };
                let index = fields
                    .iter()
                    .position(|field| field.name == publish.field)
                    .unwrap_or_else(|| {
                        fields.push(ResponseField {
                            name: publish.field.to_string(),
                            sources: Vec::new(),
                            neutral: Json::Null,
                            decimals: None,
                        });
                        fields.len() - 1
                    });
                let field = &mut fields[index];
                field.neutral = publish.neutral.clone();
                field.decimals = publish.decimals;
                if active(node) {
                    field.sources.insert(0, Source::Stage { node, output });
                }
            }
        }
        // What an upload says of itself comes last, unless a stage says better.
        let mut port = 0;
        for field in &self.file.request {
            for (position, (name, _)) in field.ports().enumerate() {
                if position > 0 && !fields.iter().any(|field| field.name == *name.get_ref()) {
                    fields.push(ResponseField {
                        name: name.get_ref().clone(),
                        sources: vec![Source::Request(port)],
                        neutral: Json::Null,
                        decimals: None,
                    });
                }
                port += 1;
            }
        }
        fields
    }
}
