//! What code of plugins runs while pipelines are loaded: told as it begins, and known where it does
//! not come back.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A piece of a plugin's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The plugin's name, version and file.
    pub plugin: Arc<str>,
    /// What of it runs, such as "in `init`".
    pub doing: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plugin {}, {},", self.plugin, self.doing)
    }
}

type Tell = Box<dyn Fn(&Step) + Send + Sync>;

/// The piece of a plugin's code that runs now, if one does.
#[derive(Default)]
pub struct Steps {
    now: Mutex<Option<Step>>,
    begun: AtomicU64,
    tell: Option<Tell>,
}

impl Steps {
    /// Steps of which each is told before it begins.
    #[must_use]
    pub fn telling(tell: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        Self {
            now: Mutex::default(),
            begun: AtomicU64::new(0),
            tell: Some(Box::new(tell)),
        }
    }

    /// The step that runs now.
    #[must_use]
    pub fn now(&self) -> Option<Step> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// How many steps have begun: who waits for a step does so anew after each.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Begins a step, which lasts until what this gives is dropped.
    pub(super) fn enter(&self, plugin: &Arc<str>, doing: String) -> Entered<'_> {
        let step = Step {
            plugin: plugin.clone(),
            doing,
        };
        if let Some(tell) = &self.tell {
            tell(&step);
        }
        self.set(Some(step));
        Entered(self)
    }

    /// Says what step runs now, in another process for one.
    pub(super) fn set(&self, step: Option<Step>) {
        if step.is_some() {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

/// A step that runs.
pub(super) struct Entered<'s>(&'s Steps);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_as_it_begins_and_is_over_when_it_comes_back() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = told.clone();
        let steps = Steps::telling(move |step| telling.lock().unwrap().push(step.to_string()));
        assert_eq!((steps.now(), steps.begun()), (None, 0));
        {
            let _step = steps.enter(&"acme 1.0".into(), "in `init`".into());
            assert_eq!(steps.now().unwrap().doing, "in `init`");
            assert_eq!(
                *told.lock().unwrap(),
                ["the plugin acme 1.0, in `init`,"],
                "before it began"
            );
        }
        assert_eq!((steps.now(), steps.begun()), (None, 1));
    }
}
