//! `similarity`: images that were seen before and look like this one.

use std::sync::LazyLock;

use omnizap_contract::typed::{In, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, ErrorKind, Facts, Health, Inputs, Observed,
    Options, Outputs, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::store::Store;
use omnizap_services::vectors::{Hit, MAX_RECENT, Query};
use serde_json::{Value as Json, json};

/// Most images in an answer.
const MAX_LIMIT: usize = 100;
/// Most images that an answer may begin behind: each of them is found first.
const MAX_OFFSET: usize = 10_000;

const EMBEDDING: In<Embedding> = In::required("embedding", "the picture's vector");
const IMAGE_HASH: In<Option<Text>> = In::optional(
    "image_hash",
    "the name of the image itself, which is never an answer; none of a text",
);
const CONTENT_HASH: In<Option<Text>> = In::optional(
    "content_hash",
    "SHA-256 of the bytes of the image itself; none of a text",
);
const SIMILAR_THRESHOLD: In<Option<f64>> = In::optional(
    "similar_threshold",
    "least cosine, -1 to 1, in place of the option",
);
const SIMILAR_LIMIT: In<Option<i64>> = In::optional(
    "similar_limit",
    "most images, 1 to 100, in place of the option",
);
const SIMILAR_OFFSET: In<Option<i64>> = In::optional(
    "similar_offset",
    "how many of the best are passed over, 0 to 10000: those of earlier pages",
);
const SIMILAR_IMAGES: Out<Json> = Out::new(
    "similar_images",
    "[{image_hash, asset_id, similarity}], best first, never the image itself",
)
.shaped(r#"[{"image_hash": "text", "asset_id": "text?", "similarity": "number"}]"#)
.published("[]");
const SIMILAR_MORE: Out<bool> = Out::new(
    "similar_more",
    "true where there are images behind those of the answer, for a next page",
);
const SIMILAR_COMPLETE: Out<bool> = Out::new(
    "similar_complete",
    "false where stored images may be missing: they are being loaded, the database is away, it \
     holds more than the index does, or a compact index could not read all that decides",
);

const THRESHOLD: Opt<f64> = Opt::number(
    "threshold",
    0.85,
    "least cosine of a similar image; a request may send similar_threshold",
)
.within(-1.0, 1.0)
.public("similarity_threshold");
const LIMIT: Opt<usize> = Opt::count(
    "limit",
    25,
    "most similar images in an answer; a request may send similar_limit",
)
.within(1, MAX_LIMIT)
.public("similarity_limit");
const SCAN_LIMIT: Opt<usize> = Opt::count(
    "scan_limit",
    3000,
    "how many of the newest images are all compared, the others through the index; 0 compares all",
)
.within(0, u32::MAX as usize)
.public("similarity_scan_limit");
const WAIT_FOR_INDEX: Opt<bool> = Opt::flag(
    "wait_for_index",
    true,
    "readiness, and the command line, wait until every image of the database can be found; while \
     the database is away nothing waits for it",
);
const TELL_COMPLETE: Opt<bool> = Opt::flag(
    "tell_complete",
    true,
    "the answer says, as similar_complete, whether every image could be found",
);

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [
        THRESHOLD.spec(),
        LIMIT.spec(),
        SCAN_LIMIT.spec(),
        WAIT_FOR_INDEX.spec(),
        TELL_COMPLETE.spec(),
    ];
    let doc = "finds images seen before whose embedding is close to this one's";
    StageSpec::new("similarity", doc, options)
        .feature("clustering")
        .pure()
});

impl StageKind for Similarity {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let complete = match options.get(TELL_COMPLETE) {
            true => SIMILAR_COMPLETE.published("true"),
            false => SIMILAR_COMPLETE,
        };
        Ports::new(
            [
                EMBEDDING.port(),
                IMAGE_HASH.port(),
                CONTENT_HASH.port(),
                SIMILAR_THRESHOLD.port(),
                SIMILAR_LIMIT.port(),
                SIMILAR_OFFSET.port(),
            ],
            [SIMILAR_IMAGES.port(), complete.port(), SIMILAR_MORE.port()],
        )
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        self.store.start()?;
        Ok(Runner::waits(Searcher {
            store: self.store.clone(),
            threshold: options.get(THRESHOLD),
            limit: options.get(LIMIT),
            scan: options.get(SCAN_LIMIT),
            waits: options.get(WAIT_FOR_INDEX),
        }))
    }
}

