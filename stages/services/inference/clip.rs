//! A model that is open: its names, its numbers, and the pool that runs it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use omnizap_contract::common::chain::chain;
use omnizap_contract::typed::{Opt, Text};
use omnizap_contract::{
    Call, Counters, Embedding, Error, ErrorKind, Facts, Health, Image, OptionFault, Options,
};
use omnizap_models::{Cache, Device, Model, Precision, Source};
use tokio::task::JoinHandle;

use crate::inference::frames;
use crate::inference::pool::{ModelPool, PoolLimits, TextForm};
use crate::store::Store;

pub use omnizap_models::{Confidence, NoMatch, Temperature};

mod origin;
mod warm_up;

/// Digits of the weights' fingerprint in [`ClipModel::key`]: 64 bits tell any two
/// checkpoints apart.
const FINGERPRINT_DIGITS: usize = 16;

/// A model that is open, shared by the stages that run it.
pub struct ClipModel {
    key: Arc<str>,
    name: Arc<str>,
    device: &'static str,
    logit_scale: f64,
    embedded: bool,
    pool: ModelPool,
}

impl ClipModel {
    /// Opens a model and starts its threads. Empty strings leave the choice to the
    /// models crate: the embedded model, the first weights of a preset.
    ///
    /// # Errors
    /// What is missing and how to get it, for the operator.
    pub(crate) async fn open(
        name: &str,
        pretrained: &str,
        (device, precision): (Device, Precision),
        limits: PoolLimits,
    ) -> Result<Self, Error> {
        let (name, pretrained) = (name.to_owned(), pretrained.to_owned());
        let opening = tokio::task::spawn_blocking(move || {
            let cache = Cache::from_env();
            let source = origin::meant(&name, &pretrained)?;
            origin::look(&source, &cache)?;
            let started = Instant::now();
            let model = Model::open_in(&source, &cache, device, precision)?;
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(
                model = model.id(),
                device = model.device().name_in(precision),
                seconds,
                "model opened"
            );
            if !model.has_native_precision() {
                tracing::warn!(
                    precision = precision.name(),
                    "this processor does not multiply numbers of the precision: the weights take less \
                     memory, and nothing is faster"
                );
            }
            Ok((model, matches!(source, Source::Embedded)))
        });
        let (model, embedded) = opening
            .await
            .map_err(Error::internal)?
            .map_err(|error: omnizap_models::Error| cannot_open(&error))?;
        Ok(Self {
            key: key(model.id(), model.fingerprint()),
            name: model.id().into(),
            device: model.device().name_in(precision),
            logit_scale: f64::from(model.logit_scale()),
            embedded,
            pool: ModelPool::start(model, limits).map_err(|error| cannot_open(&error))?,
        })
    }

    /// Which model with which weights: what tells embeddings and caches apart.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// What tells embeddings of pictures apart: the model with its weights, and how the
    /// pictures were prepared.
    #[must_use]
    pub fn embedding_id(&self, options: &Options) -> Arc<str> {
        prepared_id(&self.key, options)
    }

    /// The model's name, as answers show it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the model computes, and in which precision where that is not single, as answers show it.
    #[must_use]
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// What cosines are multiplied by.
    #[must_use]
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// The labels that the model brings.
    #[must_use]
    pub fn default_labels(&self) -> Option<&[String]> {
        self.pool.encoder().default_labels()
    }

