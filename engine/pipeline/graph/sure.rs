//! Which values are sure to be there in every run, whatever is switched and whatever fails, and why
//! others are not. `required` does not serve here: it asks of the response, and trusts who writes an
//! `if` or a switch that something else stands in.

use omnizap_contract::Presence;

use super::binder::Binder;
use super::{Source, needed};
use crate::pipeline::config::OnError;

impl Binder<'_> {
    /// Whether a source has a value in every run that goes well.
    pub(super) fn is_sure(&self, source: Source) -> bool {
        self.why_unsure(source).is_none()
    }

    /// Why what comes from these sources may be absent; [`None`] where it is always there.
    pub(super) fn why_absent(&self, sources: &[Source]) -> Option<String> {
        let mut first = None;
        for source in sources {
            let why = self.why_unsure(*source)?;
            first.get_or_insert(why);
        }
        Some(first.unwrap_or_else(|| "nothing gives it".to_owned()))
    }

    fn why_unsure(&self, source: Source) -> Option<String> {
        match source {
            Source::Request(port) => {
                let name = self.port_name(source);
                (!self.request_sure[port]).then(|| format!("a request may leave `{name}` out"))
            }
            Source::Stage { node, output } => {
                let stage = &self.file.stages[node];
                let name = stage.name.get_ref();
                let port = &self.ports[node].outputs[output];
                if port.optional {
                    return Some(format!("`{name}` may leave it out"));
                }
                if self.must_run[node] {
                    return None;
                }
                if stage.on_error != OnError::Fail && port.failed.is_none() {
                    return Some(format!("`{name}` may fail, and is skipped then"));
                }
                self.why_skipped(node)
            }
        }
    }

    /// The same for who asks within a request that goes well: one that must run has what it needs.
    pub(super) fn why_null(&self, sources: &[Source]) -> Option<String> {
        if self.feeds_what_must_run(sources) {
            return None;
        }
        self.why_absent(sources)
    }

    /// True where a stage that must run takes what comes from these.
    fn feeds_what_must_run(&self, sources: &[Source]) -> bool {
        let mut must_run = (0..self.inputs.len()).filter(|node| self.must_run[*node]);
        must_run.any(|node| {
            let inputs = self.ports[node].inputs.iter().zip(&self.inputs[node]);
            let mut required = inputs
                .filter(|(port, _)| matches!(port.presence, Presence::Required))
                .map(|(_, from)| from);
            required.any(|from| from.iter().all(|from| sources.contains(from)))
        })
    }

    /// Why a stage may not run, asked once for each: a value may have hundreds of sources, each
    /// with as many.
    fn why_skipped(&self, node: usize) -> Option<String> {
        if let Some(known) = &self.skipped.borrow()[node] {
            return known.clone();
        }
        // Who feeds itself is reported as a cycle, and not here.
        self.skipped.borrow_mut()[node] = Some(None);
        let why = self.find_why_skipped(node);
        self.skipped.borrow_mut()[node] = Some(why.clone());
        why
    }

    fn find_why_skipped(&self, node: usize) -> Option<String> {
        let stage = &self.file.stages[node];
        let name = stage.name.get_ref();
        if !stage.enabled {
            return Some(format!("`{name}` is off"));
        }
        if stage.is_toggled {
            return Some(format!("`{name}` can be switched off"));
        }
        if stage.condition.is_some() {
            return Some(format!("`{name}` has an `if`"));
        }
        if stage.on_demand {
            return Some(format!("`{name}` runs on demand"));
        }
        let ports = &self.ports[node].inputs;
        let is_sure = |at: usize| {
            let mut sources = self.inputs[node][at].iter();
            sources.any(|source| self.is_sure(*source))
        };
        let is_absent = |at: &usize| needed(ports, *at).is_some_and(|mut any| !any.any(is_sure));
        let input = &ports[(0..ports.len()).find(is_absent)?].name;
        Some(format!("`{name}` needs `{input}`, which may be absent"))
    }
}
