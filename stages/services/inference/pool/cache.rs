//! Embeddings of texts that were asked for before, bounded.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::TextForm;

/// Two generations a form: what is asked for moves to the young one, and when that is
/// full the old one, where nothing was asked for in the meantime, is forgotten.
pub(super) struct Cache {
    raw: Mutex<Generations>,
    labels: Mutex<Generations>,
}

struct Generations {
    /// Most entries of one generation.
    capacity: usize,
    young: HashMap<Arc<str>, Arc<[f32]>>,
    old: HashMap<Arc<str>, Arc<[f32]>>,
}

impl Cache {
    /// A cache of at most `max_texts` texts of each form.
    pub(super) fn new(max_texts: usize) -> Self {
        Self {
            raw: Mutex::new(Generations::new(max_texts)),
            labels: Mutex::new(Generations::new(max_texts)),
        }
    }

    /// What is known of these texts, in their order.
    pub(super) fn get_all(&self, form: TextForm, texts: &[Arc<str>]) -> Vec<Option<Arc<[f32]>>> {
        self.with(form, |cache| {
            texts.iter().map(|text| cache.get(text)).collect()
        })
    }

    /// Remembers embeddings.
    pub(super) fn insert_all(
        &self,
        form: TextForm,
        entries: impl IntoIterator<Item = (Arc<str>, Arc<[f32]>)>,
    ) {
        self.with(form, |cache| {
            for (text, vector) in entries {
                cache.insert(text, vector);
            }
        });
    }

    fn with<T>(&self, form: TextForm, use_it: impl FnOnce(&mut Generations) -> T) -> T {
        let cache = match form {
            TextForm::Raw => &self.raw,
            TextForm::Label => &self.labels,
        };
        // Nothing that happens under the lock leaves the maps half changed.
        use_it(&mut cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Generations {
    fn new(max_texts: usize) -> Self {
        Self {
            capacity: (max_texts / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn get(&mut self, text: &str) -> Option<Arc<[f32]>> {
        if let Some(vector) = self.young.get(text) {
            return Some(vector.clone());
        }
        let (text, vector) = self.old.remove_entry(text)?;
        self.insert(text, vector.clone());
        Some(vector)
    }

    fn insert(&mut self, text: Arc<str>, vector: Arc<[f32]>) {
        if self.young.len() >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(text, vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: std::ops::Range<usize>) -> Vec<Arc<str>> {
        range.map(|n| n.to_string().into()).collect()
    }

    fn known(cache: &Cache, range: std::ops::Range<usize>) -> usize {
        let found = cache.get_all(TextForm::Raw, &texts(range));
        found.into_iter().flatten().count()
    }

    fn insert(cache: &Cache, range: std::ops::Range<usize>) {
        let vector: Arc<[f32]> = [1.0].into();
        let entries = texts(range).into_iter().map(|text| (text, vector.clone()));
        cache.insert_all(TextForm::Raw, entries);
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let cache = Cache::new(10);
        for round in 0..50 {
            insert(&cache, 7 * round..7 * round + 7);
            let generations = cache.raw.lock().unwrap();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = Cache::new(10);
        insert(&cache, 0..1);
        for round in 1..30 {
            insert(&cache, round..round + 1);
            assert_eq!(known(&cache, 0..1), 1, "round {round}");
        }
        assert_eq!(known(&cache, 1..10), 0);
    }

    #[test]
    fn the_forms_do_not_mix() {
        let cache = Cache::new(10);
        insert(&cache, 0..1);
        assert_eq!(cache.get_all(TextForm::Label, &texts(0..1)), [None]);
    }

    #[test]
    fn keys_compare_by_bytes() {
        let cache = Cache::new(10);
        let entry = ("cafe".into(), Arc::from([1.0].as_slice()));
        cache.insert_all(TextForm::Raw, [entry]);
        assert_eq!(
            cache.get_all(TextForm::Raw, &["café".into(), "Cafe".into()]),
            [None, None]
        );
    }
}
