//! Whether the tests of a file fit it: the stages, outputs and fields that they name, and the
//! values that they give. What a test expects of an answer is held against the answer later.

use std::ops::Range;

use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Error, Output, PortType};
use serde_json::Value as Json;
use toml::Spanned;

use super::binder::Binder;
use super::default_ports;
use crate::pipeline::case::{
    ANSWERED, Case, Check, ERROR_FIELDS, ERRORS, Gives, Mock, Wanted, value_of,
};
use crate::pipeline::request::{Field, Upload};

/// A field of the answer, what fills it, and what it shows without.
type Shown<'b> = (&'b str, PortType, &'b Json);

impl Binder<'_> {
    /// Reports whatever tests name that there is not, and values that nothing takes.
    pub(super) fn check_cases(&mut self) {
        let cases = self.file.cases.clone();
        for case in cases.iter() {
            self.mocks(case);
            self.request_of(case);
            self.stages_of(case);
            self.answer_of(case);
        }
    }

    fn stage_named(&self, name: &str) -> Option<usize> {
        let mut stages = self.file.stages.iter();
        stages.position(|stage| stage.name.get_ref() == name)
    }

    fn no_stage(&mut self, stage: &Spanned<String>) {
        if self.file.has_unreadable_part {
            return;
        }
        let name = stage.get_ref();
        let names = self.file.stages.iter();
        let names = names.map(|stage| stage.name.get_ref().as_str());
        let help = suggestion(name, names);
        self.report(
            stage.span(),
            format!("there is no stage named `{name}`"),
            help,
        );
    }

    fn mocks(&mut self, case: &Case) {
        for (index, Mock { stage, gives }) in case.mocks.iter().enumerate() {
            let name = stage.get_ref();
            let mut earlier = case.mocks[..index].iter();
            if earlier.any(|earlier| earlier.stage.get_ref() == name) {
                let both = format!("stage `{name}` has a mock and is to fail");
                let help = "leave it out of `mock` or of `fail`".to_owned();
                self.report(stage.span(), both, Some(help));
            }
            let Some(node) = self.stage_named(name) else {
                self.no_stage(stage);
                continue;
            };
            let Gives::Outputs(outputs) = gives else {
                continue;
            };
            for (port, value) in outputs {
                self.mocked(node, port, value);
            }
        }
    }

    /// An output of a stage that is not run.
    fn mocked(&mut self, node: usize, port: &Spanned<String>, value: &Spanned<Json>) {
        let entry = &self.file.stages[node];
        let (stage, name) = (entry.name.get_ref(), port.get_ref());
        let output = |outputs: &[Output]| {
            let mut outputs = outputs.iter();
            outputs.find(|output| output.name == *name).cloned()
        };
        // One that the options in force take away is none now, and may be tomorrow.
        let known = output(&self.ports[node].outputs);
        let known = known.or_else(|| output(&default_ports(&*entry.kind).outputs));
        let Some(known) = known else {
            let outputs = self.ports[node].outputs.iter();
            let help = suggestion(name, outputs.map(|output| &*output.name));
            let unknown = format!("stage `{stage}` has no output `{name}`");
            self.report(port.span(), unknown, help);
            return;
        };
        let json = value.get_ref();
        let fault = match value_of(known.ty, json) {
            Err(fault) => Some(fault),
            Ok(_) if known.ty == PortType::Json && !known.shape.fits(json) => {
                Some(format!("expected {}", known.shape))
            }
            Ok(_) => None,
        };
        if let Some(fault) = fault {
            let what = format!("the output `{name}` of stage `{stage}`: {fault}");
            self.report(value.span(), what, Some(known.doc.into_owned()));
        }
    }

    fn request_of(&mut self, case: &Case) {
        let file = self.file;
        for (index, (name, value)) in case.request.iter().enumerate() {
            let mut earlier = case.request[..index].iter();
            if earlier.any(|(earlier, _)| earlier.get_ref() == name.get_ref()) {
                continue;
            }
            self.field_of(case, name, value);
        }
        let files = file.request.iter();
        let files: Vec<&Field> = files.filter(|it| it.ty == PortType::Bytes).collect();
        if let Some(picture) = &case.picture {
            let fault = match files.as_slice() {
                [] if file.has_unreadable_part => None,
                [] => Some(("the request takes no file".to_owned(), None)),
                [field] => {
                    let name = field.name.get_ref();
                    let mut given = case.request.iter();
                    given.any(|(given, _)| given.get_ref() == name).then(|| {
                        let twice = format!("the field `{name}` is given in `request` too");
                        (twice, Some("leave one of them out".to_owned()))
                    })
                }
                [first, ..] => {
                    let name = first.name.get_ref();
                    let help = format!("say which is which: request = {{ {name} = \"...\" }}");
                    Some(("the request takes several files".to_owned(), Some(help)))
                }
            };
            if let Some((fault, help)) = fault {
                self.report(picture.span(), format!("`picture`: {fault}"), help);
            }
        }
        if case.expect.is_failure() || file.has_unreadable_part {
            return;
        }
        let is_given = |field: &&Field| {
            let name = field.name.get_ref();
            let is_picture = field.ty == PortType::Bytes && case.picture.is_some();
            is_picture
                || case
                    .request
                    .iter()
                    .any(|(given, _)| given.get_ref() == name)
        };
        let mut fields = file.request.iter();
        let missing = fields.find(|it| it.required && it.default.is_none() && !is_given(it));
        if let Some(field) = missing {
            let (test, name) = (case.name.get_ref(), field.name.get_ref());
            let message = format!("the request of {test:?} lacks `{name}`, which is required");
            let help = match files.len() {
                1 if field.ty == PortType::Bytes => "picture = \"...\"".to_owned(),
                _ => format!("request = {{ {name} = .. }}"),
            };
            let help = format!("{help}, or expect = {{ status = 422 }} where that is the test");
            self.report(case.name.span(), message, Some(help));
        }
    }

    /// A field of the request, or what an upload says of itself.
    fn field_of(&mut self, case: &Case, name: &Spanned<String>, value: &Spanned<Json>) {
        let file = self.file;
        let (given, json) = (name.get_ref(), value.get_ref());
        let field = file.request.iter().find(|it| it.name.get_ref() == given);
        if let Some(field) = field {
            if let Some(fault) = fault_of(field, json, case.expect.is_failure()) {
                let help = "expect = { status = 422 } where that is the test";
                self.report(value.span(), fault, Some(help.to_owned()));
            }
            return;
        }
        let mut said = file.request.iter().flat_map(|field| {
            let types = field.content_type.iter().map(|it| (it, true));
            let names = field.filename.iter().map(|it| (it, false));
            types.chain(names)
        });
        if let Some((_, is_type)) = said.find(|(port, _)| port.get_ref() == given) {
            let is_fit = |text: &str| !is_type || Upload::is_media_type(text);
            if !json.as_str().is_some_and(is_fit) {
                let expected = if is_type { "a media type" } else { "a text" };
                let wrong = format!("`{given}` in `request`: expected {expected}, found {json}");
                self.report(value.span(), wrong, None);
            }
            return;
        }
        if file.has_unreadable_part {
            return;
        }
        let names = file.request.iter().flat_map(|field| {
            let said = [&field.filename, &field.content_type];
            std::iter::once(&field.name).chain(said.into_iter().flatten())
        });
        let help = suggestion(given, names.map(|name| name.get_ref().as_str()));
        let unknown = format!("the request has no field `{given}`");
        self.report(name.span(), unknown, help);
    }

    /// The stages that are to run or not.
    fn stages_of(&mut self, case: &Case) {
        let (ran, skipped) = (&case.expect.ran, &case.expect.skipped);
        let skipped = skipped.iter().map(|(stage, _)| stage);
        for stage in ran.iter().chain(skipped.clone()) {
            if self.stage_named(stage.get_ref()).is_none() {
                self.no_stage(stage);
            }
        }
        for stage in skipped {
            let name = stage.get_ref();
            if ran.iter().any(|ran| ran.get_ref() == name) {
                let both = format!("stage `{name}` is to run and to be skipped");
                let help = "leave it out of `ran` or of `skipped`".to_owned();
                self.report(stage.span(), both, Some(help));
            }
        }
    }

    /// The status, and the fields of the answer.
    fn answer_of(&mut self, case: &Case) {
        let (expect, own) = (&case.expect, &self.file.answer);
        if let Some(status) = &expect.status {
            let kinds = ERRORS.iter().map(|kind| kind.status());
            let forms = own.errors.iter().filter_map(|form| form.status);
            let mut known: Vec<u16> = kinds.chain(forms).chain([ANSWERED]).collect();
            known.sort_unstable();
            known.dedup();
            let given = *status.get_ref();
            if !known.contains(&given) {
                let never = format!("no answer of a pipeline has the status {given}");
                let known: Vec<_> = known.iter().map(u16::to_string).collect();
                let help = format!("expected one of: {}", known.join(", "));
                self.report(status.span(), never, Some(help));
            }
        }
        // What a file's own form of answers has, the form says.
        let has_form = if expect.is_failure() {
            !own.errors.is_empty()
        } else {
            own.template.is_some()
        };
        if has_form || self.file.has_unreadable_part {
            return;
        }
        for wanted in &expect.answer {
            let fault = if expect.is_failure() {
                self.fault_in_error(wanted)
            } else {
                self.fault_in_answer(wanted)
            };
            if let Some((span, fault, help)) = fault {
                self.report(span, fault, help);
            }
        }
    }

    fn fault_in_error(&self, wanted: &Wanted) -> Option<Fault> {
        let (field, _) = wanted.path.get_ref().field();
        if ERROR_FIELDS.contains(&field) || wanted.is_of_nothing() {
            return None;
        }
        let unknown = format!("the answer to a request that fails has no field `{field}`");
        let help = suggestion(field, ERROR_FIELDS);
        Some((wanted.path.span(), unknown, help))
    }

    fn fault_in_answer(&self, wanted: &Wanted) -> Option<Fault> {
        let (field, is_whole) = wanted.path.get_ref().field();
        let shown = self.shown();
        let Some((_, ty, neutral)) = shown.iter().rfind(|(name, ..)| *name == field) else {
            if wanted.is_of_nothing() || self.publishes_otherwise(field) {
                return None;
            }
            let unknown = format!("no stage publishes the response field `{field}`");
            let help = suggestion(field, shown.iter().map(|(name, ..)| *name));
            return Some((wanted.path.span(), unknown, help));
        };
        if !is_whole {
            return None;
        }
        let mut checks = wanted.checks.iter();
        let never = checks.find(|check| never_holds(check.get_ref(), *ty, neutral))?;
        let fault = format!("`{field}` is of type {ty}: that never holds of it");
        Some((never.span(), fault, None))
    }

    /// The fields of the answer, those of stages that are off too.
    fn shown(&self) -> Vec<Shown<'_>> {
        let outputs = self.ports.iter().flat_map(|ports| &ports.outputs);
        let published = outputs.filter_map(|output| {
            let publish = output.publish.as_ref()?;
            Some((&*publish.field, output.ty, &publish.neutral))
        });
        let said = self.file.request.iter().flat_map(|field| {
            let said = [&field.filename, &field.content_type];
            said.into_iter().flatten()
        });
        let said = said.map(|name| (name.get_ref().as_str(), PortType::Text, &Json::Null));
        published.chain(said).collect()
    }
}

