//! `persist`: remembers an image: its embedding, so that it is found again; what the nsfw model
//! said of it; the names that clients have for it, and what the model saw in it, so that
//! feedback on it teaches.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, OptionSpec, OptionType,
    Options, Outputs, PortType, Ports, Runner, StageKind, StageSpec, Value,
};
use omnizap_services::store::{ImageRecord, Look, LookLabels, Store, label_set, limits};
use serde_json::{Map, json};

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "persist".into(),
    doc: "remembers the image's embedding, names and labels for later requests".into(),
    options: vec![
        OptionSpec::new(
            "write",
            OptionType::Choice(["behind", "before"].as_slice().into()),
            "behind",
            "when the image is written: behind the answer, through a bounded queue, or before it",
        ),
        OptionSpec::new(
            "embeddings",
            OptionType::Bool,
            true,
            "whether embeddings are kept; without them feedback teaches all the same, and no image is recalled or similar",
        ),
    ],
    feature: None,
});

impl StageKind for Persist {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![
                Input::required("embedding", PortType::Embedding, "the picture's vector"),
                Input::required("content_hash", PortType::Text, "SHA-256 of the bytes"),
                Input::required(
                    "image_hash",
                    PortType::Text,
                    "the name by which feedback will find the image",
                ),
                Input::optional("asset_id", PortType::Text, "the client's own id of it"),
                Input::optional("theme", PortType::Text, "the theme of the request"),
                Input::optional(
                    "clip_scores",
                    PortType::Scores,
                    "what the model alone said: what feedback on the image will be about",
                ),
                Input::optional(
                    "default_labels",
                    PortType::Bool,
                    "true where the request brought no labels of its own",
                ),
                Input::optional(
                    "nsfw_probabilities",
                    PortType::Embedding,
                    "what the nsfw model gave its classes, where it is new",
                ),
            ],
            outputs: Vec::new(),
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.store.start()?;
            Ok(Runner::Async(Arc::new(Persister {
                store: self.store.clone(),
                before: options.text("write") == Some("before"),
                embeddings: options.bool("embeddings") == Some(true),
            })))
        })
    }
}

struct Persister {
    store: Store,
    before: bool,
    embeddings: bool,
}

impl AsyncStage for Persister {
    fn health(&self) -> Health {
        let stats = self.store.stats();
        let mut facts = Map::new();
        facts.insert("images_waiting".into(), json!(stats.images_waiting));
        facts.insert("images_dropped".into(), json!(stats.images_dropped));
        facts.insert("embeddings_kept".into(), json!(self.embeddings));
        Health {
            facts,
            ..self.store.health()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let record = ImageRecord {
                content_hash: inputs.text("content_hash")?.clone(),
                image_hash: inputs.text("image_hash")?.clone(),
                asset_id: line("asset_id", inputs, limits::ASSET_CHARS)?,
                embedding: inputs.embedding("embedding")?.clone(),
                keep_embedding: self.embeddings,
                look: look(inputs)?,
                nsfw: match inputs.get("nsfw_probabilities") {
                    Some(Value::Embedding(probabilities)) => Some(probabilities.clone()),
                    _ => None,
                },
            };
            if !self.before {
                // A full queue is counted and logged there; the answer does not suffer.
                self.store.remember_later(record);
            } else if let Err(error) = self.store.remember(record).await {
                tracing::warn!(%error, request = %call.request_id, "the image was not stored");
            }
            Ok(Outputs::new())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.store.flush().await;
        })
    }
}

/// What a client sent as one line of text, trimmed; the pipeline file usually has checked it.
fn line(port: &'static str, inputs: &Inputs, max_chars: usize) -> Result<Option<Arc<str>>, Error> {
    let Some(text) = inputs.optional_text(port) else {
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
    Err(Error::new(ErrorKind::Invalid, format!("{port}: {fault}"))
        .with_code(format!("invalid_{port}")))
}

/// What the model saw in the picture; none where it was not asked.
fn look(inputs: &Inputs) -> Result<Option<Look>, Error> {
    let Some(Value::Scores(scores)) = inputs.get("clip_scores") else {
        return Ok(None);
    };
    let labels = scores.iter().map(|score| &*score.label);
    let probabilities = scores
        .iter()
        .map(|score| (&*score.label, score.probability));
    Ok(Some(Look {
        theme: line("theme", inputs, limits::THEME_CHARS)?.unwrap_or_default(),
        label_set: label_set(labels).into(),
        default_labels: matches!(inputs.get("default_labels"), Some(Value::Bool(true))),
        labels: LookLabels::of(probabilities),
    }))
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Embedding, Score, Scores};
    use omnizap_services::vectors::Query;

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
        let outputs = stage.run(&inputs, &call()).await?;
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
