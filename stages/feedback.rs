//! `feedback`: a judgement of an image under a theme, acknowledged once it is durable.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, Options, Output, Outputs,
    PortType, Ports, Runner, StageKind, StageSpec,
};
use serde_json::json;

use crate::store::{Feedback, Store, limits};

/// Hexadecimal digits of an image's name.
const HASH_DIGITS: usize = 64;

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "feedback".into(),
    doc: "counts a judgement of an image under a theme; answers once it is durable".into(),
    options: Vec::new(),
    feature: None,
});

impl StageKind for GiveFeedback {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![
                Input::required(
                    "image_hash",
                    PortType::Text,
                    "image_hash of a classification, 64 hexadecimal digits",
                ),
                Input::required("theme", PortType::Text, "the theme, 1 to 120 characters"),
                Input::with_default("accepted", true, "whether the image was taken"),
                Input::optional(
                    "asset_id",
                    PortType::Text,
                    "the client's own id of the image",
                ),
            ],
            outputs: vec![
                Output::new("ok", PortType::Bool, "true once the judgement is durable")
                    .published(json!(false)),
            ],
        }
    }

    fn build<'a>(&'a self, _options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.store.start()?;
            let store = self.store.clone();
            Ok(Runner::Async(Arc::new(Recorder { store })))
        })
    }
}

struct Recorder {
    store: Store,
}

impl AsyncStage for Recorder {
    fn health(&self) -> Health {
        Health {
            degraded: self.store.degraded(),
            ..Health::default()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        _call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let feedback = Feedback {
                image_hash: image_hash(inputs.text("image_hash")?)?,
                theme: theme(inputs.text("theme")?)?,
                accepted: inputs.bool("accepted")?,
                asset_id: match inputs.optional_text("asset_id") {
                    Some(id) => asset_id(id)?,
                    None => None,
                },
            };
            self.store.record_feedback(&feedback).await?;
            Ok(Outputs::new().with("ok", true))
        })
    }
}

fn image_hash(text: &str) -> Result<String, Error> {
    let hash = text.trim().to_ascii_lowercase();
    if hash.len() != HASH_DIGITS || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid(format!(
            "image_hash: must be {HASH_DIGITS} hexadecimal digits, as image_hash of a classification is"
        )));
    }
    Ok(hash)
}

fn theme(text: &str) -> Result<String, Error> {
    let theme = text.trim();
    if theme.is_empty() {
        return Err(invalid("theme: must not be empty".into()));
    }
    bounded("theme", theme, limits::THEME_CHARS)
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
    use omnizap_contract::Value;

    use super::*;
    use crate::store::Tally;
    use crate::testing::{call, inputs, store};

    async fn give(
        store: &Store,
        image_hash: &str,
        theme: &str,
        accepted: Option<bool>,
        asset_id: Option<&str>,
    ) -> Result<bool, Error> {
        let kind = GiveFeedback::new(store.clone());
        let Runner::Async(stage) = kind.build(&Options::default()).await? else {
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
        let outputs = stage.run(&inputs, &call()).await?;
        Ok(matches!(outputs.get("ok"), Some(Value::Bool(true))))
    }

    async fn tally(store: &Store, theme: &str, image_hash: &str) -> Tally {
        let evidence = store
            .theme_evidence(theme, &[], &[image_hash], limits::READ)
            .await
            .unwrap();
        evidence
            .images
            .first()
            .map(|image| image.tally)
            .unwrap_or_default()
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
    async fn names_are_normalised_and_themes_compare_by_bytes() {
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
            give(&store, &hash, "café", Some(false), None)
                .await
                .unwrap()
        );
        let accepted = |accepted, rejected| Tally { accepted, rejected };
        assert_eq!(tally(&store, "cafe", &hash).await, accepted(1.0, 0.0));
        assert_eq!(tally(&store, "café", &hash).await, accepted(0.0, 1.0));
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
