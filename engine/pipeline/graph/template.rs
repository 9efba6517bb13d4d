//! Whether there is every value that the templates of the response place.

use std::ops::Range;

use omnizap_contract::common::names::suggestion;
use omnizap_contract::{JsonShape, PortType};

use super::{Graph, ResponseField, Source};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::template::{
    EACH, ERROR, INDEX, NULL, OF_ERROR, Placed, REQUEST_ID, Template, parted,
};

/// Where a template stands: what can be named in it follows from that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Answer,
    Each,
    Error,
    ErrorOfEach,
}

impl Place {
    /// What can be named beside the fields of the response.
    fn own(self, has_each: bool) -> Vec<&'static str> {
        let mut own = vec![REQUEST_ID, NULL];
        match self {
            Self::Answer if has_each => own.push(EACH),
            Self::Answer => {}
            Self::Each => own.push(INDEX),
            Self::Error => own.push(ERROR),
            Self::ErrorOfEach => own.extend([ERROR, INDEX]),
        }
        own
    }

    fn has_fields(self) -> bool {
        matches!(self, Self::Answer | Self::Each)
    }
}

/// Checks the templates of a graph's file against its response.
///
/// # Errors
/// Every name that there is no value of, and what is said of items where there are none.
pub(super) fn check(graph: &Graph) -> Result<(), Diagnostics> {
    let mut checker = Checker {
        graph,
        has_each: graph.file.request.iter().any(|field| field.each.is_some()),
        mistakes: Diagnostics::default(),
    };
    let answer = &graph.file.answer;
    if let Some(template) = &answer.template {
        checker.template(template.get_ref(), Place::Answer);
    }
    if let Some(template) = &answer.each {
        checker.template(template.get_ref(), Place::Each);
    }
    for form in &answer.errors {
        checker.template(&form.template, Place::Error);
    }
    for form in &answer.errors_of_each {
        checker.template(&form.template, Place::ErrorOfEach);
    }
    checker.items();
    checker.order();
    checker.mistakes.into_result()
}

struct Checker<'g> {
    graph: &'g Graph,
    /// True where a field of the request is what the stages run for each of.
    has_each: bool,
    mistakes: Diagnostics,
}

