//! `feedback`: a judgement of an image under a theme, acknowledged once it is durable.
//!
//! It is about the label that the model put first for the picture under the theme, of the
//! default labels where it was ever asked with those. A client that brings labels of its own
//! says which by sending them here too, and a client that means a certain label names it.
//!
//! Themes are words that people type: they count without case, here and where answers read what
//! was said of them. The Python service kept them so, and its rows are found.

use std::sync::LazyLock;

use omnizap_contract::common::digest::{self, Sha256Hex};
use omnizap_contract::common::fold::fold;
use omnizap_contract::typed::{In, Out, Spec, Text, TextList};
use omnizap_contract::{
    AsyncStage, Call, Error, ErrorKind, Health, Inputs, Observed, Options, Outputs, Ports, Runner,
    StageKind, StageSpec,
};
use omnizap_services::labels::{self, Bounds, MAX_LABEL_CHARS, MAX_LABELS, OVER_LIMIT};
use omnizap_services::store::{Feedback, Store, label_key, label_set, limits};

const IMAGE_HASH: In<Text> = In::required(
    "image_hash",
    "image_hash of a classification, 64 hexadecimal digits",
);
const THEME: In<Text> = In::required(
    "theme",
    "the theme, 1 to 120 characters; case does not count",
);
const ACCEPTED: In<bool> = In::or("accepted", true, "whether the image was taken");
const ASSET_ID: In<Option<Text>> = In::optional("asset_id", "the client's own id of the image");
const LABELS: In<Option<TextList>> = In::optional(
    "labels",
    "the labels that the judged answer chose from, where the request brought some",
);
const CATEGORY: In<Option<Text>> = In::optional(
    "category",
    "the label that is judged; the one that the model put first where absent",
);
const OK: Out<bool> = Out::new("ok", "true once the judgement is durable").published("false");

/// The kind `feedback`.
pub struct GiveFeedback {
    store: Store,
}

impl GiveFeedback {
    /// The kind, with the store that it writes to.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [
        Spec {
            doc: "most different labels of a judgement, as many as `score` takes",
            ..MAX_LABELS.spec()
        },
        Spec {
            doc: "a judgement with more labels is refused, or loses the last ones, as in `score`",
            ..OVER_LIMIT.spec()
        },
        MAX_LABEL_CHARS.spec(),
    ];
    let doc = "counts a judgement of an image under a theme; answers once it is durable";
    StageSpec::new("feedback", doc, options)
});

impl StageKind for GiveFeedback {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [
                IMAGE_HASH.port(),
                THEME.port(),
                ACCEPTED.port(),
                ASSET_ID.port(),
                LABELS.port(),
                CATEGORY.port(),
            ],
            [OK.port()],
        )
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        self.store.start()?;
        Ok(Runner::waits(Recorder {
            store: self.store.clone(),
            bounds: Bounds::of(options),
        }))
    }
}

struct Recorder {
    store: Store,
    bounds: Bounds,
}

impl Observed for Recorder {
    fn health(&self) -> Health {
        self.store.health()
    }
}

impl AsyncStage for Recorder {
    async fn run(&self, inputs: Inputs, _: &Call) -> Result<Outputs, Error> {
        let (label_set, label) = self.about(&inputs)?;
        let feedback = Feedback {
            image_hash: image_hash(inputs.get(IMAGE_HASH)?)?,
            theme: theme(inputs.get(THEME)?)?,
            accepted: inputs.get(ACCEPTED)?,
            asset_id: match inputs.get(ASSET_ID)? {
                Some(id) => asset_id(id)?,
                None => None,
            },
            label_set,
            label,
        };
        self.store.record_feedback(&feedback).await?;
        Ok(Outputs::new().with(OK, true))
    }
}

