//! `embed-text`: a text becomes a vector, in the space of the pictures that the same model embeds.

use std::sync::{Arc, LazyLock};

use omnizap_contract::typed::{In, OneOf, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Embedding, Error, ErrorKind, Facts, Health, Inputs, Observed, OptionFault,
    Options, Outputs, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{ClipModel, MODEL, PRETRAINED};
use omnizap_services::inference::pool::TextForm;
use omnizap_services::labels::OverLimit;

/// Longest text that is looked at, in characters: as long as a field of a request may be where its
/// file says nothing. The text towers read some 77 tokens.
const MAX_CHARS: usize = 4096;

const TEXT: In<Text> = In::required("text", "the text, which is embedded as it is");
const EMBEDDING: Out<Embedding> = Out::new("embedding", "the text's vector, L2 norm 1");
const MODEL_NAME: Out<Text> =
    Out::new("model", "the name of the model that answered").published("null");
const DEVICE: Out<Text> = Out::new("device", "what the model ran on").published("null");

const LONG_TEXT: Opt<OneOf<OverLimit>> = Opt::one_of(
    "long_text",
    OverLimit::Reject as usize,
    "a text with more tokens than the model reads is refused (`reject`), or loses its end (`cut`)",
);

/// The kind `embed-text`.
pub struct EmbedText {
    services: Services,
}

impl EmbedText {
    /// The kind, with the services that hold the models.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let services = services.clone();
        Self { services }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [MODEL.spec(), PRETRAINED.spec(), LONG_TEXT.spec()];
    StageSpec::new("embed-text", "runs the text tower of the model", options).pure()
});

impl StageKind for EmbedText {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let embedding = EMBEDDING.port().of_space(self.services.space_of(options));
        Ports::new([TEXT.port()], [embedding, MODEL_NAME.port(), DEVICE.port()])
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        self.services.inspect_model_of(options)
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let model = self.services.model_of(options).await?;
        Ok(Runner::waits(TextEmbedder {
            model,
            long_text: options.get(LONG_TEXT),
        }))
    }
}

struct TextEmbedder {
    model: Arc<ClipModel>,
    long_text: OverLimit,
}

impl TextEmbedder {
    /// The text that the model reads.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it says nothing, and where the model would not read all of it.
    async fn readable(&self, text: &Arc<str>) -> Result<Arc<str>, Error> {
        if text.trim().is_empty() {
            return Err(invalid("empty_text", "must not be empty"));
        }
        let end = text.char_indices().nth(MAX_CHARS).map(|(end, _)| end);
        match (self.long_text, end) {
            (OverLimit::Cut, None) => Ok(text.clone()),
            (OverLimit::Cut, Some(end)) => Ok(Arc::from(&text[..end])),
            (OverLimit::Reject, None) => {
                let texts: Arc<[Arc<str>]> = [text.clone()].into();
                match self.model.first_cut(&texts, TextForm::Raw).await? {
                    None => Ok(text.clone()),
                    Some(_) => Err(too_long()),
                }
            }
            (OverLimit::Reject, Some(_)) => Err(too_long()),
        }
    }
}

fn too_long() -> Error {
    let fault = "has more tokens than the model's text tower reads; shorten it";
    invalid("text_too_long", fault)
}

fn invalid(code: &'static str, fault: &str) -> Error {
    let message = format!("{}: {fault}", TEXT.name());
    Error::new(ErrorKind::Invalid, message).with_code(code)
}

impl Observed for TextEmbedder {
    fn describe(&self) -> Facts {
        self.model.facts()
    }

    fn health(&self) -> Health {
        self.model.health()
    }
}

impl AsyncStage for TextEmbedder {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let text = [self.readable(inputs.get(TEXT)?).await?];
        let vectors = self.model.embed_texts(&text, TextForm::Raw, call).await?;
        let vector = vectors.into_iter().next();
        let vector = vector.ok_or_else(|| Error::internal("the model gave no vector"))?;
        // No picture was prepared: what `embed` calls its embeddings by default.
        let model = self.model.key().clone();
        Ok(Outputs::new()
            .with(EMBEDDING, Embedding { model, vector })
            .with(MODEL_NAME, self.model.name().clone())
            .with(DEVICE, self.model.device()))
    }
}