impl Checker<'_> {
    fn report(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let mistake = Diagnostic::new(&self.graph.file.source, span, message);
        self.mistakes.push(match help {
            Some(help) => mistake.help(help),
            None => mistake,
        });
    }

    fn field(&self, name: &str) -> Option<&ResponseField> {
        let mut fields = self.graph.response.iter();
        fields.find(|field| field.name == name)
    }

    fn template(&mut self, template: &Template, place: Place) {
        for (placed, is_alone) in template.placed() {
            self.placed(placed, is_alone, place);
        }
    }

    fn placed(&mut self, placed: &Placed, is_alone: bool, place: Place) {
        let Placed { name, span } = placed;
        let own = place.own(self.has_each);
        let known = |part: &str| own.contains(&part) || self.field(part).is_some();
        let found = parted(name, &known).map(|(first, members)| (first.to_owned(), members));
        let Some((first, members)) = found else {
            self.unknown(placed, place, &own);
            return;
        };
        if own.contains(&&*first) {
            if place.has_fields() && self.field(&first).is_some() {
                let both = format!(
                    "`{{{first}}}` is a field of the response, and means something else here"
                );
                let help = "give the field another name: publish = { .. }".to_owned();
                self.report(span.clone(), both, Some(help));
            } else {
                self.own_value(placed, &first, members, is_alone);
            }
            return;
        }
        let Some(field) = self.field(&first) else {
            return;
        };
        if !place.has_fields() {
            let none = format!("`{{{name}}}`: a request that failed has no fields");
            let help = suggestion(name, own.iter().copied());
            self.report(span.clone(), none, help);
            return;
        }
        let Some((ty, shape)) = port(self.graph, field) else {
            return;
        };
        if let Err((fault, help)) = walk(&first, ty, &shape, members) {
            self.report(span.clone(), fault, help);
        }
    }

    fn unknown(&mut self, placed: &Placed, place: Place, own: &[&'static str]) {
        // What could not be read might give it.
        if self.graph.file.has_unreadable_part {
            return;
        }
        let Placed { name, span } = placed;
        let elsewhere = match name.split('.').next().unwrap_or_default() {
            EACH if place == Place::Answer => {
                Some("no field of [request] has `each`: there is one run and no list")
            }
            EACH => Some("`{each}` stands in the template of the whole answer"),
            INDEX => Some("`{index}` stands in the template of an item"),
            ERROR => Some("`{error}` stands in the templates of errors"),
            _ => None,
        };
        let fields = self.graph.response.iter().map(|field| field.name.as_str());
        let fields = fields.filter(|_| place.has_fields());
        let help = match elsewhere {
            Some(help) => Some(help.to_owned()),
            None => suggestion(name, fields.chain(own.iter().copied())),
        };
        let unknown = format!("`{{{name}}}`: there is no such value here");
        self.report(span.clone(), unknown, help);
    }

    fn own_value(&mut self, placed: &Placed, first: &str, members: &str, is_alone: bool) {
        let Placed { name, span } = placed;
        if first == ERROR {
            if !OF_ERROR.contains(&members) {
                let fault = match members {
                    "" => format!("`{{{ERROR}}}` is several values"),
                    _ => format!("`{{{name}}}`: an error has no `{members}`"),
                };
                let help = OF_ERROR.map(|member| format!("`{{{ERROR}.{member}}}`"));
                self.report(span.clone(), fault, Some(help.join(", ")));
            }
        } else if !members.is_empty() {
            let fault = format!("`{{{name}}}`: `{first}` has no `{members}`");
            self.report(span.clone(), fault, Some(format!("write `{{{first}}}`")));
        } else if first == EACH && !is_alone {
            let fault = "`{each}` is a list, and stands within a text".to_owned();
            let help = "write it alone: results = \"{each}\"".to_owned();
            self.report(span.clone(), fault, Some(help));
        }
    }

    /// What is said of items has to be placed, once, and is of nothing where there are none.
    fn items(&mut self) {
        let file = &self.graph.file;
        let answer = &file.answer;
        let template = answer.template.as_ref();
        let each = file.request.iter().find(|field| field.each.is_some());
        let Some(each) = each else {
            let spans = answer.each.iter().map(|each| ("each", each.span()));
            let forms = answer.errors_of_each.iter();
            let forms = forms.map(|form| ("each_error", form.span.clone()));
            let idle: Vec<_> = spans.chain(forms.take(1)).collect();
            for (key, span) in idle {
                let idle = format!("`{key}` of `response`: no field of [request] has `each`");
                let help = "give it to the field that may come several times: each = 10";
                // A field that could not be read might have it.
                if !file.has_unreadable_part {
                    self.report(span, idle, Some(help.to_owned()));
                }
            }
            return;
        };
        let places = template.map(|it| it.get_ref().placed()).unwrap_or_default();
        let mut lists = places.iter().filter(|(placed, _)| placed.name == EACH);
        let (first, second) = (lists.next(), lists.next());
        if let Some((second, _)) = second {
            let twice = "`{each}` stands in the template twice".to_owned();
            self.report(second.span.clone(), twice, None);
        }
        if first.is_some() || file.has_unreadable_part {
            return;
        }
        let name = each.name.get_ref();
        let message = format!(
            "the request field `{name}` has `each`, and the answer has no place for what comes of \
             its values"
        );
        let at = template.map_or(each.name.span(), |template| template.span());
        let help = "in [response]: template = { results = \"{each}\" }";
        self.report(at, message, Some(help.to_owned()));
    }

    /// An order of what no answer shows.
    fn order(&mut self) {
        let file = &self.graph.file;
        let shows_fields =
            file.answer.template.is_none() || (self.has_each && file.answer.each.is_none());
        let Some(first) = file.shown.first().filter(|_| !shows_fields) else {
            return;
        };
        // One that was taken over goes on to be that of the file below.
        let span = first.span();
        if *file.source.file_of(span.start) == file.source.name {
            let idle = "`order` of `response`: the template says what an answer shows".to_owned();
            self.report(span, idle, Some("leave `order` out".to_owned()));
        }
    }
}

