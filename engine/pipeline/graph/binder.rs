//! Ports bound to what feeds them, over all stages of the file, the switched-off ones too.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;

use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Input, PortType, Ports, Presence};

use super::published::{must_run, publish_as};
use super::{Asked, Source, default_ports, needed};
use crate::pipeline::condition::Bound;
use crate::pipeline::config::{Binding, PipelineFile, REQUEST, StageEntry};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::registry::Registry;

/// Types of which there is one in most pipelines, so that another of the same type may be meant.
const TELLING: [PortType; 5] = [
    PortType::Bytes,
    PortType::Image,
    PortType::Embedding,
    PortType::Scores,
    PortType::Tensor,
];

pub(super) struct Binder<'f> {
    pub(super) file: &'f PipelineFile,
    registry: &'f Registry,
    pub(super) request_ports: Vec<(String, PortType)>,
    /// For each of them whether every request has a value.
    pub(super) request_sure: Vec<bool>,
    /// For each of them whether nothing is made of it.
    pub(super) request_ignored: Vec<bool>,
    pub(super) ports: Vec<Ports>,
    pub(super) inputs: Vec<Vec<Vec<Source>>>,
    pub(super) conditions: Vec<Option<Bound>>,
    pub(super) asked: Vec<Vec<Asked>>,
    /// For each stage whether an answer without it is none.
    pub(super) must_run: Vec<bool>,
    /// For each stage, once it was asked, why it may not run.
    pub(super) skipped: RefCell<Vec<Option<Option<String>>>>,
    pub(super) diagnostics: Diagnostics,
    pub(super) warnings: Diagnostics,
}

/// What is to be said of a field of the request whose value is wanted, and that is `ignored`.
pub(super) fn nothing_is_made_of(field: &str) -> String {
    format!("the request field `{field}` has `ignored`: nothing is made of it")
}

