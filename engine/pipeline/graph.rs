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

use std::fmt::Write as _;
use std::ops::Range;

use omnizap_contract::{Input, PortType, Ports, Presence};
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::Value as Json;

use super::condition::is_expressible;
use super::config::{PipelineFile, REQUEST, StageEntry};
use super::diagnostic::{Diagnostic, Diagnostics};

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
    let graph = binder.effective_graph(&order);
    check_required_fields(&graph)?;
    Ok(graph)
}

struct Binder<'f> {
    file: &'f PipelineFile,
    request_ports: Vec<(String, PortType)>,
    ports: Vec<Ports>,
    inputs: Vec<Vec<Vec<Source>>>,
    variables: Vec<Vec<(Vec<Source>, Json)>>,
    diagnostics: Diagnostics,
}

impl<'f> Binder<'f> {
    fn new(file: &'f PipelineFile) -> Self {
        let fields = file.request.iter();
        let request_ports = fields
            .flat_map(|field| field.ports().map(|(name, ty)| (name.get_ref().clone(), ty)))
            .collect();
        let stages = file.stages.iter();
        Self {
            file,
            request_ports,
            ports: stages
                .map(|stage| stage.kind.ports(&stage.options))
                .collect(),
            inputs: Vec::new(),
            variables: Vec::new(),
            diagnostics: Diagnostics::default(),
        }
    }

    fn report(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let mut diagnostic = Diagnostic::new(&self.file.source, span, message);
        if let Some(help) = help {
            diagnostic = diagnostic.help(help);
        }
        self.diagnostics.push(diagnostic);
    }

    fn bind_stage(&mut self, index: usize) {
        let stage = &self.file.stages[index];
        let input_ports = self.ports[index].inputs.clone();
        for (port, _) in &stage.inputs {
            if !input_ports
                .iter()
                .any(|input| input.name == *port.get_ref())
            {
                let unknown = Diagnostic::new(
                    &self.file.source,
                    port.span(),
                    format!(
                        "stage `{}` has no input `{}`",
                        stage.name.get_ref(),
                        port.get_ref()
                    ),
                );
                let names = input_ports.iter().map(|input| &*input.name);
                self.diagnostics
                    .push(unknown.nearest(port.get_ref(), names));
            }
        }
        let inputs = input_ports
            .iter()
            .map(|input| self.bind_input(index, stage, input))
            .collect();
        self.inputs.push(inputs);
        let variables = self.bind_condition(index, stage);
        self.variables.push(variables);
    }

    fn bind_input(&mut self, index: usize, stage: &StageEntry, input: &Input) -> Vec<Source> {
        let by_hand = stage
            .inputs
            .iter()
            .find(|(port, _)| *port.get_ref() == *input.name);
        if let Some((_, from)) = by_hand {
            return self
                .resolve_by_hand(index, input, from.get_ref(), from.span())
                .into_iter()
                .collect();
        }
        let sources = self.earlier(index, |name, ty| *name == *input.name && ty == input.ty);
        let missing = sources.is_empty() && matches!(input.presence, Presence::Required);
        if missing && !self.file.has_unreadable_stage {
            self.report_missing(index, stage, input);
        }
        sources
    }

    /// Outputs of earlier stages, nearest first, then fields of the request.
    fn earlier(&self, index: usize, wanted: impl Fn(&str, PortType) -> bool) -> Vec<Source> {
        let mut sources = Vec::new();
        for node in (0..index).rev() {
            for (output, port) in self.ports[node].outputs.iter().enumerate() {
                if wanted(&port.name, port.ty) {
                    sources.push(Source::Stage { node, output });
                }
            }
        }
        for (port, (name, ty)) in self.request_ports.iter().enumerate() {
            if wanted(name, *ty) {
                sources.push(Source::Request(port));
            }
        }
        sources
    }

