//! `similarity`: images that were seen before and look like this one.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, OptionSpec, OptionType,
    Options, Output, Outputs, PortType, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::store::Store;
use omnizap_services::vectors::{Hit, Query};
use serde_json::{Map, Value as Json, json};

/// Most images in an answer.
const MAX_LIMIT: i64 = 100;
/// The option with which the answer says whether all images were searched.
const TELL_COMPLETE: &str = "tell_complete";

/// The kind `similarity`.
pub struct Similarity {
    store: Store,
}

impl Similarity {
    /// The kind, with the store whose images it searches.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "similarity".into(),
    doc: "finds images seen before whose embedding is close to this one's".into(),
    options: vec![
        OptionSpec::new(
            "threshold",
            OptionType::Number {
                min: -1.0,
                max: 1.0,
            },
            0.85,
            "least cosine of a similar image; a request may send similar_threshold",
        )
        .public("similarity_threshold"),
        OptionSpec::new(
            "limit",
            OptionType::Integer {
                min: 1,
                max: MAX_LIMIT,
            },
            25,
            "most similar images in an answer; a request may send similar_limit",
        )
        .public("similarity_limit"),
        OptionSpec::new(
            "scan_limit",
            OptionType::Integer {
                min: 0,
                max: i64::from(u32::MAX),
            },
            3000,
            "how many of the newest images are all compared, the others through the index; \
             0 compares all",
        )
        .public("similarity_scan_limit"),
        OptionSpec::new(
            "wait_for_index",
            OptionType::Bool,
            true,
            "readiness, and the command line, wait until every image of the database can be \
             found; while the database is away nothing waits for it",
        ),
        OptionSpec::new(
            TELL_COMPLETE,
            OptionType::Bool,
            true,
            "the answer says, as similar_complete, whether every image could be found",
        ),
    ],
    feature: Some("clustering".into()),
});

impl StageKind for Similarity {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let mut complete = Output::new(
            "similar_complete",
            PortType::Bool,
            "false where stored images may be missing: they are being loaded, the database is \
             away, or it holds more than the index does",
        );
        if options.bool(TELL_COMPLETE).unwrap_or(true) {
            complete = complete.published(json!(true));
        }
        Ports {
            inputs: vec![
                Input::required("embedding", PortType::Embedding, "the picture's vector"),
                Input::required("image_hash", PortType::Text, "the image's name"),
                Input::required("content_hash", PortType::Text, "SHA-256 of the bytes"),
                Input::optional(
                    "similar_threshold",
                    PortType::Number,
                    "least cosine, -1 to 1, in place of the option",
                ),
                Input::optional(
                    "similar_limit",
                    PortType::Integer,
                    "most images, 1 to 100, in place of the option",
                ),
            ],
            outputs: vec![
                Output::new(
                    "similar_images",
                    PortType::Json,
                    "[{image_hash, asset_id, similarity}], best first, never the image itself",
                )
                .published(json!([])),
                complete,
            ],
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.store.start()?;
            let count = |name, default| {
                let value = options.integer(name).unwrap_or(default);
                usize::try_from(value).unwrap_or(usize::MAX)
            };
            Ok(Runner::Async(Arc::new(Searcher {
                store: self.store.clone(),
                threshold: options.number("threshold").unwrap_or(0.85),
                limit: count("limit", 25),
                scan: count("scan_limit", 3000),
                waits: options.bool("wait_for_index").unwrap_or(true),
            })))
        })
    }
}

struct Searcher {
    store: Store,
    threshold: f64,
    limit: usize,
    scan: usize,
    waits: bool,
}

impl AsyncStage for Searcher {
    fn health(&self) -> Health {
        let mut facts = Map::new();
        facts.insert("images_indexed".into(), json!(self.store.index().len()));
        let partitioned = self.store.index().partitioned();
        facts.insert("images_partitioned".into(), json!(partitioned));
        facts.insert("index_loaded".into(), json!(self.store.is_loaded()));
        let health = self.store.health();
        let is_starting = self.waits && health.degraded.is_none() && !self.store.is_loaded();
        Health {
            starting: is_starting.then(|| "stored images are being loaded".into()),
            facts,
            ..health
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        _call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let embedding = inputs.embedding("embedding")?;
            let query = Query {
                model: embedding.model.clone(),
                vector: embedding.vector.clone(),
                threshold: threshold(inputs.optional_number("similar_threshold"), self.threshold)?,
                limit: limit(inputs.optional_integer("similar_limit"), self.limit)?,
                scan: self.scan,
                image_hash: Some(inputs.text("image_hash")?.clone()),
                content_hash: Some(inputs.text("content_hash")?.clone()),
            };
            let is_complete = self.store.is_complete();
            let hits = self.store.similar(query).await;
            let images: Vec<_> = hits.iter().map(published).collect();
            Ok(Outputs::new()
                .with("similar_images", Json::from(images))
                .with("similar_complete", is_complete))
        })
    }
}

