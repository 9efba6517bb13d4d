//! `recall`: the embedding of an image that was seen before, so that it need be neither
//! decoded nor embedded again.
//!
//! It stands before `decode` and `embed`, which run `if = "!recalled"`; whoever takes an
//! embedding sees this one where they were skipped. An embedding is kept as the very
//! numbers that the model gave, under the hash of the bytes and the model with its
//! weights: what is recalled is what would have been computed, and no client can plant
//! it. While the database is away nothing is recalled, and every image is embedded.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Embedding, Error, Health, Input, Inputs, OptionFault, Options,
    Output, Outputs, PortType, Ports, Runner, StageKind, StageSpec,
};
use serde_json::Value as Json;

use crate::open_model::{self, OpenModel};
use crate::services::Services;
use crate::store::{Store, limits};

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "recall".into(),
    doc: "finds the embedding of an image that was seen before".into(),
    options: open_model::embedding_options(),
    feature: Some("embedding_cache".into()),
});

impl StageKind for Recall {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![Input::required(
                "content_hash",
                PortType::Text,
                "SHA-256 of the bytes",
            )],
            outputs: vec![
                Output::new(
                    "recalled",
                    PortType::Bool,
                    "true where the embedding was found",
                ),
                Output::new(
                    "embedding",
                    PortType::Embedding,
                    "the picture's vector, L2 norm 1, where it was found",
                )
                .optional(),
                Output::new(
                    "model",
                    PortType::Text,
                    "the name of the model that embedded the picture, where it was found",
                )
                .optional()
                .published(Json::Null),
                Output::new("device", PortType::Text, "what that model runs on")
                    .optional()
                    .published(Json::Null),
            ],
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        open_model::check_prepared(options)
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let store = self.services.store();
            store.start()?;
            let model = open_model::from_options(&self.services, options).await?;
            Ok(Runner::Async(Arc::new(Recaller {
                store,
                id: model.embedding_id(options),
                model,
            })))
        })
    }
}

struct Recaller {
    store: Store,
    model: Arc<OpenModel>,
    /// Under which the embeddings are kept.
    id: Arc<str>,
}

impl AsyncStage for Recaller {
    fn health(&self) -> Health {
        Health {
            degraded: self.store.degraded(),
            ..Health::default()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let limit = limits::READ.min(call.remaining() / TIME_SHARE);
            let content_hash = inputs.text("content_hash")?;
            let found = self.store.image_embedding(content_hash, &self.id, limit);
            let vector = found.await.unwrap_or_else(|error| {
                // Health says so too, for as long as it lasts.
                tracing::debug!(%error, request = %call.request_id, "nothing is recalled");
                None
            });
            let Some(vector) = vector else {
                return Ok(Outputs::new().with("recalled", false));
            };
            let embedding = Embedding {
                model: self.id.clone(),
                vector: vector.into(),
            };
            Ok(Outputs::new()
                .with("recalled", true)
                .with("embedding", embedding)
                .with("model", self.model.name().clone())
                .with("device", self.model.device()))
        })
    }
}