    fn resolve_by_hand(
        &mut self,
        index: usize,
        input: &Input,
        from: &str,
        span: Range<usize>,
    ) -> Option<Source> {
        let own = self.file.stages[index].name.get_ref().clone();
        let Some((stage_name, port_name)) = from.rsplit_once('.') else {
            let message = format!(
                "input `{}` of `{own}`: `{from}` names no output",
                input.name
            );
            self.report(
                span,
                message,
                Some("write \"stage.port\" or \"request.field\"".into()),
            );
            return None;
        };
        let (source, ty) = if stage_name == REQUEST {
            let ports = &self.request_ports;
            let Some(port) = ports.iter().position(|(name, _)| name == port_name) else {
                let help = super::diagnostic::suggestion(
                    port_name,
                    ports.iter().map(|(name, _)| name.as_str()),
                );
                self.report(
                    span,
                    format!("the request has no field `{port_name}`"),
                    help,
                );
                return None;
            };
            (Source::Request(port), ports[port].1)
        } else {
            let mut stages = self.file.stages.iter();
            let Some(node) = stages.position(|stage| stage.name.get_ref() == stage_name) else {
                let names = self
                    .file
                    .stages
                    .iter()
                    .map(|stage| stage.name.get_ref().as_str());
                let help = super::diagnostic::suggestion(stage_name, names);
                self.report(
                    span,
                    format!("there is no stage named `{stage_name}`"),
                    help,
                );
                return None;
            };
            let outputs = &self.ports[node].outputs;
            let Some(output) = outputs.iter().position(|output| output.name == port_name) else {
                let names = outputs.iter().map(|output| &*output.name);
                let help = super::diagnostic::suggestion(port_name, names);
                let message = format!("stage `{stage_name}` has no output `{port_name}`");
                self.report(span, message, help);
                return None;
            };
            (Source::Stage { node, output }, outputs[output].ty)
        };
        if ty != input.ty {
            let message = format!(
                "input `{}` of `{own}` is {} and `{from}` is {ty}",
                input.name, input.ty
            );
            self.report(span, message, None);
            return None;
        }
        Some(source)
    }

    fn report_missing(&mut self, index: usize, stage: &StageEntry, input: &Input) {
        let message = format!(
            "stage `{}` needs the input `{}` ({}), and nothing before it gives one",
            stage.name.get_ref(),
            input.name,
            input.ty
        );
        let all = |name: &str, ty: PortType| name == &*input.name || ty == input.ty;
        let mut near: Vec<String> = self
            .earlier(index, all)
            .into_iter()
            .map(|source| {
                let (name, ty) = match source {
                    Source::Request(port) => {
                        let (name, ty) = &self.request_ports[port];
                        (format!("{REQUEST}.{name}"), *ty)
                    }
                    Source::Stage { node, output } => {
                        let port = &self.ports[node].outputs[output];
                        let stage = self.file.stages[node].name.get_ref();
                        (format!("{stage}.{}", port.name), port.ty)
                    }
                };
                format!("`{name}` ({ty})")
            })
            .collect();
        near.truncate(4);
        let later = (index + 1..self.file.stages.len()).find(|node| {
            let outputs = &self.ports[*node].outputs;
            outputs
                .iter()
                .any(|port| port.name == input.name && port.ty == input.ty)
        });
        let mut help = String::new();
        if let Some(later) = later {
            let later = self.file.stages[later].name.get_ref();
            let _ = write!(help, "`{later}` gives one: move it before this stage");
        } else if near.is_empty() {
            let _ = write!(help, "{}", input.doc);
        } else {
            let _ = write!(
                help,
                "bind it by hand to one of: {} (inputs = {{ {} = \"...\" }})",
                near.join(", "),
                input.name
            );
        }
        self.report(stage.name.span(), message, Some(help));
    }

    fn bind_condition(&mut self, index: usize, stage: &StageEntry) -> Vec<(Vec<Source>, Json)> {
        let Some(condition) = &stage.condition else {
            return Vec::new();
        };
        let mut bound = Vec::new();
        let mut types = Vec::new();
        for variable in condition.get_ref().variables() {
            let sources = self.earlier(index, |name, ty| name == variable && is_expressible(ty));
            let Some(nearest) = sources.first() else {
                let known = self.earlier(index, |_, ty| is_expressible(ty));
                let names: Vec<String> =
                    known.iter().map(|source| self.port_name(*source)).collect();
                let help =
                    super::diagnostic::suggestion(variable, names.iter().map(String::as_str));
                let message = format!(
                    "`if` of stage `{}` refers to `{variable}`, which nothing before it gives",
                    stage.name.get_ref()
                );
                self.report(condition.span(), message, help);
                continue;
            };
            let (ty, neutral) = match *nearest {
                Source::Request(port) => (self.request_ports[port].1, Json::Null),
                Source::Stage { node, output } => {
                    let port = &self.ports[node].outputs[output];
                    let published = port.publish.as_ref();
                    let neutral = published.map_or_else(|| zero(port.ty), |to| to.neutral.clone());
                    (port.ty, neutral)
                }
            };
            types.push(ty);
            bound.push((sources, neutral));
        }
        if bound.len() == condition.get_ref().variables().len()
            && let Err(message) = condition.get_ref().check(&types)
        {
            let message = format!("`if` of stage `{}`: {message}", stage.name.get_ref());
            self.report(condition.span(), message, None);
        }
        bound
    }