/// The type of what fills a field; of one whose stages are all off that which they would give.
fn port(graph: &Graph, field: &ResponseField) -> Option<(PortType, JsonShape)> {
    match field.sources.first() {
        Some(Source::Request(_)) => Some((PortType::Text, JsonShape::Any)),
        Some(Source::Stage { node, output }) => {
            let port = &graph.nodes[*node].ports.outputs[*output];
            Some((port.ty, port.shape.clone()))
        }
        None => {
            let mut outputs = graph.nodes.iter().flat_map(|node| &node.ports.outputs);
            let port = outputs.rfind(|port| {
                let publish = port.publish.as_ref();
                publish.is_some_and(|publish| publish.field == field.name)
            })?;
            Some((port.ty, port.shape.clone()))
        }
    }
}

/// What a value of a port looks like in an answer, as far as members of it can be named.
fn shown(ty: PortType, shape: &JsonShape) -> JsonShape {
    let list = |of: JsonShape| JsonShape::List(Box::new(of));
    match ty {
        PortType::Json => shape.clone(),
        PortType::Embedding => JsonShape::Object(vec![
            ("model".to_owned(), JsonShape::Text),
            ("vector".to_owned(), list(JsonShape::Number)),
        ]),
        PortType::Scores => JsonShape::Map(Box::new(JsonShape::Number)),
        PortType::TextList => list(JsonShape::Text),
        PortType::Text => JsonShape::Text,
        PortType::Number => JsonShape::Number,
        PortType::Integer => JsonShape::Integer,
        PortType::Bool => JsonShape::Bool,
        PortType::Bytes | PortType::Image | PortType::Tensor => JsonShape::Any,
    }
}

/// The shape of a member of a field's value.
///
/// # Errors
/// What there is not, and what there is.
fn member_shape(
    first: &str,
    shape: &JsonShape,
    members: &str,
) -> Result<JsonShape, (String, Option<String>)> {
    let (mut shape, mut so_far) = (shape.clone(), first.to_owned());
    let mut may_be_missing = false;
    for member in members.split('.').filter(|member| !member.is_empty()) {
        while let JsonShape::Nullable(inner) = shape {
            shape = *inner;
            may_be_missing = true;
        }
        may_be_missing |= matches!(shape, JsonShape::Map(_) | JsonShape::List(_));
        shape = match shape {
            JsonShape::Any => return Ok(JsonShape::Any),
            JsonShape::Map(values) => *values,
            JsonShape::List(items) if member.bytes().all(|byte| byte.is_ascii_digit()) => *items,
            JsonShape::List(_) => {
                let fault = format!("`{so_far}` is a list and has no `{member}`");
                let help = format!("an item of it is `{{{so_far}.0}}`");
                return Err((fault, Some(help)));
            }
            JsonShape::Object(known) => {
                let own = known.iter().find(|(name, _)| name == member);
                match own {
                    Some((_, shape)) => shape.clone(),
                    None => {
                        let fault = format!("`{so_far}` has no `{member}`");
                        let names = known.iter().map(|(name, _)| name.as_str());
                        return Err((fault, suggestion(member, names)));
                    }
                }
            }
            plain => {
                let fault = format!("`{so_far}` is {plain} and has no `{member}`");
                return Err((fault, Some(format!("write `{{{so_far}}}`"))));
            }
        };
        so_far.push('.');
        so_far.push_str(member);
    }
    Ok(match shape {
        JsonShape::Any | JsonShape::Nullable(_) => shape,
        shape if may_be_missing => JsonShape::Nullable(Box::new(shape)),
        shape => shape,
    })
}

fn walk(
    first: &str,
    ty: PortType,
    shape: &JsonShape,
    members: &str,
) -> Result<(), (String, Option<String>)> {
    member_shape(first, &shown(ty, shape), members).map(|_| ())
}

impl Graph {
    /// What stands in an answer in the place of a name: the shape of it, where that is known. `None`
    /// for what is no field of the response, or has nothing that fills it.
    #[must_use]
    pub fn placed_shape(&self, name: &str) -> Option<(&ResponseField, JsonShape, bool)> {
        let field = |part: &str| self.response.iter().find(|field| field.name == part);
        let (first, members) = parted(name, &|part| field(part).is_some())?;
        let field = field(first)?;
        let (ty, shape) = port(self, field)?;
        let shape = member_shape(first, &shown(ty, &shape), members).ok()?;
        Some((field, shape, !members.is_empty()))
    }
}