impl Recorder {
    /// What a judgement says that it is about: a set of labels, and one label.
    fn about(&self, inputs: &Inputs) -> Result<(Option<String>, Option<String>), Error> {
        let labels = match inputs.get(LABELS)? {
            Some(labels) => labels::normalise(labels, self.bounds)?,
            None => Vec::new(),
        };
        let category: Vec<_> = inputs.get(CATEGORY)?.cloned().into_iter().collect();
        let named = labels::normalise(&category, self.bounds).map_err(|error| {
            let message = error.message().replace("labels: label 1", "category:");
            invalid(message).with_code("invalid_category")
        })?;
        let named = named.first();
        if let Some(category) = named
            && !labels.is_empty()
            && !labels
                .iter()
                .any(|label| label_key(label) == label_key(category))
        {
            return Err(invalid("category: is none of the labels".into()));
        }
        let set = label_set(labels.iter().map(|label| &**label));
        let set = (!labels.is_empty()).then_some(set);
        Ok((set, named.map(ToString::to_string)))
    }
}

fn image_hash(text: &str) -> Result<String, Error> {
    let hash = Sha256Hex::parse(text).ok_or_else(|| {
        invalid(format!(
            "image_hash: must be {} hexadecimal digits, as image_hash of a classification is",
            digest::DIGITS
        ))
    })?;
    Ok(hash.to_string())
}

fn theme(text: &str) -> Result<String, Error> {
    let theme = fold(text);
    if theme.is_empty() {
        return Err(invalid("theme: must not be empty".into()));
    }
    bounded("theme", &theme, limits::THEME_CHARS)
}

fn asset_id(text: &str) -> Result<Option<String>, Error> {
    let id = text.trim();
    if id.is_empty() {
        return Ok(None);
    }
    bounded("asset_id", id, limits::ASSET_CHARS).map(Some)
}