    fn port_name(&self, source: Source) -> String {
        match source {
            Source::Request(port) => self.request_ports[port].0.clone(),
            Source::Stage { node, output } => self.ports[node].outputs[output].name.to_string(),
        }
    }

    /// Every stage after those that feed it; a cycle is reported.
    fn find_order(&mut self) -> Vec<usize> {
        let mut graph = DiGraph::<usize, ()>::new();
        let indices: Vec<NodeIndex> = (0..self.ports.len())
            .map(|node| graph.add_node(node))
            .collect();
        for node in 0..self.ports.len() {
            for feeder in self.feeders(node, |_| true) {
                graph.update_edge(indices[feeder], indices[node], ());
            }
        }
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
                self.file.stages[*node]
                    .inputs
                    .iter()
                    .map(move |input| (node, input))
            })
            .find(|(node, (_, from))| {
                let stage = from.get_ref().rsplit_once('.').map(|(stage, _)| stage);
                members.iter().any(|member| {
                    member >= *node && stage == Some(self.file.stages[*member].name.get_ref())
                })
            })
            .map_or_else(
                || self.file.stages[members[0]].name.span(),
                |(_, (_, from))| from.span(),
            );
        self.report(
            span,
            format!("stages feed each other in a cycle: {path}"),
            Some("bind this input to a stage that does not depend on its own".into()),
        );
    }

    /// The nodes that feed a node, through ports or its condition.
    fn feeders(&self, node: usize, active: impl Fn(usize) -> bool) -> Vec<usize> {
        let ports = self.inputs[node].iter();
        let variables = self.variables[node].iter().map(|(sources, _)| sources);
        let mut feeders: Vec<usize> = ports
            .chain(variables)
            .flatten()
            .filter_map(|source| match source {
                Source::Stage { node, .. } if active(*node) => Some(*node),
                _ => None,
            })
            .collect();
        feeders.sort_unstable();
        feeders.dedup();
        feeders
    }

    /// The graph without what is off and what that takes with it.
    fn effective_graph(self, order: &[usize]) -> Graph {
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

/// What a variable is when whoever gives it is off, and publishes no neutral value.
fn zero(ty: PortType) -> Json {
    match ty {
        PortType::Bool => Json::from(false),
        PortType::Number => Json::from(0.0),
        PortType::Integer => Json::from(0),
        PortType::Text => Json::from(""),
        PortType::TextList => Json::Array(Vec::new()),
        _ => Json::Null,
    }
}

fn check_required_fields(graph: &Graph) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for required in &graph.file.require {
        let name = required.get_ref();
        let field = graph.response.iter().find(|field| field.name == *name);
        let Some(field) = field else {
            let unknown = Diagnostic::new(
                &graph.file.source,
                required.span(),
                format!("no stage publishes the response field `{name}`"),
            );
            let names = graph.response.iter().map(|field| field.name.as_str());
            diagnostics.push(unknown.nearest(name, names));
            continue;
        };
        if !field.sources.is_empty() {
            continue;
        }
        let mut reasons = String::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let why = match &node.state {
                State::Active => continue,
                State::Disabled => "is disabled".to_owned(),
                State::Pruned(reason) => format!("was pruned, because {reason}"),
            };
            let separator = if reasons.is_empty() { "" } else { "; " };
            let _ = write!(reasons, "{separator}`{}` {why}", graph.stage_name(index));
        }
        let missing = Diagnostic::new(
            &graph.file.source,
            required.span(),
            format!("the response requires `{name}`, and no stage that is left gives it"),
        );
        diagnostics.push(missing.help(reasons));
    }
    diagnostics.into_result()
}
