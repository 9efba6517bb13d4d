//! Which values are sure to be there in every run, whatever is switched and whatever fails, and why
//! others are not.

use omnizap_contract::Presence;

use super::Source;
use super::binder::Binder;
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
                let (name, is_sure) = &self.request_sure[port];
                (!is_sure).then(|| format!("a request may leave `{name}` out"))
            }
            Source::Stage { node, output } => {
                let stage = &self.file.stages[node];
                let name = stage.name.get_ref();
                let port = &self.ports[node].outputs[output];
                if port.optional {
                    return Some(format!("`{name}` may leave it out"));
                }
                if stage.on_error != OnError::Fail && port.failed.is_none() {
                    return Some(format!("`{name}` may fail, and is skipped then"));
                }
                self.why_skipped(node)
            }
        }
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
        let inputs = self.ports[node].inputs.iter().zip(&self.inputs[node]);
        let mut required = inputs.filter(|(port, _)| matches!(port.presence, Presence::Required));
        let absent = required.find_map(|(port, sources)| {
            let mut each = sources.iter();
            let is_sure = each.any(|source| self.is_sure(*source));
            (!is_sure).then_some(&port.name)
        });
        let input = absent?;
        Some(format!("`{name}` needs `{input}`, which may be absent"))
    }
}
