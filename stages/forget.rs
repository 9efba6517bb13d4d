//! `forget`: an image and all that is kept of it, deleted at a client's wish.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, Options, Output, Outputs,
    PortType, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::store::{Store, Which};
use serde_json::json;

/// The kind `forget`.
pub struct Forget {
    store: Store,
}

impl Forget {
    /// The kind, with the store that it deletes from.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "forget".into(),
    doc: "deletes an image's embeddings, labels and feedback; answers once that is durable".into(),
    options: Vec::new(),
    feature: None,
});

impl StageKind for Forget {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        let count = |name: &'static str, doc: &'static str| {
            Output::new(name, PortType::Integer, doc).published(json!(0))
        };
        Ports {
            inputs: vec![Input::required(
                "hash",
                PortType::Text,
                "image_hash of a classification, or SHA-256 of the bytes: 64 hexadecimal digits",
            )],
            outputs: vec![
                Output::new("ok", PortType::Bool, "true once nothing of it is left")
                    .published(json!(false)),
                count("images", "embeddings that were deleted, one a model"),
                count("labels", "how often it was labelled, as kept"),
                count("feedback", "judgements of it"),
            ],
        }
    }

    fn build<'a>(&'a self, _options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.store.start()?;
            let store = self.store.clone();
            Ok(Runner::Async(Arc::new(Forgetter { store })))
        })
    }
}

struct Forgetter {
    store: Store,
}

impl AsyncStage for Forgetter {
    fn health(&self) -> Health {
        self.store.health()
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let which = Which::hash(inputs.text("hash")?).ok_or_else(|| {
                let expected = "hash: must be 64 hexadecimal digits, as image_hash of a \
                                classification is";
                Error::new(ErrorKind::Invalid, expected)
            })?;
            let forgotten = self.store.forget(&which, false, |_| ()).await?;
            tracing::info!(request = %call.request_id, ?forgotten, "an image was forgotten");
            let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
            Ok(Outputs::new()
                .with("ok", true)
                .with("images", count(forgotten.images))
                .with("labels", count(forgotten.labels))
                .with("feedback", count(forgotten.feedback)))
        })
    }
}
