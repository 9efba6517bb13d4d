//! `forget`: an image and all that is kept of it, deleted at a client's wish.

use std::sync::LazyLock;

use omnizap_contract::typed::{In, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Error, ErrorKind, Health, Inputs, Observed, Options, Outputs, Ports, Runner,
    StageKind, StageSpec,
};
use omnizap_services::store::{Store, Which};

const HASH: In<Text> = In::required(
    "hash",
    "image_hash of a classification, or SHA-256 of the bytes: 64 hexadecimal digits",
);
const OK: Out<bool> = Out::new("ok", "true once nothing of it is left").published("false");
const IMAGES: Out<i64> =
    Out::new("images", "embeddings that were deleted, one a model").published("0");
const LABELS: Out<i64> = Out::new("labels", "how often it was labelled, as kept").published("0");
const FEEDBACK: Out<i64> = Out::new("feedback", "judgements of it").published("0");

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "deletes an image's embeddings, labels and feedback; answers once that is durable";
    StageSpec::new("forget", doc, [])
});

impl StageKind for Forget {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [HASH.port()],
            [OK.port(), IMAGES.port(), LABELS.port(), FEEDBACK.port()],
        )
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        self.store.start()?;
        let store = self.store.clone();
        Ok(Runner::waits(Forgetter { store }))
    }
}

struct Forgetter {
    store: Store,
}

impl Observed for Forgetter {
    fn health(&self) -> Health {
        self.store.health()
    }
}

impl AsyncStage for Forgetter {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let which = Which::hash(inputs.get(HASH)?).ok_or_else(|| {
            let expected = "hash: must be 64 hexadecimal digits, as image_hash of a \
                            classification is";
            Error::new(ErrorKind::Invalid, expected)
        })?;
        let forgotten = self.store.forget(&which, false, |_| ()).await?;
        tracing::info!(request = %call.request_id, ?forgotten, "an image was forgotten");
        let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        Ok(Outputs::new()
            .with(OK, true)
            .with(IMAGES, count(forgotten.images))
            .with(LABELS, count(forgotten.labels))
            .with(FEEDBACK, count(forgotten.feedback)))
    }
}
