//! A graph for people and tools: text, Mermaid, Graphviz DOT, JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use omnizap_contract::Presence;
use serde_json::{Value as Json, json};

use super::config::StageEntry;
use super::graph::{Asked, Graph, RAN, Source, State};
use super::request::RequestLimits;

/// What is shown in the place of a key or a password.
const SECRET: &str = "(secret)";

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
    let _ = writeln!(out, "{} ({route})", one_line(graph.file.name.get_ref()));
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
        .map(|stage| one_line(stage.name.get_ref()).chars().count())
        .max();
    let width = width.unwrap_or(0);
    for (index, node) in graph.nodes.iter().enumerate() {
        let entry = &graph.file.stages[index];
        let name = one_line(entry.name.get_ref());
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

/// A name without what would begin a line of its own or move the cursor.
fn one_line(name: &str) -> String {
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    name.chars().map(shown).collect()
}

/// The files that say something of a stage, the deepest first.
fn from(origin: &[(Arc<str>, usize)]) -> String {
    let places = origin.iter().map(|(file, line)| format!("{file}:{line}"));
    places.collect::<Vec<_>>().join(", changed by ")
}

/// The same for whoever may know nothing of folders: files are told as the folder of the pipeline's
/// own one has them, and by their names alone where they are elsewhere.
fn from_in_folder(graph: &Graph, origin: &[(Arc<str>, usize)]) -> String {
    let own = graph.file.source.names().next();
    let folder = own.and_then(|own| Path::new(&**own).parent());
    let shown = |file: &str| -> Arc<str> {
        let path = Path::new(file);
        let within = folder.and_then(|folder| path.strip_prefix(folder).ok());
        let within = within.filter(|within| !within.is_absolute());
        let name = within.or_else(|| path.file_name().map(Path::new));
        name.unwrap_or(path).to_string_lossy().into()
    };
    let origin: Vec<_> = origin
        .iter()
        .map(|(file, line)| (shown(file), *line))
        .collect();
    from(&origin)
}

/// Edges between active nodes: from, to, the ports on the way.
fn edges(graph: &Graph) -> Vec<(Option<usize>, usize, String)> {
    let mut edges: Vec<(Option<usize>, usize, Vec<String>)> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.state != State::Active {
            continue;
        }
        let sources = node.inputs.iter().flatten();
        let sources = sources.chain(node.asked.iter().flat_map(Asked::sources));
        let ports = sources.map(|source| match *source {
            Source::Request(port) => (None, graph.request_ports[port].0.clone()),
            Source::Stage { node, output } => (
                Some(node),
                graph.nodes[node].ports.outputs[output].name.to_string(),
            ),
        });
        let ran = node.asked.iter().filter_map(|asked| match asked {
            Asked::Ran(Some(node)) => Some((Some(*node), RAN.to_owned())),
            _ => None,
        });
        for (from, port) in ports.chain(ran) {
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
        let name = mermaid_text(graph.stage_name(index));
        let _ = match node.state {
            State::Active => writeln!(out, "  s{index}[\"{name}\"]"),
            _ => writeln!(out, "  s{index}[\"{name}\"]:::off"),
        };
    }
    for (from, to, ports) in edges(graph) {
        let from = from.map_or("request".into(), |from| format!("s{from}"));
        let ports = mermaid_text(&ports);
        let _ = writeln!(out, "  {from} -->|\"{ports}\"| s{to}");
    }
    out.push_str("  classDef off stroke-dasharray: 4 4,color:#888\n");
    out
}

/// A text within the quotes of a label of Mermaid. What could mean something there is written by
/// its number, as <https://mermaid.js.org/syntax/flowchart.html> wants special characters.
fn mermaid_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        let _ = match char {
            '"' => write!(out, "#quot;"),
            '\n' => write!(out, "<br/>"),
            _ if char.is_control() => write!(out, " "),
            _ if char.is_alphanumeric() || " _-+.,:=/'".contains(char) => write!(out, "{char}"),
            _ => write!(out, "#{};", u32::from(char)),
        };
    }
    out
}

/// A text as a string of Graphviz, <https://graphviz.org/doc/info/lang.html>.
fn dot_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            _ if char.is_control() => out.push(' '),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

fn dot(graph: &Graph) -> String {
    let mut out = format!(
        "digraph {} {{\n  request [shape=oval];\n",
        dot_text(graph.file.name.get_ref())
    );
    for (index, node) in graph.nodes.iter().enumerate() {
        let style = if node.state == State::Active {
            "solid"
        } else {
            "dashed"
        };
        let name = dot_text(graph.stage_name(index));
        let _ = writeln!(out, "  s{index} [shape=box, style={style}, label={name}];");
    }
    for (from, to, ports) in edges(graph) {
        let from = from.map_or("request".into(), |from| format!("s{from}"));
        let ports = dot_text(&ports);
        let _ = writeln!(out, "  {from} -> s{to} [label={ports}];");
    }
    out.push_str("}\n");
    out
}

/// The options in force, but for keys and passwords that are set, alone or in an address.
fn options(entry: &StageEntry) -> Json {
    let mut options = entry.options.as_map().clone();
    let specs = entry.kind.spec().options.iter();
    for spec in specs.filter(|spec| spec.is_secret) {
        if let Some(value) = options
            .get_mut(&*spec.name)
            .filter(|value| !value.is_null())
        {
            *value = Json::from(SECRET);
        }
    }
    for value in options.values_mut() {
        if let Some(shown) = value.as_str().and_then(without_user) {
            *value = Json::from(shown);
        }
    }
    Json::Object(options)
}

/// An address without the user and the password in it; none where it has none.
fn without_user(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let (_, host) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{SECRET}@{host}"))
}

fn limits(limits: &RequestLimits) -> Json {
    json!({
        "max_body_bytes": limits.max_body_bytes, "max_in_flight": limits.max_in_flight,
        "max_fields": limits.max_fields, "unknown_fields": limits.unknown_fields.name(),
    })
}

/// The graph as JSON: request, its limits, stages with their state and bindings, response.
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
                "from": from_in_folder(graph, &entry.origin),
                "if": entry.condition.as_ref().map(|condition| condition.get_ref().text()),
                "options": options(entry), "inputs": inputs, "outputs": outputs,
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
        "settings_route":
            graph.file.settings_route.as_ref().map(|route| route.get_ref().to_string()),
        "request": request,
        "limits": limits(&graph.file.limits),
        "stages": stages,
        "response": response,
        "each": graph.file.request.iter().find(|it| it.each.is_some()).map(|it| it.name.get_ref()),
        "has_template": graph.file.answer.template.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::{dot_text, mermaid_text};

    #[test]
    fn labels_hold_nothing_that_means_something() {
        for (name, mermaid, dot) in [
            ("first", "first", "\"first\""),
            ("散列 été", "散列 été", "\"散列 été\""),
            (
                "a \"b\" [c]",
                "a #quot;b#quot; #91;c#93;",
                r#""a \"b\" [c]""#,
            ),
            ("a\nb\tc", "a<br/>b c", r#""a\nb c""#),
            (r"a\N|b", "a#92;N#124;b", r#""a\\N|b""#),
            (
                "%%{init}%%",
                "#37;#37;#123;init#125;#37;#37;",
                "\"%%{init}%%\"",
            ),
            ("<b>&#1;", "#60;b#62;#38;#35;1#59;", "\"<b>&#1;\""),
        ] {
            assert_eq!(mermaid_text(name), mermaid, "{name}");
            assert_eq!(dot_text(name), dot, "{name}");
        }
    }
}