    /// How the model's logits become confidences.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        self.pool.encoder().confidence()
    }

    /// The logit under which no label describes a picture, given its embedding; [`None`] where
    /// that takes a comparison with other labels.
    #[must_use]
    pub fn no_match_logit(&self, picture: &[f32]) -> Option<f64> {
        self.pool.encoder().no_match_logit(picture)
    }

    /// Labels among the model's own that it was never taught.
    #[must_use]
    pub fn unknown_labels(&self) -> &[String] {
        self.pool.encoder().unknown_labels()
    }

    /// Whether the model knows what unsafe pictures look like: the one inside the program
    /// has never seen any.
    #[must_use]
    pub fn knows_nsfw(&self) -> bool {
        self.pool.encoder().knows_nsfw()
    }

    /// What health and label answers say about the model.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts::new()
            .with("model", &*self.name)
            .with("device", self.device)
    }

    /// Where a better model comes from, if this is the small one inside the program.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        self.embedded.then_some(
            "this is the small model inside the program; `omnizap models list` shows larger ones, \
             `omnizap models pull NAME` fetches one, CLIP_MODEL_NAME selects it",
        )
    }

    /// What health says of a stage that embeds with the model.
    #[must_use]
    pub fn health(&self) -> Health {
        let facts = self.facts();
        Health {
            facts: match self.note() {
                Some(note) => facts.with("note", note),
                None => facts,
            },
            ..Health::default()
        }
    }

    /// How many pictures and how many texts wait for the model, of how many that may.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.pool.counters()
    }

    /// The embedding of a picture, L2 norm 1.
    ///
    /// # Errors
    /// As [`crate::inference::pool::Pool::embed_image`].
    pub async fn embed_image(&self, image: Arc<Image>, call: &Call) -> Result<Arc<[f32]>, Error> {
        self.pool.embed_image(image, call).await
    }

    /// The embeddings of the frames of a picture in their order, L2 norm 1.
    ///
    /// # Errors
    /// As [`crate::inference::pool::Pool::embed_image`].
    pub async fn embed_frames(
        &self,
        frames: &[Arc<Image>],
        call: &Call,
    ) -> Result<Vec<Arc<[f32]>>, Error> {
        self.pool.embed_frames(frames, call).await
    }

    /// The embeddings of texts in their order, L2 norm 1.
    ///
    /// # Errors
    /// As [`crate::inference::pool::Pool::embed_texts`].
    pub async fn embed_texts(
        &self,
        texts: &[Arc<str>],
        form: TextForm,
        call: &Call,
    ) -> Result<Vec<Arc<[f32]>>, Error> {
        self.pool.embed_texts(texts, form, call).await
    }

    /// The place of the first text that the model would read only the beginning of. Long texts
    /// are looked at on a thread of their own.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] at shutdown.
    pub async fn first_cut(
        self: &Arc<Self>,
        texts: &Arc<[Arc<str>]>,
        form: TextForm,
    ) -> Result<Option<usize>, Error> {
        // Every token is a byte at least; cleaning makes few texts longer, none twice as long.
        let room = self.pool.encoder().room_for_labels();
        if texts.iter().all(|text| text.len() * 2 <= room) {
            return Ok(None);
        }
        let (model, texts) = (self.clone(), texts.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let model = model.pool.encoder();
            let is_whole = |text: &str| match form {
                TextForm::Raw => !model.tokenize(text).is_cut(),
                TextForm::Label => model.reads_whole_label(text),
            };
            texts.iter().position(|text| !is_whole(text))
        });
        looking.await.map_err(Error::internal)
    }

    /// What embeddings of texts are kept under: the model, and for labels its templates too,
    /// which may change without the weights.
    #[must_use]
    pub fn text_key(&self, form: TextForm) -> String {
        warm_up::key(self, form)
    }

    /// What is known of texts without running the model.
    #[must_use]
    pub fn known_texts(&self, form: TextForm, texts: &[Arc<str>]) -> Vec<Option<Arc<[f32]>>> {
        self.pool.known(form, texts)
    }

    /// True for what this model can have made of a picture or a text: rows may come from
    /// elsewhere.
    #[must_use]
    pub fn can_have_made(&self, vector: &[f32]) -> bool {
        warm_up::is_embedding(vector, self.pool.encoder().dim())
    }

    /// Embeds texts ahead of the first request that needs them, in the background. With
    /// a store they are looked up and kept there.
    pub fn warm_up(
        self: &Arc<Self>,
        texts: Arc<[Arc<str>]>,
        form: TextForm,
        store: Option<Store>,
    ) -> JoinHandle<()> {
        warm_up::spawn(self.clone(), texts, form, store)
    }

    /// The embeddings of texts that no request waits for: a few at a time, so that requests
    /// come between. With a store they are looked up and kept there.
    ///
    /// # Errors
    /// As [`ClipModel::embed_texts`]; also where the store ends with the program.
    pub async fn embed_ahead(
        &self,
        texts: &[Arc<str>],
        form: TextForm,
        store: Option<&Store>,
    ) -> Result<Vec<Arc<[f32]>>, Error> {
        warm_up::run(self, texts, form, store).await?;
        // The model's cache has them all by now.
        self.embed_texts(texts, form, &warm_up::call()).await
    }
}