fn threshold(sent: Option<f64>, default: f64) -> Result<f64, Error> {
    let value = sent.unwrap_or(default);
    if !(-1.0..=1.0).contains(&value) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "similar_threshold: must be a number from -1 to 1",
        ));
    }
    Ok(value)
}

fn limit(sent: Option<i64>, default: usize) -> Result<usize, Error> {
    match sent {
        None => Ok(default),
        Some(value @ 1..=MAX_LIMIT) => Ok(usize::try_from(value).unwrap_or(default)),
        Some(_) => Err(Error::new(
            ErrorKind::Invalid,
            format!("similar_limit: must be a whole number from 1 to {MAX_LIMIT}"),
        )),
    }
}

fn published(hit: &Hit) -> Json {
    json!({
        "image_hash": &*hit.image_hash,
        "asset_id": hit.asset_id.as_deref(),
        "similarity": hit.similarity,
    })
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Embedding, Value};
    use omnizap_services::store::ImageRecord;

    use super::*;
    use crate::testing::{call, inputs, options, store};

    fn embedding(vector: [f32; 2]) -> Embedding {
        Embedding {
            model: "m@1".into(),
            vector: vector.into(),
        }
    }

    async fn run(
        store: &Store,
        name: &str,
        threshold: Option<f64>,
        limit: Option<i64>,
    ) -> Result<Json, Error> {
        let kind = Similarity::new(store.clone());
        let Runner::Async(stage) = kind.build(&options(&kind, [])).await? else {
            panic!("an async stage");
        };
        let inputs = inputs(
            &kind,
            [
                ("embedding", Some(embedding([1.0, 0.0]).into())),
                ("image_hash", Some(name.into())),
                ("content_hash", Some("self".into())),
                ("similar_threshold", threshold.map(Value::from)),
                ("similar_limit", limit.map(Value::from)),
            ],
        );
        let outputs = stage.run(&inputs, &call()).await?;
        Ok(outputs.get("similar_images").unwrap().to_json())
    }

    fn seen(folder: &tempfile::TempDir) -> Store {
        let store = store(folder.path());
        let images = [
            ("self", [1.0, 0.0], None),
            ("twin", [1.0, 0.0], Some("a1")),
            ("near", [0.9, 0.3], None),
            ("far", [0.0, 1.0], None),
        ];
        for (name, vector, asset_id) in images {
            store.remember_later(ImageRecord {
                content_hash: name.into(),
                image_hash: name.into(),
                asset_id: asset_id.map(Into::into),
                embedding: Arc::new(embedding(vector)),
                keep_embedding: true,
                look: None,
                nsfw: None,
            });
        }
        store
    }

    #[tokio::test]
    async fn similar_images_are_found_at_once_and_never_the_image_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = seen(&folder);
        let images = run(&store, "self", None, None).await.unwrap();
        let expected = json!([
            {"image_hash": "twin", "asset_id": "a1", "similarity": 1.0},
            {"image_hash": "near", "asset_id": null, "similarity": 0.948683},
        ]);
        assert_eq!(images, expected);
        let renamed = run(&store, "another name", None, None).await.unwrap();
        assert_eq!(renamed, expected, "the same bytes under another name");
    }

    #[tokio::test]
    async fn a_request_may_set_threshold_and_limit_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let store = seen(&folder);
        let all = run(&store, "self", Some(-1.0), None).await.unwrap();
        assert_eq!(all.as_array().unwrap().len(), 3);
        let one = run(&store, "self", Some(-1.0), Some(1)).await.unwrap();
        assert_eq!(one[0]["image_hash"], "twin");
        assert_eq!(one.as_array().unwrap().len(), 1);
        for bad in [1.01, -1.01, f64::NAN, f64::INFINITY] {
            let error = run(&store, "self", Some(bad), None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(error.message().starts_with("similar_threshold"), "{error}");
        }
        for bad in [0, -1, 101, i64::MAX] {
            let error = run(&store, "self", None, Some(bad)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(error.message().starts_with("similar_limit"), "{error}");
        }
    }
}