/// Where something is wrong, what, and a way out.
type Fault = (Range<usize>, String, Option<String>);

/// What is wrong with the value of a field: of a file, that it names none; of any other, that a
/// request with it is refused, where the test is not about that.
fn fault_of(field: &Field, json: &Json, is_failure: bool) -> Option<String> {
    let name = field.name.get_ref();
    if field.ty == PortType::Bytes {
        let is_path = |json: &Json| json.as_str().is_some_and(|path| !path.trim().is_empty());
        let is_fit = match json {
            Json::Array(items) if field.each.is_some() => items.iter().all(is_path),
            json => is_path(json),
        };
        return (!is_fit).then(|| {
            let file = "a path, \"builtin:NAME\" or a data: URL";
            format!("`{name}` in `request`: expected {file}, for it is a file")
        });
    }
    if is_failure {
        return None;
    }
    let refused = |json: &Json| -> Option<Error> { field.value_of_json(json.clone()).err() };
    let error = match json {
        Json::Array(items) if field.each.is_some() => items.iter().find_map(refused),
        json => refused(json),
    };
    error.map(|error| format!("this request is refused: {}", error.message()))
}

/// True for what no value of such a port is.
fn never_holds(check: &Check, ty: PortType, neutral: &Json) -> bool {
    let is_fit = |json: &Json| match ty {
        PortType::Text => json.is_string(),
        PortType::TextList => json.is_array(),
        PortType::Number | PortType::Integer => json.is_number(),
        PortType::Bool => json.is_boolean(),
        PortType::Embedding | PortType::Scores => json.is_object(),
        PortType::Bytes | PortType::Image | PortType::Tensor | PortType::Json => true,
    };
    let is_number = matches!(ty, PortType::Number | PortType::Integer | PortType::Json);
    match check {
        Check::Equals(json) | Check::About(json, _) => !is_fit(json) && json != neutral,
        Check::AtLeast(_) | Check::AtMost(_) => !is_number && !neutral.is_number(),
        Check::Contains(json) => match ty {
            PortType::Text | PortType::TextList => !json.is_string(),
            PortType::Number | PortType::Integer | PortType::Bool => true,
            _ => false,
        },
        Check::Size(_) => matches!(ty, PortType::Number | PortType::Integer | PortType::Bool),
        Check::Absent(_) | Check::Null(_) => false,
    }
}