struct Searcher {
    store: Store,
    threshold: f64,
    limit: usize,
    scan: usize,
    waits: bool,
}

impl Observed for Searcher {
    fn health(&self) -> Health {
        let index = self.store.index();
        let mut facts = Facts::new()
            .with("images_indexed", index.len())
            .with("images_partitioned", index.partitioned())
            .with("index_loaded", self.store.is_loaded());
        if let Some(said) = said_of_room(index.made_room(), index.config().max_rows) {
            facts = facts.with("index_full", said);
        }
        let health = self.store.health();
        let is_starting = self.waits && health.degraded.is_none() && !self.store.is_loaded();
        Health {
            starting: is_starting.then(|| "stored images are being loaded".into()),
            facts,
            ..health
        }
    }

    fn counters(&self) -> Counters {
        let index = self.store.index();
        Counters::new()
            .gauge("images_indexed", index.len() as f64)
            .gauge("max_images_indexed", index.config().max_rows as f64)
            .gauge("images_partitioned", index.partitioned() as f64)
            .gauge("images_unstored", index.unstored() as f64)
            .gauge("questions_kept", index.recent() as f64)
            .gauge("max_questions_kept", MAX_RECENT as f64)
            .total("images_made_room", index.made_room())
            .total("searches_estimated", self.store.stats().searches_estimated)
    }
}

/// What health says of an index that is too small for what is stored.
fn said_of_room(made_room: u64, most: usize) -> Option<String> {
    (made_room > 0).then(|| {
        format!(
            "since the start {made_room} of the oldest images made room for newer ones and are not \
             found any more: the index holds {most} a model (OMNIZAP_MAX_INDEXED_IMAGES)"
        )
    })
}

