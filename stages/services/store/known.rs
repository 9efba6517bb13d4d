//! What was written of images a while ago, so that one that comes again with nothing new is not
//! written again. What is not known here is written, which is always right: this knows little,
//! for a while, and nothing once there may be less in the database than was written.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::image_record::{ImageRecord, is_of_one_row};
use super::limits;
use super::look::Look;

/// The hash of the bytes, and the model that embedded them.
type Key = (Arc<str>, Arc<str>);

/// What was written of one image.
#[derive(Debug)]
struct Written {
    /// When it was first.
    since: Instant,
    /// What the image was called last.
    image_hash: Arc<str>,
    asset_id: Option<Arc<str>>,
    /// The nsfw model whose classes were kept.
    nsfw: Option<Arc<str>>,
    /// The newest last, at most [`limits::KNOWN_LOOKS`].
    looks: VecDeque<Look>,
}

impl Written {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < limits::KNOWN_FOR
    }

    /// True where a record says nothing else. Whoever sends no id of its own says nothing of it.
    fn has(&self, record: &ImageRecord) -> bool {
        let is_called_so = self.image_hash == record.image_hash
            && (record.asset_id.is_none() || record.asset_id == self.asset_id);
        let is_checked = record
            .nsfw
            .as_ref()
            .is_none_or(|nsfw| self.nsfw.as_ref() == Some(&nsfw.model));
        let is_seen_so = record
            .look
            .as_ref()
            .is_none_or(|look| self.looks.iter().any(|known| says(known, look)));
        is_called_so && is_checked && is_seen_so
    }

    fn add(&mut self, record: &ImageRecord) {
        self.image_hash = record.image_hash.clone();
        if record.asset_id.is_some() {
            self.asset_id.clone_from(&record.asset_id);
        }
        if let Some(nsfw) = &record.nsfw {
            self.nsfw = Some(nsfw.model.clone());
        }
        if let Some(look) = &record.look {
            // The later of two takes the place of the earlier, as it does in the table.
            let mut look = look.clone();
            if let Some(place) = self.looks.iter().position(|it| is_of_one_row(it, &look)) {
                let before = self.looks.remove(place);
                look.default_labels |= before.is_some_and(|before| before.default_labels);
            }
            self.looks.push_back(look);
            if self.looks.len() > limits::KNOWN_LOOKS {
                self.looks.pop_front();
            }
        }
    }
}

/// Two halves: once the younger one is full the older one makes room.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The number of the database that it was written to.
    database: u64,
    young: HashMap<Key, Written>,
    old: HashMap<Key, Written>,
    /// How often all was unlearnt.
    forgotten: u64,
}

impl Known {
    /// True where that database has all that a record says.
    pub(super) fn has(&self, database: u64, record: &ImageRecord) -> bool {
        // Whether others have forgotten an image is seen by its vector alone.
        if database != self.database || !record.keep_embedding {
            return false;
        }
        let key = key_of(record);
        let written = self.young.get(&key).or_else(|| self.old.get(&key));
        written.is_some_and(|written| written.is_fresh() && written.has(record))
    }

    /// Notes that a record was written to that database.
    pub(super) fn learn(&mut self, database: u64, record: &ImageRecord) {
        if database != self.database {
            self.unlearn_all();
            self.database = database;
        }
        if !record.keep_embedding {
            return;
        }
        let key = key_of(record);
        let before = self.old.remove(&key).or_else(|| self.young.remove(&key));
        let mut written = before.filter(Written::is_fresh).unwrap_or_else(|| Written {
            since: Instant::now(),
            image_hash: record.image_hash.clone(),
            asset_id: None,
            nsfw: None,
            looks: VecDeque::new(),
        });
        written.add(record);
        if self.young.len() >= limits::KNOWN / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, written);
    }

    /// Notes that an image is not there.
    pub(super) fn unlearn(&mut self, content_hash: &str, model: &str) {
        let key: Key = (content_hash.into(), model.into());
        self.young.remove(&key);
        self.old.remove(&key);
    }

    /// How often it was noted that something may not be there.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Notes that something may not be there.
    pub(super) fn unlearn_all(&mut self) {
        self.forgotten += 1;
        self.young.clear();
        self.old.clear();
    }
}

/// True where a look that was kept says all that another does.
fn says(known: &Look, look: &Look) -> bool {
    is_of_one_row(known, look)
        && known.labels == look.labels
        && (known.default_labels || !look.default_labels)
}

fn key_of(record: &ImageRecord) -> Key {
    (record.content_hash.clone(), record.embedding.model.clone())
}

#[cfg(test)]
mod tests {
    use omnizap_contract::Embedding;

    use super::*;
    use crate::store::LookLabels;

    fn record(
        content: &str,
        name: &str,
        asset_id: Option<&str>,
        theme: Option<&str>,
    ) -> ImageRecord {
        ImageRecord {
            content_hash: content.into(),
            image_hash: name.into(),
            asset_id: asset_id.map(Into::into),
            embedding: Arc::new(Embedding {
                model: "m@1".into(),
                vector: [1.0].into(),
            }),
            keep_embedding: true,
            look: theme.map(|theme| Look {
                theme: theme.into(),
                label_set: "set".into(),
                default_labels: true,
                labels: LookLabels::of([("cat", 0.75), ("dog", 0.25)]),
            }),
            frames: None,
            nsfw: None,
        }
    }

    #[test]
    fn only_what_says_nothing_new_is_known() {
        let mut known = Known::default();
        let first = record("a", "n", Some("x"), Some("t"));
        assert!(!known.has(1, &first));
        known.learn(1, &first);
        assert!(known.has(1, &first));
        assert!(known.has(1, &record("a", "n", None, None)), "says less");
        for new in [
            record("b", "n", Some("x"), Some("t")),
            record("a", "m", Some("x"), Some("t")),
            record("a", "n", Some("y"), Some("t")),
            record("a", "n", Some("x"), Some("u")),
            ImageRecord {
                nsfw: Some(first.embedding.clone()),
                ..first.clone()
            },
            ImageRecord {
                keep_embedding: false,
                ..first.clone()
            },
        ] {
            assert!(!known.has(1, &new), "{new:?}");
        }
        // What it was called before is new again once it is called otherwise.
        known.learn(1, &record("a", "n", Some("y"), None));
        assert!(!known.has(1, &first));
        assert!(known.has(1, &record("a", "n", Some("y"), Some("t"))));
    }

    #[test]
    fn nothing_is_known_of_what_may_not_be_there() {
        let mut known = Known::default();
        let first = record("a", "n", None, Some("t"));
        known.learn(1, &first);
        assert!(!known.has(2, &first), "another database");
        known.unlearn("a", "another model");
        assert!(known.has(1, &first));
        known.unlearn("a", "m@1");
        assert!(!known.has(1, &first));
        known.learn(1, &first);
        known.learn(2, &record("b", "n", None, None));
        assert!(!known.has(1, &first) && !known.has(2, &first));
        known.learn(2, &first);
        known.unlearn_all();
        assert!(!known.has(2, &first));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut known = Known::default();
        let last = 3 * limits::KNOWN;
        for number in 0..=last {
            known.learn(1, &record(&number.to_string(), "n", None, None));
            assert!(known.young.len() + known.old.len() <= limits::KNOWN);
        }
        let has = |number: usize| known.has(1, &record(&number.to_string(), "n", None, None));
        assert!(has(last) && has(last - limits::KNOWN / 2) && !has(0));
    }
}