impl<'f> Binder<'f> {
    pub(super) fn new(file: &'f PipelineFile, registry: &'f Registry) -> Self {
        let (mut request_ports, mut request_sure) = (Vec::new(), Vec::new());
        let mut request_ignored = Vec::new();
        for field in &file.request {
            for (place, (name, ty)) in field.ports().enumerate() {
                let is_sure = place == 0 && field.is_sure();
                request_ports.push((name.get_ref().clone(), ty));
                request_sure.push(is_sure);
                request_ignored.push(field.ignored);
            }
        }
        let mut diagnostics = Diagnostics::default();
        let stages = file.stages.iter();
        let ports: Vec<Ports> = stages
            .map(|stage| {
                let mut ports = stage.kind.ports(&stage.options);
                publish_as(file, stage, &mut ports.outputs, &mut diagnostics);
                ports
            })
            .collect();
        Self {
            file,
            registry,
            request_ports,
            request_sure,
            request_ignored,
            inputs: Vec::new(),
            conditions: vec![None; ports.len()],
            asked: vec![Vec::new(); ports.len()],
            must_run: must_run(file, &ports),
            skipped: RefCell::new(vec![None; ports.len()]),
            ports,
            diagnostics,
            warnings: Diagnostics::default(),
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
        for Binding { port, .. } in &stage.inputs {
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
        let inputs = (0..input_ports.len())
            .map(|place| self.bind_input(index, stage, &input_ports, place))
            .collect();
        self.inputs.push(inputs);
    }

    fn bind_input(
        &mut self,
        index: usize,
        stage: &StageEntry,
        inputs: &[Input],
        place: usize,
    ) -> Vec<Source> {
        let input = &inputs[place];
        let by_hand = stage
            .inputs
            .iter()
            .find(|binding| *binding.port.get_ref() == *input.name);
        if let Some(Binding { port, from }) = by_hand {
            if from.is_empty() && matches!(input.presence, Presence::Required) {
                let name = stage.name.get_ref();
                let message = format!("stage `{name}` needs its input `{}`", input.name);
                let help = "it cannot be unbound".to_owned();
                self.report(port.span(), message, Some(help));
            }
            let from = from.iter();
            return from
                .filter_map(|from| self.resolve_by_hand(index, input, from.get_ref(), from.span()))
                .collect();
        }
        let sources = self.automatic(index, input);
        let is_unfed = |at: usize| self.automatic(index, &inputs[at]).is_empty();
        let missing = needed(inputs, place).is_some_and(|mut any| any.all(is_unfed));
        if missing && !self.file.has_unreadable_part {
            self.report_missing(index, stage, input);
        }
        sources
    }

    /// What an input binds to by itself.
    pub(super) fn automatic(&self, index: usize, input: &Input) -> Vec<Source> {
        let mut sources = self.of_its_name(index, input);
        sources.retain(|source| !self.is_foreign(index, input, *source));
        sources
    }

    /// The same, with what is of another space.
    pub(super) fn of_its_name(&self, index: usize, input: &Input) -> Vec<Source> {
        let mut sources = self.earlier(index, |name, ty| *name == *input.name && ty == input.ty);
        // What another of its kind took for its own is not meant for it.
        let kind = &self.file.stages[index].kind.spec().name;
        sources.retain(|source| match *source {
            Source::Stage { node, output } => {
                let is_twin = self.file.stages[node].kind.spec().name == *kind;
                !(is_twin && self.ports[node].outputs[output].is_echo)
            }
            Source::Request(_) => true,
        });
        sources
    }

    /// Outputs of earlier stages, nearest first, then fields of the request.
    pub(super) fn earlier(
        &self,
        index: usize,
        wanted: impl Fn(&str, PortType) -> bool,
    ) -> Vec<Source> {
        let mut sources = Vec::new();
        for node in (0..index).rev() {
            for (output, port) in self.ports[node].outputs.iter().enumerate() {
                if wanted(&port.name, port.ty) {
                    sources.push(Source::Stage { node, output });
                }
            }
        }
        for (port, (name, ty)) in self.request_ports.iter().enumerate() {
            if !self.request_ignored[port] && wanted(name, *ty) {
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
        // The name of a field may hold a dot, that of a stage may not.
        let Some((stage_name, port_name)) = from.split_once('.') else {
            let message = format!(
                "input `{}` of `{own}`: `{from}` names no output",
                input.name
            );
            self.report(
                span,
                message,
                Some("write \"stage.port\", \"request.field\", or \"none\" to unbind it".into()),
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
            if self.request_ignored[port] {
                let message = nothing_is_made_of(port_name);
                let help = "leave `ignored` out, or bind something else";
                self.report(span, message, Some(help.into()));
                return None;
            }
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
        if let Some(message) = self.why_foreign(index, input, source) {
            let help = self.of_its_space(index, input);
            self.report(span, message, help);
            return None;
        }
        Some(source)
    }

    fn report_missing(&mut self, index: usize, stage: &StageEntry, input: &Input) {
        let foreign = self.foreign(index, input).first().copied();
        let foreign = foreign.and_then(|source| self.why_foreign(index, input, source));
        let is_foreign = foreign.is_some();
        let message = foreign.unwrap_or_else(|| {
            format!(
                "stage `{}` needs the input `{}` ({}), and nothing before it gives one",
                stage.name.get_ref(),
                input.name,
                input.ty
            )
        });
        // Of a text there are many: one of another name is hardly meant.
        let is_telling = TELLING.contains(&input.ty);
        let all = |name: &str, ty: PortType| name == &*input.name || (is_telling && ty == input.ty);
        let mut near: Vec<String> = self
            .earlier(index, all)
            .into_iter()
            .filter(|source| !self.is_foreign(index, input, *source))
            .map(|source| {
                let ty = self.type_of(source);
                format!("`{}` ({ty})", self.source_name(source))
            })
            .collect();
        near.truncate(4);
        let later = (index + 1..self.file.stages.len()).find(|node| {
            let mut outputs = self.ports[*node].outputs.iter().enumerate();
            outputs.any(|(output, port)| {
                let source = Source::Stage {
                    node: *node,
                    output,
                };
                port.name == input.name
                    && port.ty == input.ty
                    && !self.is_foreign(index, input, source)
            })
        });
        let mut help = String::new();
        if let Some(later) = later {
            let later = self.file.stages[later].name.get_ref();
            let _ = write!(help, "`{later}` gives one: move it before this stage");
        } else if is_foreign {
            // The message says what to do.
        } else if near.is_empty() {
            let kinds = self.kinds_that_give(input);
            if kinds.is_empty() {
                let _ = write!(help, "{}", input.doc);
            } else {
                let _ = write!(
                    help,
                    "{} gives one: put it before this stage",
                    kinds.join(" or ")
                );
            }
        } else {
            let _ = write!(
                help,
                "bind it by hand to one of: {} (inputs = {{ {} = \"...\" }})",
                near.join(", "),
                input.name
            );
        }
        let help = Some(help).filter(|help| !help.is_empty());
        self.report(stage.name.span(), message, help);
    }

    /// The kinds of stages that give what an input takes.
    fn kinds_that_give(&self, input: &Input) -> Vec<String> {
        let mut kinds = Vec::new();
        for name in self.registry.names() {
            let Some(kind) = self.registry.get(name) else {
                continue;
            };
            let ports = default_ports(&**kind);
            let mut outputs = ports.outputs.iter();
            if outputs.any(|port| port.name == input.name && port.ty == input.ty && !port.is_echo) {
                kinds.push(format!("`{name}`"));
            }
        }
        kinds.truncate(3);
        kinds
    }

    pub(super) fn type_of(&self, source: Source) -> PortType {
        match source {
            Source::Request(port) => self.request_ports[port].1,
            Source::Stage { node, output } => self.ports[node].outputs[output].ty,
        }
    }

    /// `stage.port`, or `request.port`.
    pub(super) fn source_name(&self, source: Source) -> String {
        let producer = match source {
            Source::Request(_) => REQUEST,
            Source::Stage { node, .. } => self.file.stages[node].name.get_ref(),
        };
        format!("{producer}.{}", self.port_name(source))
    }

    pub(super) fn port_name(&self, source: Source) -> &str {
        match source {
            Source::Request(port) => &self.request_ports[port].0,
            Source::Stage { node, output } => &self.ports[node].outputs[output].name,
        }
    }
}