impl AsyncStage for Searcher {
    async fn run(&self, inputs: Inputs, _: &Call) -> Result<Outputs, Error> {
        let embedding = inputs.get(EMBEDDING)?;
        let limit = limit(inputs.get(SIMILAR_LIMIT)?, self.limit)?;
        let offset = offset(inputs.get(SIMILAR_OFFSET)?)?;
        let query = Query {
            model: embedding.model.clone(),
            vector: embedding.vector.clone(),
            threshold: threshold(inputs.get(SIMILAR_THRESHOLD)?, self.threshold)?,
            // One more tells whether there is a next page.
            limit: offset + limit + 1,
            scan: self.scan,
            image_hash: inputs.get(IMAGE_HASH)?.cloned(),
            content_hash: inputs.get(CONTENT_HASH)?.cloned(),
        };
        let is_complete = self.store.is_complete();
        let similar = self.store.similar_images(query).await;
        let (hits, is_complete) = (similar.images, is_complete && similar.is_exact);
        let page = hits.iter().skip(offset).take(limit);
        let images: Vec<_> = page.map(published).collect();
        Ok(Outputs::new()
            .with(SIMILAR_IMAGES, Json::from(images))
            .with(SIMILAR_COMPLETE, is_complete)
            .with(SIMILAR_MORE, hits.len() > offset + limit))
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
    match sent.map(usize::try_from) {
        None => Ok(default),
        Some(Ok(value @ 1..=MAX_LIMIT)) => Ok(value),
        Some(_) => Err(Error::new(
            ErrorKind::Invalid,
            format!("similar_limit: must be a whole number from 1 to {MAX_LIMIT}"),
        )),
    }
}

fn offset(sent: Option<i64>) -> Result<usize, Error> {
    match sent.map(usize::try_from) {
        None => Ok(0),
        Some(Ok(value @ 0..=MAX_OFFSET)) => Ok(value),
        Some(_) => Err(Error::new(
            ErrorKind::Invalid,
            format!("similar_offset: must be a whole number from 0 to {MAX_OFFSET}"),
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
    use std::sync::Arc;

    use omnizap_contract::Value;
    use omnizap_services::store::{ImageRecord, StoreConfig};
    use omnizap_services::vectors::{IndexConfig, Kept, Row};

    use super::*;
    use crate::testing::{call, fits, inputs, options, store};

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
        let outputs = stage.run(inputs, &call()).await?;
        fits(&kind.ports(&options(&kind, [])), &outputs)?;
        Ok(Json::clone(outputs.get(SIMILAR_IMAGES).unwrap()))
    }

    /// The answer to a question without an image of its own, and whether there is a next page.
    async fn page(store: &Store, limit: i64, offset: i64) -> Result<(Vec<String>, bool), Error> {
        let kind = Similarity::new(store.clone());
        let Runner::Async(stage) = kind.build(&options(&kind, [])).await? else {
            panic!("an async stage");
        };
        let inputs = inputs(
            &kind,
            [
                ("embedding", Some(embedding([1.0, 0.0]).into())),
                ("similar_threshold", Some(Value::from(-1.0))),
                ("similar_limit", Some(Value::from(limit))),
                ("similar_offset", Some(Value::from(offset))),
            ],
        );
        let outputs = stage.run(inputs, &call()).await?;
        fits(&kind.ports(&options(&kind, [])), &outputs)?;
        let images = outputs.get(SIMILAR_IMAGES).unwrap().as_array().unwrap();
        let names = images
            .iter()
            .map(|image| image["image_hash"].as_str().unwrap());
        let names = names.map(str::to_owned).collect();
        Ok((names, outputs.get(SIMILAR_MORE).unwrap()))
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_tell_whether_there_is_a_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = seen(&folder);
        let (first, more) = page(&store, 2, 0).await.unwrap();
        assert!(more && first.len() == 2, "{first:?}");
        let (second, more) = page(&store, 2, 2).await.unwrap();
        assert!(!more, "{second:?}");
        assert_eq!(second, ["near", "far"]);
        let (all, more) = page(&store, 100, 0).await.unwrap();
        assert_eq!(all, [first, second].concat());
        assert!(!more);
        assert_eq!(page(&store, 2, 10_000).await.unwrap(), (vec![], false));
        for (limit, offset) in [(0, 0), (101, 0), (1, -1), (1, 10_001)] {
            let error = page(&store, limit, offset).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{limit} {offset}");
        }
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
                frames: None,
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

    #[test]
    fn what_fell_out_of_the_index_is_said_in_plain_words() {
        assert_eq!(said_of_room(0, 1024), None);
        let said = said_of_room(256, 1024).unwrap();
        assert!(said.contains("256 of the oldest images"), "{said}");
        assert!(said.contains("holds 1024 a model"), "{said}");
    }

    #[tokio::test]
    async fn health_and_counters_tell_of_an_index_that_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig {
            data_dir: folder.path().into(),
            index: IndexConfig {
                max_rows: 1024,
                kept: Kept::Vectors,
            },
            ..StoreConfig::default()
        });
        let kind = Similarity::new(store.clone());
        let Runner::Async(stage) = kind.build(&options(&kind, [])).await.unwrap() else {
            panic!("an async stage");
        };
        assert_eq!(stage.health().facts.value("index_full"), None);
        assert_eq!(stage.counters().to_json()["images_made_room"], 0);
        for number in 0..1025 {
            let row = Row {
                image_hash: number.to_string().into(),
                content_hash: None,
                asset_id: None,
            };
            assert!(store.index().insert("m@1", row, &[1.0, 0.0]));
        }
        let said = stage.health().facts.value("index_full").cloned().unwrap();
        assert!(
            said.as_str().unwrap().contains("256 of the oldest"),
            "{said}"
        );
        let numbers = stage.counters().to_json();
        assert_eq!(numbers["images_made_room"], 256);
        assert_eq!(numbers["max_images_indexed"], 1024);
        assert_eq!(numbers["images_indexed"], 769);
        assert!(!store.is_complete());
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