/// A model with its weights, and how pictures were prepared for it: the name for that, and which
/// frames of those that move were taken. No name holds the colon of a mark.
pub(crate) fn prepared_id(key: &Arc<str>, options: &Options) -> Arc<str> {
    let name = Some(options.get(PREPARED)).filter(|name| !name.is_empty());
    let frames = frames::mark(options, name.is_some());
    let marks = name.into_iter().chain(frames.as_deref());
    let id = marks.fold(String::from(&**key), |id, mark| {
        format!("{id}{PREPARED_MARK}{mark}")
    });
    id.into()
}

/// A model with its weights.
pub(crate) fn key(id: &str, fingerprint: &str) -> Arc<str> {
    let digits = fingerprint.get(..FINGERPRINT_DIGITS).unwrap_or(fingerprint);
    format!("{id}@{digits}").into()
}

/// The reason with its causes: it is read at the console, not by clients.
pub(crate) fn cannot_open(error: &(dyn StdError + 'static)) -> Error {
    let message = format!("cannot open the model: {}", chain(error));
    Error::new(ErrorKind::Internal, message).with_code("model_not_opened")
}

/// The option by which a stage names its model, see [`crate::Services::model_of`].
pub const MODEL: Opt<Text> = Opt::text(
    "model",
    "",
    "the model's name, such as MobileCLIP-S1; empty: the one that the program was started with",
);

/// The option by which a stage names its model's weights.
pub const PRETRAINED: Opt<Text> = Opt::text(
    "pretrained",
    "",
    "the model's weights, a tag or the path of a checkpoint; empty: the first published ones",
);

/// Looks for what a model would be opened from, without opening it: its name, its files. Empty
/// strings leave the choice to the models crate.
///
/// # Errors
/// The option that names what is not there, and what opening the model would say.
pub(crate) fn inspect(name: &str, pretrained: &str) -> Result<(), OptionFault> {
    let fault = |error: &omnizap_models::Error, option: Opt<Text>| {
        OptionFault::new(option, cannot_open(error).message())
    };
    let cache = Cache::from_env();
    let source = origin::meant(name, pretrained).map_err(|error| {
        let option = match error {
            omnizap_models::Error::UnknownTag { .. }
            | omnizap_models::Error::ModelNameMissing(_) => PRETRAINED,
            _ => MODEL,
        };
        fault(&error, option)
    })?;
    let here =
        origin::look(&source, &cache).and_then(|()| origin::ensure_embedded(&source, &cache));
    here.map_err(|error| {
        let is_named = !pretrained.trim().is_empty();
        fault(&error, if is_named { PRETRAINED } else { MODEL })
    })
}

/// Longest name of a preparation.
const MAX_PREPARED_CHARS: usize = 32;

/// What parts the id of a model and the name of a preparation in the id of an embedding.
const PREPARED_MARK: char = '+';

/// The option by which stages tell apart embeddings of pictures that were decoded in
/// different ways.
pub const PREPARED: Opt<Text> = Opt::text(
    "prepared",
    "",
    "a name for how `decode` prepares pictures, when that is not its default: an embedding is recalled only where the name and the option `frames` are the same",
);

/// Checks the option `prepared`.
///
/// # Errors
/// What is wrong with it.
pub fn check_prepared(options: &Options) -> Result<(), Vec<OptionFault>> {
    let name = options.get(PREPARED);
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    if name.len() <= MAX_PREPARED_CHARS && name.chars().all(fits) {
        return Ok(());
    }
    let message = format!("must be a-z, 0-9 or -, at most {MAX_PREPARED_CHARS} characters");
    Err(vec![OptionFault::new(PREPARED, message)])
}

/// Checks that a vector comes of this model: those of different models have nothing to
/// say about each other.
///
/// # Errors
/// [`Error::misconfigured`], naming both.
pub fn ensure_same(model: &ClipModel, embedding: &Embedding) -> Result<(), Error> {
    let rest = embedding.model.strip_prefix(&*model.key);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(PREPARED_MARK)) {
        return Ok(());
    }
    Err(Error::misconfigured(format!(
        "the picture was embedded by {} and this stage runs {}: give both stages the same model",
        embedding.model, model.key
    )))
}
