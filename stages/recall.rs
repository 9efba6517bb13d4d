//! `recall`: what was made of an image that was seen before, so that it need be neither
//! decoded nor embedded nor checked for nsfw again.
//!
//! It stands before `embed`, which runs `if = "!recalled.orValue(false)"`, and `decode`,
//! which runs on demand; whoever takes an embedding sees this one where they were
//! skipped. An embedding is kept as the very
//! numbers that the model gave, under the hash of the bytes and the model with its
//! weights: what is recalled is what would have been computed, and no client can plant
//! it. While the database is away nothing is recalled, and every image is embedded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use omnizap_contract::typed::{In, OneOf, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, Health, Inputs, Observed, OptionFault, Options,
    Outputs, Ports, Runner, StageKind, StageSpec, choices,
};
use omnizap_services::inference::clip::{self, ClipModel};
use omnizap_services::inference::frames::{FRAMES, MAX_FRAMES};
use omnizap_services::inference::nsfw::{self, is_classes};
use omnizap_services::store::{Frames, Recalled, Store};
use omnizap_services::{Services, space};

const CONTENT_HASH: In<Text> = In::required("content_hash", "SHA-256 of the bytes");
const RECALLED: Out<bool> = Out::new("recalled", "true where the embedding was found");
const EMBEDDING: Out<Embedding> = Out::new(
    "embedding",
    "the picture's vector, L2 norm 1, where it was found",
)
.optional();
const MODEL: Out<Text> = Out::new(
    "model",
    "the name of the model that embedded the picture, where it was found",
)
.optional()
.published("null");
const DEVICE: Out<Text> = Out::new("device", "what that model runs on")
    .optional()
    .published("null");
const FRAME: Out<i64> = Out::new(
    "frame",
    "which frame of the file decided, where the embedding was found",
)
.optional();
const FRAMES_SEEN: Out<i64> = Out::new(
    "frames_seen",
    "how many frames of the file were looked at, where the embedding was found",
)
.optional();
const NSFW_RECALLED: Out<Embedding> = Out::new(
    "nsfw_recalled",
    "what the nsfw model gave its classes, where it was found",
)
.optional();
const NSFW_UNKNOWN: Out<bool> = Out::new(
    "nsfw_unknown",
    "true where the nsfw model has yet to see the picture",
);

const NSFW_MODE: Opt<OneOf<NsfwMode>> = Opt::one_of(
    "nsfw_mode",
    NsfwMode::None as usize,
    "the mode of the stage nsfw: `model` finds what its model said too, the others need nothing",
);

choices! {
    /// What the stage nsfw makes its score of.
    enum NsfwMode {
        None = "none",
        Model = "model",
        Contrast = "contrast",
        Label = "label",
    }
}

/// The share of the time left that the store is waited for.
const TIME_SHARE: u32 = 4;

/// The kind `recall`.
pub struct Recall {
    services: Services,
}

impl Recall {
    /// The kind, with the services that hold the models and the store.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let services = services.clone();
        Self { services }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [
        clip::MODEL.spec(),
        clip::PRETRAINED.spec(),
        clip::PREPARED.spec(),
        FRAMES.spec(),
        MAX_FRAMES.spec(),
        NSFW_MODE.spec(),
    ];
    let doc = "finds what was made of an image that was seen before";
    StageSpec::new("recall", doc, options)
        .feature("embedding_cache")
        .pure()
});

impl StageKind for Recall {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let of_nsfw = Some(space::of_nsfw(options));
        Ports::new(
            [CONTENT_HASH.port()],
            [
                RECALLED.port(),
                EMBEDDING.port().of_space(self.services.space_of(options)),
                MODEL.port(),
                DEVICE.port(),
                FRAME.port(),
                FRAMES_SEEN.port(),
                NSFW_RECALLED.port().of_space(of_nsfw),
                NSFW_UNKNOWN.port(),
            ],
        )
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        clip::check_prepared(options)
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        self.services.inspect_model_of(options)
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let store = self.services.store();
        store.start()?;
        let model = self.services.model_of(options).await?;
        let nsfw = match options.get(NSFW_MODE) {
            NsfwMode::Model => Some(nsfw::id(options)?),
            NsfwMode::None | NsfwMode::Contrast | NsfwMode::Label => None,
        };
        Ok(Runner::waits(Recaller {
            store,
            id: model.embedding_id(options),
            model,
            nsfw,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }))
    }
}

