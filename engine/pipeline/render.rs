//! A graph for people and tools: text, Mermaid, Graphviz DOT, JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use omnizap_contract::Presence;
use serde_json::{Value as Json, json};

use super::graph::{Graph, Source, State};

/// How to show a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented text.
    Text,
    /// A Mermaid flowchart: <https://mermaid.js.org>.
    Mermaid,
    /// A Graphviz digraph: <https://graphviz.org>.
    Dot,
    /// JSON.
    Json,
}

/// Shows a graph.
#[must_use]
pub fn render(graph: &Graph, format: Format) -> String {
    match format {
        Format::Text => text(graph),
        Format::Mermaid => mermaid(graph),
        Format::Dot => dot(graph),
        Format::Json => format!("{:#}", to_json(graph)),
    }
}

fn text(graph: &Graph) -> String {
    let mut out = String::new();
    let route = graph.file.route.as_ref();
    let route = route.map_or("no route".to_owned(), |route| route.get_ref().to_string());
    let _ = writeln!(out, "{} ({route})", graph.file.name.get_ref());
    let fields: Vec<_> = graph
        .request_ports
        .iter()
        .map(|(name, ty)| format!("{name}: {ty}"))
        .collect();
    let _ = writeln!(out, "  request  {}", fields.join(", "));
    let width = graph
        .file
        .stages
        .iter()
        .map(|stage| stage.name.get_ref().len())
        .max();
    let width = width.unwrap_or(0);
    for (index, node) in graph.nodes.iter().enumerate() {
        let entry = &graph.file.stages[index];
        let name = entry.name.get_ref();
        match &node.state {
            State::Disabled => {
                let _ = writeln!(out, "  - {name:width$}  off: enabled = false");
                continue;
            }
            State::Pruned(reason) => {
                let _ = writeln!(out, "  - {name:width$}  pruned: {reason}");
                continue;
            }
            State::Active => {}
        }
        let outputs: Vec<_> = node
            .ports
            .outputs
            .iter()
            .map(|output| match &output.publish {
                Some(_) => format!("{}*", output.name),
                None => output.name.to_string(),
            })
            .collect();
        let inputs: Vec<_> = node
            .ports
            .inputs
            .iter()
            .zip(&node.inputs)
            .map(|(input, sources)| match sources.first() {
                Some(source) => {
                    let others = if sources.len() > 1 {
                        let rest = sources[1..].iter().map(|source| graph.source_name(*source));
                        format!(" (else {})", rest.collect::<Vec<_>>().join(", "))
                    } else {
                        String::new()
                    };
                    format!("{}{others}", graph.source_name(*source))
                }
                None => match &input.presence {
                    Presence::Default(_) => format!("{} = its default", input.name),
                    _ => format!("no {}", input.name),
                },
            })
            .collect();
        let _ = writeln!(
            out,
            "  + {name:width$}  {} -> {}",
            if inputs.is_empty() {
                "nothing".into()
            } else {
                inputs.join(", ")
            },
            if outputs.is_empty() {
                "nothing".into()
            } else {
                outputs.join(", ")
            },
        );
        if let Some(condition) = &entry.condition {
            let _ = writeln!(out, "    {:width$}  if {}", "", condition.get_ref().text());
        }
        if entry.on_demand {
            let _ = writeln!(out, "    {:width$}  on demand", "");
        }
        if graph.file.source.names().count() > 1 {
            let _ = writeln!(out, "    {:width$}  from {}", "", from(&entry.origin));
        }
    }
    let _ = write!(out, "  response  ");
    let fields = graph.response.iter().map(|field| {
        let live = if field.sources.is_empty() {
            " (neutral)"
        } else {
            ""
        };
        format!("{}{live}", field.name)
    });
    let _ = writeln!(out, "{}", fields.collect::<Vec<_>>().join(", "));
    out
}

/// The files that say something of a stage, the deepest first.
fn from(origin: &[(Arc<str>, usize)]) -> String {
    let places = origin.iter().map(|(file, line)| format!("{file}:{line}"));
    places.collect::<Vec<_>>().join(", changed by ")
}

