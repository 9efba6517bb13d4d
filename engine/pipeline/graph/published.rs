//! What the response shows of a stage, as the file says with `publish = { .. }`, and which stages it
//! cannot do without.

use omnizap_contract::{Output, PortType, Ports, Publish};
use serde_json::Value as Json;

use crate::pipeline::config::{PipelineFile, PublishAs, Published, StageEntry};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};

/// Types of which an answer would show nothing but their size.
const UNSHOWN: [PortType; 3] = [PortType::Bytes, PortType::Image, PortType::Tensor];

/// Changes what a stage's outputs publish, as its file says.
pub(super) fn publish_as(
    file: &PipelineFile,
    stage: &StageEntry,
    outputs: &mut [Output],
    mistakes: &mut Diagnostics,
) {
    let changes = match &stage.publish {
        Published::Nothing => {
            for output in outputs {
                output.publish = None;
            }
            return;
        }
        Published::Ports(changes) => changes,
    };
    for (port, change) in changes {
        let name = port.get_ref();
        let output = outputs.iter_mut().find(|output| output.name == *name);
        let Some(output) = output else {
            let what = format!("stage `{}` has no output `{name}`", stage.name.get_ref());
            let unknown = Diagnostic::new(&file.source, port.span(), what);
            let names = outputs.iter().map(|output| &*output.name);
            mistakes.push(unknown.nearest(name, names));
            continue;
        };
        let field = match change {
            PublishAs::Hidden => {
                output.publish = None;
                continue;
            }
            PublishAs::Field(field) => field,
        };
        if UNSHOWN.contains(&output.ty) {
            let what = format!(
                "the output `{name}` is {}: no response shows that",
                output.ty
            );
            mistakes.push(Diagnostic::new(&file.source, field.span(), what));
            continue;
        }
        let known = output.publish.take();
        output.publish = Some(Publish {
            field: field.get_ref().clone().into(),
            neutral: known
                .as_ref()
                .map_or(Json::Null, |known| known.neutral.clone()),
            decimals: known.and_then(|known| known.decimals),
        });
    }
}

/// For each stage whether it alone gives a field without which an answer is none: a request in
/// which it does not run fails, whatever else is asked of it.
pub(super) fn must_run(file: &PipelineFile, ports: &[Ports]) -> Vec<bool> {
    let gives = |node: usize, field: &str| {
        let mut outputs = ports[node].outputs.iter();
        file.stages[node].enabled
            && outputs.any(|port| {
                let publish = port.publish.as_ref();
                !port.optional && publish.is_some_and(|publish| publish.field == field)
            })
    };
    let mut must_run = vec![false; ports.len()];
    for field in &file.require {
        let mut all = (0..ports.len()).filter(|node| gives(*node, field.get_ref()));
        if let (Some(only), None) = (all.next(), all.next()) {
            must_run[only] = true;
        }
    }
    must_run
}
