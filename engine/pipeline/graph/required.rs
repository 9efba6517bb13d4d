//! What the response requires: fields without which an answer would be none.
//!
//! An optional output may be absent from any run (`recall` finds only what was seen
//! before), so whoever has nothing else to take may be skipped in any run. Such a stage
//! fills no required field: a service whose `embed` is off would start, and answer
//! nothing about a new picture. Conditions do not count here: who writes one sees to it
//! that something else stands in. That is why `sure` does not serve here: for a condition, which
//! would meet null, every `if`, switch and failure counts.

use std::fmt::Write as _;

use super::{Graph, Source, State, needed};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};

/// Checks that every field of `require` has a stage that is sure to fill it, and marks those
/// fields: a run that leaves one out all the same gives no answer.
///
/// # Errors
/// Every one that has none, and which stages are off.
pub(super) fn check(graph: &mut Graph) -> Result<(), Diagnostics> {
    if graph.file.has_unreadable_part {
        return Ok(());
    }
    let firm = firm(graph);
    let names: Vec<String> = graph
        .file
        .require
        .iter()
        .map(|name| name.get_ref().clone())
        .collect();
    for field in &mut graph.response {
        field.is_required = names.contains(&field.name);
    }
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
        if field
            .sources
            .iter()
            .any(|source| gives(graph, &firm, *source))
        {
            if let [Source::Request(_)] = field.sources[..] {
                let echo = format!("the response requires `{name}`, which a request may leave out");
                let echo = Diagnostic::new(&graph.file.source, required.span(), echo);
                let help =
                    "name what a stage publishes: what an upload is called is the client's to say";
                diagnostics.push(echo.help(help));
            }
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
            format!("the response requires `{name}`, and no stage that is left is sure to give it"),
        );
        diagnostics.push(if reasons.is_empty() {
            missing.help("every stage that publishes it may leave it out")
        } else {
            missing.help(reasons)
        });
    }
    diagnostics.into_result()
}

/// The active stages that run with nothing but the request and outputs that are sure.
fn firm(graph: &Graph) -> Vec<bool> {
    let mut firm = vec![false; graph.nodes.len()];
    for index in &graph.order {
        let node = &graph.nodes[*index];
        let ports = &node.ports.inputs;
        let is_fed = |at: usize| {
            let mut sources = node.inputs[at].iter();
            sources.any(|source| gives(graph, &firm, *source))
        };
        let mut each = 0..ports.len();
        let runs = each.all(|at| needed(ports, at).is_none_or(|mut any| any.any(is_fed)));
        firm[*index] = runs;
    }
    firm
}

/// Whether a source is sure to have a value, as far as the graph tells.
fn gives(graph: &Graph, firm: &[bool], source: Source) -> bool {
    match source {
        Source::Request(_) => true,
        Source::Stage { node, output } => {
            firm[node] && !graph.nodes[node].ports.outputs[output].optional
        }
    }
}