/// Edges between active nodes: from, to, the ports on the way.
fn edges(graph: &Graph) -> Vec<(Option<usize>, usize, String)> {
    let mut edges: Vec<(Option<usize>, usize, Vec<String>)> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.state != State::Active {
            continue;
        }
        let variables = node.variables.iter().map(|(sources, _)| sources);
        for source in node.inputs.iter().chain(variables).flatten() {
            let (from, port) = match *source {
                Source::Request(port) => (None, graph.request_ports[port].0.clone()),
                Source::Stage { node, output } => (
                    Some(node),
                    graph.nodes[node].ports.outputs[output].name.to_string(),
                ),
            };
            match edges
                .iter_mut()
                .find(|edge| edge.0 == from && edge.1 == index)
            {
                Some(edge) if edge.2.contains(&port) => {}
                Some(edge) => edge.2.push(port),
                None => edges.push((from, index, vec![port])),
            }
        }
    }
    let edges = edges.into_iter();
    edges
        .map(|(from, to, ports)| (from, to, ports.join(", ")))
        .collect()
}

fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n  request([request])\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let name = graph.stage_name(index);
        let _ = match node.state {
            State::Active => writeln!(out, "  s{index}[\"{name}\"]"),
            _ => writeln!(out, "  s{index}[\"{name}\"]:::off"),
        };
    }
    for (from, to, ports) in edges(graph) {
        let from = from.map_or("request".into(), |from| format!("s{from}"));
        let _ = writeln!(out, "  {from} -->|{ports}| s{to}");
    }
    out.push_str("  classDef off stroke-dasharray: 4 4,color:#888\n");
    out
}

fn dot(graph: &Graph) -> String {
    let mut out = format!(
        "digraph {:?} {{\n  request [shape=oval];\n",
        graph.file.name.get_ref()
    );
    for (index, node) in graph.nodes.iter().enumerate() {
        let style = if node.state == State::Active {
            "solid"
        } else {
            "dashed"
        };
        let name = graph.stage_name(index);
        let _ = writeln!(
            out,
            "  s{index} [shape=box, style={style}, label={name:?}];"
        );
    }
    for (from, to, ports) in edges(graph) {
        let from = from.map_or("request".into(), |from| format!("s{from}"));
        let _ = writeln!(out, "  {from} -> s{to} [label={ports:?}];");
    }
    out.push_str("}\n");
    out
}

/// The graph as JSON: request, stages with their state and bindings, response.
#[must_use]
pub fn to_json(graph: &Graph) -> Json {
    let stages: Vec<Json> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let entry = &graph.file.stages[index];
            let (state, reason) = match &node.state {
                State::Active => ("active", None),
                State::Disabled => ("disabled", None),
                State::Pruned(reason) => ("pruned", Some(reason)),
            };
            let inputs: serde_json::Map<String, Json> = node
                .ports
                .inputs
                .iter()
                .zip(&node.inputs)
                .map(|(input, sources)| {
                    let from: Vec<_> = sources
                        .iter()
                        .map(|source| graph.source_name(*source))
                        .collect();
                    let input_json = json!({
                        "type": input.ty.name(), "from": from, "doc": input.doc,
                        "required": matches!(input.presence, Presence::Required),
                    });
                    (input.name.to_string(), input_json)
                })
                .collect();
            let outputs: serde_json::Map<String, Json> = node
                .ports
                .outputs
                .iter()
                .map(|output| {
                    let published = output.publish.as_ref().map(|publish| publish.field.clone());
                    let output_json = json!({
                        "type": output.ty.name(), "published": published, "doc": output.doc,
                    });
                    (output.name.to_string(), output_json)
                })
                .collect();
            json!({
                "name": entry.name.get_ref(), "uses": entry.kind.spec().name,
                "doc": entry.kind.spec().doc, "state": state, "reason": reason,
                "on_demand": entry.on_demand,
                "from": from(&entry.origin),
                "if": entry.condition.as_ref().map(|condition| condition.get_ref().text()),
                "options": entry.options.as_map(), "inputs": inputs, "outputs": outputs,
            })
        })
        .collect();
    let request: serde_json::Map<String, Json> = graph
        .request_ports
        .iter()
        .map(|(name, ty)| (name.clone(), Json::from(ty.name())))
        .collect();
    let response: serde_json::Map<String, Json> = graph
        .response
        .iter()
        .map(|field| {
            let from: Vec<_> = field
                .sources
                .iter()
                .map(|source| graph.source_name(*source))
                .collect();
            (
                field.name.clone(),
                json!({ "from": from, "neutral": field.neutral }),
            )
        })
        .collect();
    json!({
        "pipeline": graph.file.name.get_ref(),
        "route": graph.file.route.as_ref().map(|route| route.get_ref().to_string()),
        "request": request,
        "stages": stages,
        "response": response,
    })
}
