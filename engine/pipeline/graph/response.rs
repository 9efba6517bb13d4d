//! The response: which stage fills which field, in which order they are shown.

use omnizap_contract::PortType;
use serde_json::Value as Json;

use super::binder::Binder;
use super::{ResponseField, Source, default_ports};
use crate::pipeline::config::REST;
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};

/// An active stage that publishes a field.
#[derive(Clone, Copy)]
struct Publisher {
    node: usize,
    ty: PortType,
    is_optional: bool,
}

impl Binder<'_> {
    /// The fields of the response, the active stages that fill them, and what is odd about that.
    ///
    /// # Errors
    /// Two active stages that publish a field as different types, or one that publishes what the
    /// response says of an upload; an order that names what there is not.
    pub(super) fn response(
        &self,
        active: impl Fn(usize) -> bool,
    ) -> Result<(Vec<ResponseField>, Diagnostics), Diagnostics> {
        let (mut mistakes, mut warnings) = (Diagnostics::default(), Diagnostics::default());
        let mut fields: Vec<ResponseField> = Vec::new();
        // For each field the latest active stage that publishes it.
        let mut publishers: Vec<Option<Publisher>> = Vec::new();
        for (node, ports) in self.ports.iter().enumerate() {
            for (output, port) in ports.outputs.iter().enumerate() {
                let Some(publish) = &port.publish else {
                    continue;
                };
                let known = fields.iter().position(|field| field.name == publish.field);
                let index = known.unwrap_or_else(|| {
                    fields.push(ResponseField {
                        name: publish.field.to_string(),
                        sources: Vec::new(),
                        neutral: Json::Null,
                        decimals: None,
                        is_required: false,
                    });
                    publishers.push(None);
                    fields.len() - 1
                });
                let field = &mut fields[index];
                field.neutral = publish.neutral.clone();
                field.decimals = publish.decimals;
                if !active(node) {
                    continue;
                }
                field.sources.insert(0, Source::Stage { node, output });
                let this = Publisher {
                    node,
                    ty: port.ty,
                    is_optional: port.optional,
                };
                let Some(earlier) = publishers[index].replace(this) else {
                    continue;
                };
                let found = || self.published_twice(&publish.field, earlier, this);
                // What one may leave out, another with a condition may give instead.
                let has_condition = |node: usize| self.file.stages[node].condition.is_some();
                let may_be_left_out = earlier.is_optional || has_condition(earlier.node);
                let stands_in = may_be_left_out && has_condition(node);
                if earlier.ty != this.ty {
                    mistakes.push(found());
                } else if !stands_in {
                    warnings.push(found());
                }
            }
        }
        self.add_echo(&mut fields, &publishers, &mut mistakes);
        let fields = self.in_order(fields, &mut mistakes);
        mistakes.into_result()?;
        Ok((fields, warnings))
    }

    fn published_twice(&self, field: &str, earlier: Publisher, later: Publisher) -> Diagnostic {
        let name = |publisher: Publisher| self.file.stages[publisher.node].name.get_ref();
        let (first, second) = (name(earlier), name(later));
        let (message, help) = if earlier.ty == later.ty {
            (
                format!("`{first}` and `{second}` both publish the response field `{field}`"),
                format!("the later one is shown: `{second}`; switch one off if that is not meant"),
            )
        } else {
            (
                format!(
                    "`{first}` publishes the response field `{field}` as {}, and `{second}` as {}",
                    earlier.ty, later.ty
                ),
                "clients expect one type: switch one of the stages off".to_owned(),
            )
        };
        let at = self.file.stages[later.node].name.span();
        Diagnostic::new(&self.file.source, at, message).help(help)
    }

    /// What an upload says of itself.
    fn add_echo(
        &self,
        fields: &mut Vec<ResponseField>,
        publishers: &[Option<Publisher>],
        mistakes: &mut Diagnostics,
    ) {
        let mut port = 0;
        for field in &self.file.request {
            for (position, (name, ty)) in field.ports().enumerate() {
                let at = port;
                port += 1;
                // A file is no answer.
                if position == 0 || ty != PortType::Text {
                    continue;
                }
                let known = fields
                    .iter()
                    .position(|field| field.name == *name.get_ref());
                match known {
                    None => fields.push(ResponseField {
                        name: name.get_ref().clone(),
                        sources: vec![Source::Request(at)],
                        neutral: Json::Null,
                        decimals: None,
                        is_required: false,
                    }),
                    Some(index) => {
                        let Some(publisher) = publishers.get(index).copied().flatten() else {
                            // Whoever would say something else is off.
                            fields[index].sources = vec![Source::Request(at)];
                            continue;
                        };
                        let stage = &self.file.stages[publisher.node].name;
                        let what = format!(
                            "`{}` publishes the response field `{}`, which says what the upload of `{}` is called",
                            stage.get_ref(),
                            name.get_ref(),
                            field.name.get_ref()
                        );
                        let wrong = Diagnostic::new(&self.file.source, stage.span(), what);
                        mistakes.push(wrong.help("name that field of the request otherwise"));
                    }
                }
            }
        }
    }

    /// True where a stage would publish a field if its options were left at their defaults: an
    /// option may take a field away.
    pub(super) fn publishes_otherwise(&self, field: &str) -> bool {
        self.file.stages.iter().any(|stage| {
            let ports = default_ports(&*stage.kind);
            let mut published = ports
                .outputs
                .iter()
                .filter_map(|port| port.publish.as_ref());
            published.any(|publish| publish.field == field)
        })
    }

    fn in_order(
        &self,
        mut fields: Vec<ResponseField>,
        mistakes: &mut Diagnostics,
    ) -> Vec<ResponseField> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut is_behind = false;
        for shown in &self.file.shown {
            let name = shown.get_ref();
            if name == REST {
                is_behind = true;
                continue;
            }
            match fields.iter().position(|field| field.name == *name) {
                Some(place) => {
                    let to = if is_behind { &mut last } else { &mut first };
                    to.push(fields.remove(place));
                }
                None if self.file.has_unreadable_part => {}
                None if first.iter().chain(&last).any(|field| field.name == *name) => {
                    let twice = format!("`order` names the response field `{name}` twice");
                    mistakes.push(Diagnostic::new(&self.file.source, shown.span(), twice));
                }
                // An order that was taken over may name fields that this pipeline has not.
                None if *self.file.source.file_of(shown.span().start) != self.file.source.name => {}
                None if self.publishes_otherwise(name) => {}
                None => {
                    let unknown =
                        format!("`order`: no stage publishes the response field `{name}`");
                    let unknown = Diagnostic::new(&self.file.source, shown.span(), unknown);
                    let names = fields.iter().map(|field| field.name.as_str());
                    mistakes.push(unknown.nearest(name, names));
                }
            }
        }
        first.extend(fields);
        first.extend(last);
        first
    }
}
