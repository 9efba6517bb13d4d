//! Ports and conditions bound to what feeds them, over all stages of the file, the
//! switched-off ones too.

use std::fmt::Write as _;
use std::ops::Range;

use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Input, PortType, Ports, Presence};
use serde_json::Value as Json;

use super::Source;
use crate::pipeline::condition::is_expressible;
use crate::pipeline::config::{PipelineFile, REQUEST, StageEntry};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};

pub(super) struct Binder<'f> {
    pub(super) file: &'f PipelineFile,
    pub(super) request_ports: Vec<(String, PortType)>,
    pub(super) ports: Vec<Ports>,
    pub(super) inputs: Vec<Vec<Vec<Source>>>,
    pub(super) variables: Vec<Vec<(Vec<Source>, Json)>>,
    pub(super) diagnostics: Diagnostics,
}

impl<'f> Binder<'f> {
    pub(super) fn new(file: &'f PipelineFile) -> Self {
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

    pub(super) fn report(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let mut diagnostic = Diagnostic::new(&self.file.source, span, message);
        if let Some(help) = help {
            diagnostic = diagnostic.help(help);
        }
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn bind_stage(&mut self, index: usize) {
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
        if missing && !self.file.has_unreadable_part {
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
                let help = suggestion(port_name, ports.iter().map(|(name, _)| name.as_str()));
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
                let help = suggestion(stage_name, names);
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
                let help = suggestion(port_name, names);
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
                let help = suggestion(variable, names.iter().map(String::as_str));
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
