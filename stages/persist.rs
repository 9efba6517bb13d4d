//! `persist`: remembers an image: its embedding, so that it is found again; what the nsfw model
//! said of it; the names that clients have for it, and what the model saw in it, so that
//! feedback on it teaches.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use omnizap_contract::common::fold::fold;
use omnizap_contract::typed::{In, OneOf, Opt, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, ErrorKind, Facts, Health, Inputs, Observed,
    Options, Outputs, Ports, Runner, Scores, StageKind, StageSpec, choices,
};
use omnizap_services::store::{Frames, ImageRecord, Look, LookLabels, Store, label_set, limits};

const EMBEDDING: In<Embedding> = In::required("embedding", "the picture's vector");
const CONTENT_HASH: In<Text> = In::required("content_hash", "SHA-256 of the bytes");
const IMAGE_HASH: In<Text> = In::required(
    "image_hash",
    "the name by which feedback will find the image",
);
const ASSET_ID: In<Option<Text>> = In::optional("asset_id", "the client's own id of it");
const THEME: In<Option<Text>> = In::optional("theme", "the theme of the request");
const CLIP_SCORES: In<Option<Scores>> = In::optional(
    "clip_scores",
    "what the model alone said: what feedback on the image will be about",
);
const DEFAULT_LABELS: In<Option<bool>> = In::optional(
    "default_labels",
    "true where the request brought no labels of its own",
);
const NSFW_PROBABILITIES: In<Option<Embedding>> = In::optional(
    "nsfw_probabilities",
    "what the nsfw model gave its classes, where it is new",
);

const FRAME: In<Option<i64>> = In::optional("frame", "which frame of the file decided");
const FRAMES_SEEN: In<Option<i64>> =
    In::optional("frames_seen", "how many frames of the file were looked at");

const WRITE: Opt<OneOf<Write>> = Opt::one_of(
    "write",
    Write::Behind as usize,
    "when the image is written: behind the answer, through a bounded queue, or before it",
);
const EMBEDDINGS: Opt<bool> = Opt::flag(
    "embeddings",
    true,
    "whether embeddings are kept; without them feedback teaches all the same, and no image is \
     recalled or similar",
);

choices! {
    /// When an image is written.
    enum Write {
        Behind = "behind",
        Before = "before",
    }
}

/// The kind `persist`.
pub struct Persist {
    store: Store,
}

impl Persist {
    /// The kind, with the store that it writes to.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "remembers the image's embedding, names and labels for later requests";
    StageSpec::new("persist", doc, [WRITE.spec(), EMBEDDINGS.spec()])
});

impl StageKind for Persist {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports::new(
            [
                EMBEDDING.port(),
                CONTENT_HASH.port(),
                IMAGE_HASH.port(),
                ASSET_ID.port(),
                THEME.port(),
                CLIP_SCORES.port(),
                DEFAULT_LABELS.port(),
                NSFW_PROBABILITIES.port(),
                FRAME.port(),
                FRAMES_SEEN.port(),
            ],
            [],
        )
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        self.store.start()?;
        Ok(Runner::waits(Persister {
            store: self.store.clone(),
            before: options.get(WRITE) == Write::Before,
            embeddings: options.get(EMBEDDINGS),
            default_set: Mutex::default(),
        }))
    }
}

struct Persister {
    store: Store,
    before: bool,
    embeddings: bool,
    default_set: Mutex<Option<DefaultSet>>,
}

/// The default labels as they came last, and the key of their set: to make it of many labels takes
/// longer than all else that is done here.
struct DefaultSet {
    labels: Vec<Arc<str>>,
    key: Arc<str>,
}

impl Persister {
    /// The key of the set of labels that were scored.
    fn set_of(&self, scores: &Scores, is_default: bool) -> Arc<str> {
        let labels = || scores.iter().map(|score| &score.label);
        let make = || -> Arc<str> { label_set(labels().map(|label| &**label)).into() };
        if !is_default {
            return make();
        }
        let mut last = self
            .default_set
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if labels().eq(&last.labels) => last.key.clone(),
            _ => {
                let (labels, key) = (labels().cloned().collect(), make());
                let made = DefaultSet { labels, key };
                last.insert(made).key.clone()
            }
        }
    }

    /// What the model saw in the picture; none where it was not asked.
    fn look(&self, inputs: &Inputs) -> Result<Option<Look>, Error> {
        let Some(scores) = inputs.get(CLIP_SCORES)? else {
            return Ok(None);
        };
        let default_labels = inputs.get(DEFAULT_LABELS)? == Some(true);
        let probabilities = scores
            .iter()
            .map(|score| (&*score.label, score.probability));
        Ok(Some(Look {
            // As feedback and adaptive scoring know it.
            theme: line(THEME, inputs, limits::THEME_CHARS)?
                .map(|theme| fold(&theme).into())
                .unwrap_or_default(),
            label_set: self.set_of(scores, default_labels),
            default_labels,
            labels: LookLabels::of(probabilities),
        }))
    }
}

impl Observed for Persister {
    fn health(&self) -> Health {
        let stats = self.store.stats();
        let facts = Facts::new()
            .with("images_waiting", stats.images_waiting)
            .with("images_dropped", stats.images_dropped)
            .with("embeddings_kept", self.embeddings);
        Health {
            facts,
            ..self.store.health()
        }
    }

