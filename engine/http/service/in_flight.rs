//! How many requests each pipeline has at one time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests by the name of their pipeline: those of a generation that was swapped out count too.
/// A pipeline without any is not kept.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<String, usize>>);

/// The place of one request, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'f> {
    all: &'f InFlight,
    pipeline: &'f str,
}

impl InFlight {
    /// A place among those of a pipeline, where one is left.
    pub(super) fn take<'f>(&'f self, pipeline: &'f str, limit: Option<usize>) -> Option<Place<'f>> {
        let mut counts = self.counts();
        match counts.get_mut(pipeline) {
            Some(count) if limit.is_some_and(|limit| *count >= limit) => return None,
            Some(count) => *count += 1,
            None => {
                counts.insert(pipeline.to_owned(), 1);
            }
        }
        Some(Place {
            all: self,
            pipeline,
        })
    }

    /// True where no place among those of a pipeline is left.
    pub(super) fn is_full(&self, pipeline: &str, limit: Option<usize>) -> bool {
        limit.is_some_and(|limit| self.of(pipeline) >= limit)
    }

    /// How many requests a pipeline has.
    pub(super) fn of(&self, pipeline: &str) -> usize {
        self.counts().get(pipeline).copied().unwrap_or(0)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        if let Some(count) = counts.get_mut(self.pipeline) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.pipeline);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight;

    #[test]
    fn places_are_counted_for_each_pipeline_and_given_back() {
        let all = InFlight::default();
        let first = all.take("a", Some(2)).unwrap();
        let second = all.take("a", Some(2)).unwrap();
        assert!(all.take("a", Some(2)).is_none());
        assert!(all.is_full("a", Some(2)) && !all.is_full("a", Some(3)));
        assert!(!all.is_full("a", None) && !all.is_full("b", Some(1)));
        assert!(all.take("b", Some(1)).is_some(), "another has its own");
        assert!(all.take("a", None).is_some(), "a limit that was lifted");
        assert_eq!((all.of("a"), all.of("b")), (2, 0));
        drop(first);
        assert!(all.take("a", Some(2)).is_some());
        drop(second);
        assert_eq!(all.of("a"), 0);
        assert!(all.counts().is_empty());
    }
}
