//! `embed`: a picture becomes a vector.

use std::sync::{Arc, LazyLock};

use omnizap_contract::typed::{In, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, Facts, Health, Image, Inputs, Observed,
    OptionFault, Options, Outputs, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel, MODEL, PREPARED, PRETRAINED};

const IMAGE: In<Image> = In::required("image", "the decoded picture");
const EMBEDDING: Out<Embedding> = Out::new("embedding", "the picture's vector, L2 norm 1");
const MODEL_NAME: Out<Text> =
    Out::new("model", "the name of the model that answered").published("null");
const DEVICE: Out<Text> = Out::new("device", "what the model ran on").published("null");

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [MODEL.spec(), PRETRAINED.spec(), PREPARED.spec()];
    StageSpec::new("embed", "runs the image tower of the model", options).pure()
});

impl StageKind for Embed {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let embedding = EMBEDDING.port().of_space(self.services.space_of(options));
        Ports::new(
            [IMAGE.port()],
            [embedding, MODEL_NAME.port(), DEVICE.port()],
        )
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        clip::check_prepared(options)
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        self.services.inspect_model_of(options)
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let model = self.services.model_of(options).await?;
        let id = model.embedding_id(options);
        Ok(Runner::waits(Embedder { model, id }))
    }
}

struct Embedder {
    model: Arc<ClipModel>,
    /// Under which its embeddings are kept.
    id: Arc<str>,
}

impl Observed for Embedder {
    fn describe(&self) -> Facts {
        self.model.facts()
    }

    fn health(&self) -> Health {
        self.model.health()
    }

    fn counters(&self) -> Counters {
        self.model.counters()
    }
}

impl AsyncStage for Embedder {
    async fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error> {
        let image = inputs.get(IMAGE)?.clone();
        let vector = self.model.embed_image(image, call).await?;
        let model = self.id.clone();
        Ok(Outputs::new()
            .with(EMBEDDING, Embedding { model, vector })
            .with(MODEL_NAME, self.model.name().clone())
            .with(DEVICE, self.model.device()))
    }
}
