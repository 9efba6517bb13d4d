//! Mode `contrast`: unsafe prompts set against safe ones, by the model that embeds pictures. It
//! does not look at the request's labels, so no client can switch it off, and it is as good as
//! that model is.

use std::sync::Arc;

use omnizap_contract::typed::{In, Opt, TextList};
use omnizap_contract::{
    AsyncStage, Call, Embedding, Error, Health, Inputs, Observed, OptionFault, Options, Outputs,
    Runner, Stage,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel};
use omnizap_services::inference::pool::TextForm;
use omnizap_services::softmax::{logits, softmax};

use super::{facts, threshold, verdict};

pub(super) const EMBEDDING: In<Embedding> = In::required("embedding", "the picture's vector");

/// As many of one kind as of the other, so that neither side weighs more by number.
pub(super) const UNSAFE_PROMPTS: Opt<TextList> = Opt::list(
    "unsafe_prompts",
    &[
        "a pornographic picture",
        "a photo of naked people having sex",
        "an explicit photo of genitals",
        "a nude photo of a person",
        "hentai, an explicit sexual drawing",
        "sexual content for adults only, nsfw",
    ],
    "descriptions of unsafe pictures (mode contrast)",
);
pub(super) const SAFE_PROMPTS: Opt<TextList> = Opt::list(
    "safe_prompts",
    &[
        "a harmless picture, safe for work",
        "a photo of a person with clothes on",
        "a photo of an animal, a thing or a place",
        "a cute sticker",
        "a drawing of a cartoon character, safe for children",
        "a meme or a picture with text",
    ],
    "descriptions of safe pictures (mode contrast)",
);

/// Most prompts of one kind.
pub(super) const MAX_PROMPTS: usize = 256;

pub(super) fn check(options: &Options) -> Vec<OptionFault> {
    [UNSAFE_PROMPTS, SAFE_PROMPTS]
        .into_iter()
        .filter_map(|option| {
            let prompts = options.get(option);
            let blank = prompts.iter().any(|prompt| prompt.trim().is_empty());
            let fits = (1..=MAX_PROMPTS).contains(&prompts.len());
            (blank || !fits).then(|| {
                let message = format!("expected 1 to {MAX_PROMPTS} prompts, none of them blank");
                OptionFault::new(option, message)
            })
        })
        .collect()
}

pub(super) async fn build(
    services: &Services,
    options: &Options,
    threshold: f64,
) -> Result<Runner, Error> {
    let model = services.model_of(options).await?;
    if !model.knows_nsfw() {
        tracing::warn!(
            model = &**model.name(),
            "this model cannot tell unsafe pictures by prompts: nsfw_score will always be 0"
        );
        let model = model.name().clone();
        return Ok(Runner::inline(Unknowing { model, threshold }));
    }
    let unsafe_prompts = options.get(UNSAFE_PROMPTS);
    let safe_prompts = options.get(SAFE_PROMPTS);
    let unsafe_count = unsafe_prompts.len();
    let prompts = unsafe_prompts.into_iter().chain(safe_prompts);
    let prompts: Arc<[Arc<str>]> = prompts.map(Arc::from).collect();
    model.warm_up(prompts.clone(), TextForm::Raw, None);
    Ok(Runner::waits(Contrast {
        model,
        prompts,
        unsafe_count,
        threshold,
    }))
}

struct Contrast {
    model: Arc<ClipModel>,
    /// The unsafe ones first.
    prompts: Arc<[Arc<str>]>,
    unsafe_count: usize,
    threshold: f64,
}

impl Observed for Contrast {
    fn health(&self) -> Health {
        Health {
            facts: facts("contrast"),
            ..Health::default()
        }
    }
}

impl AsyncStage for Contrast {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let threshold = threshold(&inputs, self.threshold)?;
        let embedding = inputs.get(EMBEDDING)?;
        clip::ensure_same(&self.model, embedding)?;
        let prompts = self
            .model
            .embed_texts(&self.prompts, TextForm::Raw, call)
            .await?;
        let prompts = prompts.iter().map(|vector| &**vector);
        let logits = logits(&embedding.vector, prompts, self.model.logit_scale());
        Ok(verdict(unsafe_share(&logits, self.unsafe_count), threshold))
    }
}

/// Stands in where the model has never seen an unsafe picture: a contrast of words that
/// mean nothing to it would be noise that looks like a verdict.
struct Unknowing {
    /// The model's name.
    model: Arc<str>,
    threshold: f64,
}

impl Observed for Unknowing {
    fn health(&self) -> Health {
        // A fact and no degradation: it is so by the choice of the model, and waiting mends
        // nothing.
        let reason = format!(
            "not available: {} has never seen unsafe pictures, nsfw_score is always 0; set the \
             option `mode` of the stage nsfw to `model`, or CLIP_MODEL_NAME to a model that has \
             (`omnizap models list`)",
            self.model
        );
        Health {
            facts: facts("contrast").with("nsfw", reason),
            ..Health::default()
        }
    }
}

impl Stage for Unknowing {
    fn run(&self, inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        Ok(verdict(0.0, threshold(inputs, self.threshold)?))
    }
}

/// `sum of p over the unsafe prompts`, where `p` is the softmax of the logits over the
/// unsafe and the safe prompts together. The unsafe ones come first.
fn unsafe_share(logits: &[f64], unsafe_count: usize) -> f64 {
    let share: f64 = softmax(logits).iter().take(unsafe_count).sum();
    share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::unsafe_share;

    #[test]
    fn contrast_is_the_unsafe_share_of_the_softmax() {
        let ln = |x: f64| x.ln();
        // Shares 1, 2 (unsafe) and 3, 4 (safe) of 10.
        let score = unsafe_share(&[ln(1.0), ln(2.0), ln(3.0), ln(4.0)], 2);
        assert!((score - 0.3).abs() < 1e-12, "{score}");
        assert!((unsafe_share(&[5.0; 12], 6) - 0.5).abs() < 1e-12);
        assert_eq!(unsafe_share(&[900.0, -900.0], 1), 1.0);
    }
}
