//! A look at what the active stages would need to be built, before they are.

use super::{Graph, State};
use crate::pipeline::diagnostic::{Diagnostic, Diagnostics};
use crate::pipeline::options::told;

impl Graph {
    /// What would keep an active stage from being built, as far as a quick look tells: files that
    /// are not there, models that nobody knows.
    #[must_use]
    pub fn inspect(&self) -> Diagnostics {
        let mut mistakes = Diagnostics::default();
        for (entry, node) in self.file.stages.iter().zip(&self.nodes) {
            if node.state != State::Active {
                continue;
            }
            for fault in entry
                .kind
                .inspect(&entry.options)
                .err()
                .into_iter()
                .flatten()
            {
                let mut spans = entry.option_spans.iter();
                let span = spans.find(|(option, _)| *option == fault.option);
                let span = span.map_or(entry.name.span(), |(_, span)| span.clone());
                let what = told(&fault, &entry.kind.spec().options, || {
                    self.file.source.whence(span.clone())
                });
                // An option of [defaults.with] is wrong once, however many stages take it.
                let mistake = Diagnostic::new(&self.file.source, span, what);
                mistakes.push(mistake);
            }
        }
        mistakes.conceal(&self.file.source, &self.file.secrets);
        mistakes
    }
}
