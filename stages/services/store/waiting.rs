//! Images that wait to be written, each in one place: a picture that comes again while it waits
//! takes no place of another's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::image_record::ImageRecord;
use super::limits;

/// What is to be told once all that came before is written.
pub(super) type Flushed = oneshot::Sender<()>;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits, and its image did not before.
    New,
    /// It waits with others of its image.
    Joined,
    /// There was no place.
    Full,
}

#[derive(Debug)]
enum Entry {
    Image(Arc<str>),
    Flush(Flushed),
}

/// The queue, oldest first. Its images are bounded by [`limits::QUEUE`], the records of each by
/// [`limits::RECORDS_PER_IMAGE`].
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    /// What is to be written of each image, by the hash of its bytes, oldest first.
    records: HashMap<Arc<str>, Vec<ImageRecord>>,
}

/// What is taken out of the queue at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The records of each image.
    pub(super) images: Vec<Vec<ImageRecord>>,
    pub(super) flushes: Vec<Flushed>,
}

impl Waiting {
    pub(super) fn push(&mut self, mut record: ImageRecord) -> Pushed {
        if let Some(known) = self.records.get_mut(&record.content_hash) {
            // The one that it is joined with goes last: the last says what the image is called.
            if let Some(place) = known.iter().rposition(|before| record.takes_in(before)) {
                known.remove(place);
            } else if known.len() >= limits::RECORDS_PER_IMAGE {
                return Pushed::Full;
            }
            let same = known
                .iter()
                .find(|it| it.embedding.model == record.embedding.model);
            if let Some(same) = same {
                record.embedding = same.embedding.clone();
            }
            known.push(record);
            return Pushed::Joined;
        }
        if self.records.len() >= limits::QUEUE {
            return Pushed::Full;
        }
        let content = record.content_hash.clone();
        self.entries.push_back(Entry::Image(content.clone()));
        self.records.insert(content, vec![record]);
        Pushed::New
    }

    /// True where something of an image waits, by the hash of its bytes.
    pub(super) fn has(&self, content: &str) -> bool {
        self.records.contains_key(content)
    }

    /// Tells that one once all that waits now is written.
    pub(super) fn flush(&mut self, flushed: Flushed) {
        self.entries.push_back(Entry::Flush(flushed));
    }

    /// The next images, up to whoever is to be told; nothing where nothing waits.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut count = 0;
        while count < limits::BATCH {
            match self.entries.pop_front() {
                Some(Entry::Image(content)) => {
                    let records = self.records.remove(&content).unwrap_or_default();
                    count += records.len();
                    batch.images.push(records);
                }
                Some(Entry::Flush(flushed)) => {
                    batch.flushes.push(flushed);
                    break;
                }
                None => break,
            }
        }
        let is_empty = batch.images.is_empty() && batch.flushes.is_empty();
        (!is_empty).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::Embedding;

    use super::*;
    use crate::store::{Look, LookLabels};

    fn record(content: &str, name: &str, asset_id: Option<&str>, theme: &str) -> ImageRecord {
        ImageRecord {
            content_hash: content.into(),
            image_hash: name.into(),
            asset_id: asset_id.map(Into::into),
            embedding: Arc::new(Embedding {
                model: "m@1".into(),
                vector: [1.0].into(),
            }),
            keep_embedding: true,
            look: (!theme.is_empty()).then(|| Look {
                theme: theme.into(),
                label_set: "set".into(),
                default_labels: false,
                labels: LookLabels::of([("cat", 0.75), ("dog", 0.25)]),
            }),
            frames: None,
            nsfw: None,
        }
    }

    /// What waits of images, as (name, asset id, theme).
    fn taken(waiting: &mut Waiting) -> Vec<(String, Option<String>, Option<String>)> {
        let batch = waiting.take().unwrap();
        let records = batch.images.into_iter().flatten();
        records
            .map(|it| {
                let theme = it.look.map(|look| look.theme.to_string());
                let asset_id = it.asset_id.map(|id| id.to_string());
                (it.image_hash.to_string(), asset_id, theme)
            })
            .collect()
    }

    fn said(
        name: &str,
        id: Option<&str>,
        theme: Option<&str>,
    ) -> [(String, Option<String>, Option<String>); 1] {
        [(name.into(), id.map(Into::into), theme.map(Into::into))]
    }

    #[test]
    fn an_image_that_comes_again_takes_no_other_place() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.push(record("a", "n", None, "t")), Pushed::New);
        for _ in 0..3 * limits::QUEUE {
            assert_eq!(
                waiting.push(record("a", "n", Some("x"), "")),
                Pushed::Joined
            );
        }
        for number in 1..limits::QUEUE {
            let content = number.to_string();
            assert_eq!(waiting.push(record(&content, "n", None, "")), Pushed::New);
        }
        assert_eq!(waiting.push(record("more", "n", None, "")), Pushed::Full);
        assert_eq!(waiting.push(record("a", "n", None, "t")), Pushed::Joined);
        let first = waiting.take().unwrap();
        assert_eq!(first.images.len(), limits::BATCH);
        assert_eq!(first.images[0].len(), 1);
        assert_eq!(waiting.push(record("more", "n", None, "")), Pushed::New);
    }

    #[test]
    fn all_that_is_said_of_an_image_waits_and_the_last_name_last() {
        let mut waiting = Waiting::default();
        waiting.push(record("a", "n", Some("x"), "t"));
        waiting.push(record("a", "n", None, ""));
        assert_eq!(taken(&mut waiting), said("n", Some("x"), Some("t")));

        for (name, asset_id, theme) in [("n", "x", "t"), ("m", "y", "u"), ("n", "x", "t")] {
            waiting.push(record("a", name, Some(asset_id), theme));
        }
        let kept = taken(&mut waiting);
        assert_eq!(kept[..1], said("m", Some("y"), Some("u")));
        assert_eq!(kept[1..], said("n", Some("x"), Some("t")));
        assert!(waiting.take().is_none());
    }

    #[test]
    fn what_is_said_of_one_image_is_bounded_and_its_vector_is_held_once() {
        let mut waiting = Waiting::default();
        for number in 0..limits::RECORDS_PER_IMAGE {
            let name = number.to_string();
            assert_ne!(waiting.push(record("a", &name, None, "t")), Pushed::Full);
        }
        assert_eq!(
            waiting.push(record("a", "one more", None, "t")),
            Pushed::Full
        );
        let batch = waiting.take().unwrap();
        let records = &batch.images[0];
        assert_eq!(records.len(), limits::RECORDS_PER_IMAGE);
        let is_first = |it: &ImageRecord| Arc::ptr_eq(&it.embedding, &records[0].embedding);
        assert!(records.iter().all(is_first));
    }

    #[test]
    fn whoever_waits_is_told_after_what_came_before() {
        let mut waiting = Waiting::default();
        waiting.push(record("a", "n", None, ""));
        waiting.flush(oneshot::channel().0);
        waiting.push(record("b", "n", None, ""));
        let first = waiting.take().unwrap();
        assert_eq!((first.images.len(), first.flushes.len()), (1, 1));
        let second = waiting.take().unwrap();
        assert_eq!((second.images.len(), second.flushes.len()), (1, 0));
    }
}
