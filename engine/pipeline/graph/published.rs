//! `publish = { .. }`: what the response shows of a stage, as the file says.

use omnizap_contract::{Output, PortType, Publish};
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