fn bounded(field: &str, text: &str, max_chars: usize) -> Result<String, Error> {
    if text.chars().nth(max_chars).is_some() {
        return Err(invalid(format!(
            "{field}: is over the limit of {max_chars} characters"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(format!("{field}: holds a control character")));
    }
    Ok(text.to_owned())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use omnizap_contract::Value;
    use omnizap_services::store::{Asked, Tally};

    use super::*;
    use crate::testing::{call, inputs, options, store};

    async fn give(
        store: &Store,
        image_hash: &str,
        theme: &str,
        accepted: Option<bool>,
        asset_id: Option<&str>,
    ) -> Result<bool, Error> {
        let kind = GiveFeedback::new(store.clone());
        let Runner::Async(stage) = kind.build(&options(&kind, [])).await? else {
            panic!("an async stage");
        };
        let inputs = inputs(
            &kind,
            [
                ("image_hash", Some(image_hash.into())),
                ("theme", Some(theme.into())),
                ("accepted", accepted.map(Value::from)),
                ("asset_id", asset_id.map(Value::from)),
            ],
        );
        let outputs = stage.run(inputs, &call()).await?;
        Ok(outputs.get(OK) == Some(true))
    }

    async fn tally(store: &Store, theme: &str, image_hash: &str) -> Tally {
        let asked = [Asked {
            image_hash,
            content_hash: None,
        }];
        let evidence = store.theme_evidence(theme, &[], &asked, limits::READ);
        evidence.await.unwrap().images[0].tally
    }

    #[tokio::test]
    async fn three_hundred_and_twenty_at_concurrency_eight_are_all_counted() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let hash = "a".repeat(64);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let (store, hash) = (store.clone(), hash.clone());
            writers.spawn(async move {
                for turn in 0..40 {
                    let accepted = (writer + turn) % 4 != 0;
                    assert!(
                        give(&store, &hash, "party", Some(accepted), None)
                            .await
                            .unwrap()
                    );
                }
            });
        }
        writers.join_all().await;
        let expected = Tally {
            accepted: 240.0,
            rejected: 80.0,
        };
        assert_eq!(tally(&store, "party", &hash).await, expected);

        let again = self::store(folder.path());
        assert_eq!(
            tally(&again, "party", &hash).await,
            expected,
            "after a restart"
        );
    }

    #[tokio::test]
    async fn names_are_normalised_and_themes_count_without_case() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let hash = "ab".repeat(32);
        let shouted = format!("  {}\n", hash.to_uppercase());
        assert!(
            give(&store, &shouted, " cafe ", None, Some("  "))
                .await
                .unwrap()
        );
        assert!(
            give(&store, &hash, "CAFÉ", Some(false), None)
                .await
                .unwrap()
        );
        assert!(give(&store, &hash, "CaFe", None, None).await.unwrap());
        let accepted = |accepted, rejected| Tally { accepted, rejected };
        assert_eq!(tally(&store, "cafe", &hash).await, accepted(2.0, 0.0));
        assert_eq!(tally(&store, "café", &hash).await, accepted(0.0, 1.0));
        // The store itself compares by bytes.
        assert_eq!(tally(&store, "CAFE", &hash).await, Tally::default());
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_a_422_that_names_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let hash = "a".repeat(64);
        let long = |count| "é".repeat(count);
        let id = Some(long(limits::ASSET_CHARS));
        give(&store, &hash, &long(120), None, id.as_deref())
            .await
            .unwrap();
        for (image_hash, theme, asset_id, field) in [
            ("a".repeat(63), "t".into(), None, "image_hash"),
            ("g".repeat(64), "t".into(), None, "image_hash"),
            (long(32), "t".into(), None, "image_hash"),
            (hash.clone(), " \t".into(), None, "theme"),
            (hash.clone(), long(121), None, "theme"),
            (hash.clone(), "a\0b".into(), None, "theme"),
            (hash.clone(), "t".into(), Some(long(256)), "asset_id"),
            (hash.clone(), "t".into(), Some("a\u{7}b".into()), "asset_id"),
        ] {
            let error = give(&store, &image_hash, &theme, None, asset_id.as_deref())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{field}");
            assert!(error.message().starts_with(field), "{error}");
        }
        assert_eq!(store.degraded(), None, "none of it reached the database");
    }

    #[test]
    fn what_a_judgement_is_about_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let kind = GiveFeedback::new(store(folder.path()));
        let recorder = Recorder {
            store: store(folder.path()),
            bounds: Bounds::of(&options(&kind, [])),
        };
        let about = |labels: &[&str], category: Option<&str>| {
            let list: Vec<Arc<str>> = labels.iter().map(|&label| label.into()).collect();
            let labels = (!labels.is_empty()).then(|| Value::from(list));
            let values = [("labels", labels), ("category", category.map(Value::from))];
            recorder.about(&inputs(&kind, values))
        };
        assert_eq!(about(&[], None).unwrap(), (None, None));
        assert_eq!(about(&["  "], Some(" ")).unwrap(), (None, None));
        let set = label_set(["cat", "dog"]);
        let both = about(&["dog", " Cat", "dog"], Some("CAT ")).unwrap();
        assert_eq!(both, (Some(set), Some("CAT".into())));
        for (labels, category, field) in [
            (&["cat", "dog"][..], "emu".to_owned(), "category"),
            (&[], "x".repeat(201), "category"),
        ] {
            let error = about(labels, Some(&category)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().starts_with(field), "{error}");
        }
        let many: Vec<_> = (0..257).map(|label| label.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(about(&many, None).unwrap_err().code(), "too_many_labels");
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_a_503_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        std::fs::write(&data_dir, "in the way").unwrap();
        let store = store(&data_dir);
        let hash = "a".repeat(64);
        let error = give(&store, &hash, "t", None, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        assert!(!error.message().contains('/'), "{error}");
        assert!(store.degraded().is_some());

        std::fs::remove_file(&data_dir).unwrap();
        for _ in 0..100 {
            if store.degraded().is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(store.degraded(), None, "it is found to be back by itself");
        assert!(give(&store, &hash, "t", None, None).await.unwrap());
    }
}