struct Recaller {
    store: Store,
    model: Arc<ClipModel>,
    /// Under which the embeddings are kept.
    id: Arc<str>,
    /// Under which the nsfw model's probabilities are kept, where they are wanted.
    nsfw: Option<Arc<str>>,
    /// Pictures whose embedding was found, and those whose was not.
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Recaller {
    /// What is known of an image; nothing where the store is away.
    async fn find(&self, content_hash: &str, call: &Call) -> Recalled {
        // Where there is much to do, what is stored is there sooner than it is computed again.
        let limit = call.remaining() / TIME_SHARE;
        let nsfw = self.nsfw.as_deref();
        let found = self.store.recalled(content_hash, &self.id, nsfw, limit);
        found.await.unwrap_or_else(|error| {
            // Health says so too, for as long as it lasts.
            tracing::debug!(%error, request = %call.request_id, "nothing is recalled");
            Recalled::default()
        })
    }

    /// The embedding that was found, if the model can have made it. A row that was cut or changed by
    /// hand would be scored wrongly: it is embedded anew.
    fn embedding(&self, found: Option<(Vec<f32>, Frames)>) -> Option<(Embedding, Frames)> {
        let (vector, frames) = found?;
        let can_be = self.model.can_have_made(&vector);
        let (model, vector) = (self.id.clone(), vector.into());
        can_be.then_some((Embedding { model, vector }, frames))
    }

    /// What the nsfw model said, if that is wanted and known.
    fn nsfw(&self, found: Option<Vec<f32>>) -> Option<Embedding> {
        let (model, vector) = (self.nsfw.clone()?, found?);
        is_classes(&vector).then(|| Embedding {
            model,
            vector: vector.into(),
        })
    }
}

impl Observed for Recaller {
    fn health(&self) -> Health {
        self.store.health()
    }

    fn counters(&self) -> Counters {
        Counters::new()
            .total("hits", self.hits.load(Ordering::Relaxed))
            .total("misses", self.misses.load(Ordering::Relaxed))
    }
}

impl AsyncStage for Recaller {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let content_hash = inputs.get(CONTENT_HASH)?;
        let found = self.find(content_hash, call).await;
        let (embedding, nsfw) = (self.embedding(found.vector), self.nsfw(found.nsfw));
        let is_found = embedding.is_some();
        let count = if is_found { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        let unknown = self.nsfw.is_some() && nsfw.is_none();
        let mut outputs = Outputs::new()
            .with(RECALLED, is_found)
            .with(NSFW_UNKNOWN, unknown);
        if let Some((embedding, frames)) = embedding {
            outputs = outputs
                .with(EMBEDDING, embedding)
                .with(MODEL, self.model.name().clone())
                .with(DEVICE, self.model.device())
                .with(FRAME, frames.frame)
                .with(FRAMES_SEEN, frames.seen);
        }
        if let Some(nsfw) = nsfw {
            outputs = outputs.with(NSFW_RECALLED, nsfw);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::common::digest::Sha256Hex;
    use omnizap_services::ServicesConfig;
    use omnizap_services::inference::pool::TextForm;
    use omnizap_services::store::ImageRecord;

    use super::*;
    use crate::testing::{call, inputs, options};

    /// Whether an embedding that the database has is taken.
    async fn is_recalled(vector: &[f32], services: &Services) -> bool {
        let kind = Recall::new(services);
        let options = options(&kind, []);
        let Runner::Async(stage) = kind.build(&options).await.unwrap() else {
            panic!("an async stage");
        };
        let model = services.model(None, None).await.unwrap();
        // Another image each time: the vector of one that is known is never written again.
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let content_hash = Sha256Hex::of(&bytes);
        let record = ImageRecord {
            content_hash: content_hash.as_str().into(),
            image_hash: content_hash.as_str().into(),
            asset_id: None,
            embedding: Arc::new(Embedding {
                model: model.embedding_id(&options),
                vector: vector.into(),
            }),
            keep_embedding: true,
            look: None,
            frames: None,
            nsfw: None,
        };
        services.store().remember(record).await.unwrap();
        let hash = Some(content_hash.as_str().into());
        let inputs = inputs(&kind, [("content_hash", hash)]);
        let outputs = stage.run(inputs, &call()).await.unwrap();
        let recalled = outputs.get(RECALLED).unwrap();
        assert_eq!(outputs.get(EMBEDDING).is_some(), recalled);
        recalled
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_embedding_that_the_model_cannot_have_made_is_not_recalled() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::new(ServicesConfig {
            data_dir: folder.path().to_owned(),
            ..ServicesConfig::default()
        });
        let model = services.model(None, None).await.unwrap();
        let text: [Arc<str>; 1] = ["cat".into()];
        let made = model.embed_texts(&text, TextForm::Label, &call()).await;
        let whole = made.unwrap()[0].to_vec();
        let longer: Vec<f32> = whole.iter().map(|number| number * 1.5).collect();
        assert!(is_recalled(&whole, &services).await);
        assert!(!is_recalled(&whole[..whole.len() - 1], &services).await);
        assert!(!is_recalled(&longer, &services).await);
        services.store().close().await;
    }
}
