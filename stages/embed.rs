//! `embed`: a picture becomes a vector.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Embedding, Error, Health, Input, Inputs, OptionFault, Options,
    Output, Outputs, PortType, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel};
use serde_json::{Map, Value as Json, json};

/// The kind `embed`.
pub struct Embed {
    services: Services,
}

impl Embed {
    /// The kind, with the services that hold the models.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let services = services.clone();
        Self { services }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "embed".into(),
    doc: "runs the image tower of the model".into(),
    options: clip::embedding_options(),
    feature: None,
});

impl StageKind for Embed {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![Input::required(
                "image",
                PortType::Image,
                "the decoded picture",
            )],
            outputs: vec![
                Output::new(
                    "embedding",
                    PortType::Embedding,
                    "the picture's vector, L2 norm 1",
                ),
                Output::new(
                    "model",
                    PortType::Text,
                    "the name of the model that answered",
                )
                .published(Json::Null),
                Output::new("device", PortType::Text, "what the model ran on")
                    .published(Json::Null),
            ],
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        clip::check_prepared(options)
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let model = self.services.model_of(options).await?;
            let id = model.embedding_id(options);
            Ok(Runner::Async(Arc::new(Embedder { model, id })))
        })
    }
}

struct Embedder {
    model: Arc<ClipModel>,
    /// Under which its embeddings are kept.
    id: Arc<str>,
}

impl AsyncStage for Embedder {
    fn describe(&self) -> Map<String, Json> {
        self.model.facts()
    }

    fn health(&self) -> Health {
        let mut facts = self.model.facts();
        if let Some(note) = self.model.note() {
            facts.insert("note".into(), json!(note));
        }
        Health {
            facts,
            ..Health::default()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let image = inputs.image("image")?.clone();
            let vector = self.model.embed_image(image, call).await?;
            let model = self.id.clone();
            Ok(Outputs::new()
                .with("embedding", Embedding { model, vector })
                .with("model", self.model.name().clone())
                .with("device", self.model.device()))
        })
    }
}