    fn counters(&self) -> Counters {
        let stats = self.store.stats();
        Counters::new()
            .gauge("images_waiting", stats.images_waiting as f64)
            .total("images_written", stats.images_written)
            .total("images_dropped", stats.images_dropped)
            .total("store_failures", stats.failures)
    }
}

impl AsyncStage for Persister {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let record = ImageRecord {
            content_hash: inputs.get(CONTENT_HASH)?.clone(),
            image_hash: inputs.get(IMAGE_HASH)?.clone(),
            asset_id: line(ASSET_ID, &inputs, limits::ASSET_CHARS)?,
            embedding: inputs.get(EMBEDDING)?.clone(),
            keep_embedding: self.embeddings,
            look: self.look(&inputs)?,
            frames: frames(&inputs)?,
            nsfw: inputs.get(NSFW_PROBABILITIES)?.cloned(),
        };
        if !self.before {
            // A full queue is counted and logged there; the answer does not suffer.
            self.store.remember_later(record);
        } else if let Err(error) = self.store.remember(record).await
            && !error.is_closed()
        {
            tracing::warn!(%error, request = %call.request_id, "the image was not stored");
        }
        Ok(Outputs::new())
    }

    async fn close(&self) {
        self.store.flush().await;
    }
}

/// The frames that the embedding is of, where that is known.
fn frames(inputs: &Inputs) -> Result<Option<Frames>, Error> {
    let (frame, seen) = (inputs.get(FRAME)?, inputs.get(FRAMES_SEEN)?);
    let frames = frame.zip(seen);
    Ok(frames.map(|(frame, seen)| Frames { frame, seen }))
}

/// What a client sent as one line of text, trimmed; the pipeline file usually has checked it.
fn line(
    port: In<Option<Text>>,
    inputs: &Inputs,
    max_chars: usize,
) -> Result<Option<Arc<str>>, Error> {
    let Some(text) = inputs.get(port)? else {
        return Ok(None);
    };
    let trimmed = text.trim();
    let fault = if trimmed.chars().nth(max_chars).is_some() {
        format!("is over the limit of {max_chars} characters")
    } else if trimmed.chars().any(char::is_control) {
        "holds a control character".to_owned()
    } else {
        return Ok((!trimmed.is_empty()).then(|| trimmed.into()));
    };
    let port = port.name();
    Err(Error::new(ErrorKind::Invalid, format!("{port}: {fault}"))
        .with_code(format!("invalid_{port}")))
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Score, Value};
    use omnizap_services::vectors::Query;
    use serde_json::json;

    use super::*;
    use crate::testing::{call, inputs, options, store};

    fn embedding() -> Value {
        Value::from(Embedding {
            model: "m@1".into(),
            vector: [0.6, 0.8].into(),
        })
    }

    async fn run(store: &Store, write: &str, asset_id: Option<&str>) -> Result<Outputs, Error> {
        let kind = Persist::new(store.clone());
        let options = options(&kind, [("write", json!(write))]);
        let Runner::Async(stage) = kind.build(&options).await? else {
            panic!("an async stage");
        };
        let scores = [("cat", 0.75), ("dog", 0.25)].map(|(label, probability)| Score {
            label: label.into(),
            logit: 0.0,
            probability,
        });
        let inputs = inputs(
            &kind,
            [
                ("embedding", Some(embedding())),
                ("content_hash", Some("c".repeat(64).into())),
                ("image_hash", Some("a".repeat(64).into())),
                ("asset_id", asset_id.map(Value::from)),
                ("clip_scores", Some(Scores(scores.into()).into())),
            ],
        );
        let outputs = stage.run(inputs, &call()).await?;
        stage.close().await;
        Ok(outputs)
    }

    #[tokio::test]
    async fn an_image_is_there_after_a_restart() {
        for write in ["behind", "before"] {
            let folder = tempfile::tempdir().unwrap();
            run(&store(folder.path()), write, Some("asset"))
                .await
                .unwrap();

            let again = store(folder.path());
            let found = again
                .image_embedding(&"c".repeat(64), "m@1", limits::READ)
                .await
                .unwrap();
            assert_eq!(found.unwrap(), [0.6, 0.8], "{write}");
            let other = again
                .image_embedding(&"a".repeat(64), "m@1", limits::READ)
                .await
                .unwrap();
            assert!(other.is_none(), "a name is no key");

            again.start().unwrap();
            for _ in 0..100 {
                if again.is_loaded() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            let hits = again
                .similar(Query {
                    model: "m@1".into(),
                    vector: [0.6, 0.8].into(),
                    threshold: 0.9,
                    limit: 1,
                    scan: 0,
                    image_hash: None,
                    content_hash: None,
                })
                .await;
            assert_eq!(hits[0].asset_id.as_deref(), Some("asset"), "{write}");
        }
    }

    #[tokio::test]
    async fn an_asset_id_of_any_length_gives_an_answer_or_a_422() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let longest = "é".repeat(limits::ASSET_CHARS);
        run(&store, "before", Some(&longest)).await.unwrap();
        assert_eq!(store.degraded(), None);
        for bad in [format!("{longest}x"), "a\0b".into()] {
            let error = run(&store, "before", Some(&bad)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().starts_with("asset_id: "), "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_does_not_cost_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "not a folder").unwrap();
        let store = store(&file);
        run(&store, "before", None).await.unwrap();
        assert!(store.degraded().is_some());
        assert_eq!(store.index().len(), 1, "searches see it all the same");
    }
}
