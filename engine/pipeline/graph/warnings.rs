//! What is allowed and may not be meant: of bindings, of fields of the request, of times.

use omnizap_contract::common::names::nearest;
use omnizap_contract::{Input, PortType, Presence};

use super::binder::Binder;
use super::{Asked, Source};
use crate::pipeline::config::{Binding, REQUEST};
use crate::pipeline::diagnostic::Diagnostic;
use crate::pipeline::request::Field;

impl Binder<'_> {
    /// Collects what is odd, once everything is bound.
    pub(super) fn warn(&mut self) {
        let mut odd = Vec::new();
        for stage in 0..self.file.stages.len() {
            self.firm_bindings(stage, &mut odd);
            self.foreign_stand_ins(stage, &mut odd);
            self.times(stage, &mut odd);
        }
        if !self.file.has_unreadable_part {
            self.unused_fields(&mut odd);
        }
        for odd in odd {
            self.warnings.push(odd);
        }
    }

    /// Inputs bound by hand to what may be absent, though another source could stand in.
    fn firm_bindings(&self, index: usize, odd: &mut Vec<Diagnostic>) {
        let stage = &self.file.stages[index];
        for Binding { port, from } in &stage.inputs {
            let inputs = &self.ports[index].inputs;
            let Some(place) = inputs
                .iter()
                .position(|input| input.name == *port.get_ref())
            else {
                continue;
            };
            let bound = &self.inputs[index][place];
            let stages = bound.iter().filter_map(|source| match source {
                Source::Stage { node, .. } => Some(*node),
                Source::Request(_) => None,
            });
            let others = self.automatic(index, &inputs[place]);
            let others: Vec<_> = others
                .into_iter()
                .filter(|it| !bound.contains(it))
                .collect();
            let (Some(_), Some(first), false) =
                (stages.clone().next(), from.first(), others.is_empty())
            else {
                continue;
            };
            let Some(why) = self.why_absent(bound) else {
                continue;
            };
            let name = stage.name.get_ref();
            let then = match inputs[place].presence {
                Presence::Required => format!("`{name}` is skipped then"),
                Presence::Optional | Presence::Default(_) => {
                    format!("`{name}` runs without it then")
                }
            };
            let message = format!(
                "`{name}` takes its `{}` from nothing but {}, which may be absent ({why}): {then}",
                port.get_ref(),
                quoted(bound.iter().map(|source| self.source_name(*source))),
            );
            let all = bound.iter().chain(&others);
            let all: Vec<_> = all
                .map(|it| format!("{:?}", self.source_name(*it)))
                .collect();
            let help = format!(
                "name what may stand in: {} = [{}], or leave the binding out",
                port.get_ref(),
                all.join(", ")
            );
            let warning = Diagnostic::new(&self.file.source, first.span(), message);
            odd.push(warning.help(help));
        }
    }

    /// Times that never come to pass.
    fn times(&self, index: usize, odd: &mut Vec<Diagnostic>) {
        let stage = &self.file.stages[index];
        let Some(timeout) = stage.timeout else {
            return;
        };
        let at = |message: String| {
            Diagnostic::new(&self.file.source, stage.timeout_span.clone(), message)
        };
        let name = stage.name.get_ref();
        let (ms, deadline) = (timeout.as_millis(), self.file.deadline);
        if timeout >= deadline {
            let message = format!(
                "`timeout_ms` of `{name}` is {ms} and the request's deadline {}: it never comes to pass",
                deadline.as_millis()
            );
            odd.push(at(message).help("give `deadline_ms` of [pipeline] more time"));
        }
        let options = stage.kind.spec().options.iter();
        for option in options.filter(|option| option.bounds_run_ms) {
            let own = stage.options.value(&option.name).as_u64().map(u128::from);
            let Some(own) = own.filter(|own| *own >= ms) else {
                continue;
            };
            let message = format!(
                "`timeout_ms` of `{name}` is {ms} and ends it before its own option `{}` of {own} does",
                option.name
            );
            odd.push(at(message).help(
                "what the stage does when its own time is over never happens: keep the shorter one there",
            ));
        }
    }

    /// Fields that a client may send and nothing takes.
    fn unused_fields(&self, odd: &mut Vec<Diagnostic>) {
        let inputs = self.inputs.iter().flatten().flatten();
        let asked = self.asked.iter().flatten().flat_map(Asked::sources);
        let used: Vec<usize> = inputs
            .chain(asked)
            .filter_map(|source| match source {
                Source::Request(port) => Some(*port),
                _ => None,
            })
            .collect();
        let mut port = 0;
        for field in &self.file.request {
            let (first, ports) = (port, field.ports().count());
            port += ports;
            // An echo is a use: the response shows it.
            let has_echo = field.filename.is_some() || field.content_type.is_some();
            let is_used = (first..first + ports).any(|port| used.contains(&port));
            if has_echo || is_used || field.ignored {
                continue;
            }
            odd.push(self.unused_field(field));
        }
    }

    fn unused_field(&self, field: &Field) -> Diagnostic {
        let (name, ty) = (field.name.get_ref(), field.ty);
        let at = |message: String| Diagnostic::new(&self.file.source, field.name.span(), message);
        let stages = self.file.stages.iter().zip(&self.ports);
        let inputs: Vec<(&str, &Input)> = stages
            .flat_map(|(stage, ports)| {
                let stage = stage.name.get_ref().as_str();
                ports.inputs.iter().map(move |input| (stage, input))
            })
            .collect();
        let sent = |ty: PortType| ty.name();
        let same = inputs.iter().find(|(_, input)| input.name == *name);
        if let Some((stage, input)) = same {
            if input.ty != ty {
                let message = format!(
                    "the request field `{name}` is {}, and `{stage}` takes `{name}` as {}: nothing takes what clients send",
                    sent(ty),
                    sent(input.ty)
                );
                return at(message).help(format!("write type = {:?}", sent(input.ty)));
            }
            let message = format!("nothing takes the request field `{name}`");
            return at(message).help(format!(
                "`{stage}` takes `{name}` from elsewhere: inputs = {{ {name} = \"{REQUEST}.{name}\" }}"
            ));
        }
        let message = format!("nothing takes the request field `{name}`");
        let of_type = inputs.iter().filter(|(_, input)| input.ty == ty);
        match nearest(name, of_type.map(|(_, input)| &*input.name)) {
            Some(near) => at(message).help(format!("did you mean `{near}`?")),
            None => at(message).help("leave it out, or bind an input to it"),
        }
    }
}

fn quoted(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(" and ")
}
