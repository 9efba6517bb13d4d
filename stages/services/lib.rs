//! What the built-in stages share: models and the threads that run them, what is remembered,
//! vectors in memory, the language model. The outside world's addresses come in
//! [`ServicesConfig`].
//!
//! # Layout
//!
//! - [`inference`]: models and the threads that run them
//!   - [`inference::clip`]: the model that embeds pictures and texts
//!   - [`inference::nsfw`]: the classifier of unsafe pictures
//!   - [`inference::pool`]: queues, batches and threads of a model
//!   - [`inference::pictures`]: the room and the threads for what is decoded
//! - [`store`]: what is remembered, in a database
//! - [`vectors`]: embeddings in memory, searched by cosine
//! - [`llm`]: the language model that expands labels
//! - [`space`]: which model's numbers a value holds, told from names alone
//! - [`labels`]: what a client sends as labels, made into labels that can be scored
//! - [`softmax`]: cosine and softmax, the arithmetic of scores
//!
//! # Life cycle
//!
//! - Open: [`Services::new`] opens nothing. A model is opened by the first who asks for it,
//!   whoever else wants it waits for that; the store by [`store::Store::start`] or by the first
//!   question; the language model has nothing to open, [`llm::Llm::check`] says what is wrong with
//!   its address.
//! - Ready: a model once it was given; the store once [`store::Store::is_loaded`] says that
//!   searches find what the database has.
//! - Health: [`store::Store::health`] and [`llm::Llm::degraded`] say why a service serves less than
//!   it should. None of them ends by a fault: it is tried again until it is back.
//! - Close: a model ends with the last stage that holds it. [`Services::close`] is for the end of
//!   the program.
//!
//! # Invariants
//!
//! - No service knows a stage, or the engine.
//! - [`Services`] knows the services; of each other they know this much: `llm` and `inference`
//!   keep what they made in `store`, and `store` fills `vectors`. There is no way back.
//! - Opened when first asked for, once, and kept over reloads of the pipelines.
//! - Everything that waits in a queue, and every cache, has a bound with a name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use omnizap_contract::{Error, OptionFault, Options};
use omnizap_models::{Device, Precision};
use tokio::sync::Mutex;

use crate::inference::clip::{self, ClipModel, MODEL, PRETRAINED};
use crate::inference::nsfw::NsfwModel;
use crate::inference::pictures::{PictureLimits, Pictures};
use crate::inference::pool::PoolLimits;
use crate::llm::{Llm, LlmConfig};
use crate::store::{Store, StoreConfig};
use crate::vectors::IndexConfig;

pub mod inference;
pub mod labels;
pub mod llm;
pub mod softmax;
pub mod space;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod vectors;

/// Where the services find what they need. The environment is read by the program, not here.
#[derive(Clone, Debug, Default)]
pub struct ServicesConfig {
    /// The folder for the database, for imported models and for downloads.
    pub data_dir: PathBuf,
    /// The database's URL; the embedded one in `data_dir` where unset.
    pub database_url: Option<String>,
    /// The model that a pipeline gets when it names none; the embedded one where unset.
    pub model_name: Option<String>,
    /// The weights of that model: a tag or a path.
    pub model_pretrained: Option<String>,
    /// Where every model computes.
    pub model_device: Device,
    /// The precision of every model's matrix products, but for the classifier of unsafe pictures.
    pub model_precision: Precision,
    /// The bounds of every model's queue, batches, caches and threads.
    pub model_limits: PoolLimits,
    /// How much of what is stored is kept in memory, to be searched.
    pub index: IndexConfig,
    /// The bounds of what is decoded.
    pub picture_limits: PictureLimits,
    /// The key for label expansion; without it the stage says `no_api_key`.
    pub openai_api_key: Option<String>,
    /// Another address of the API.
    pub openai_base_url: Option<String>,
}

/// The shared services. Cloning shares them.
#[derive(Clone)]
pub struct Services(Arc<Inner>);

struct Inner {
    config: ServicesConfig,
    /// Models by name and weights, as long as some stage holds them. The lock is held
    /// while one is opened: whoever wants the same waits for it instead of opening it
    /// again.
    models: Mutex<HashMap<ModelKey, Weak<ClipModel>>>,
    /// The classifier of unsafe pictures, as long as some stage holds it.
    nsfw: Mutex<Weak<NsfwModel>>,
    pictures: Pictures,
    store: Store,
    llm: Llm,
}

/// What a model is asked for by: its name and its weights, empty where the default is meant.
type ModelKey = (String, String);

impl Services {
    /// Services that open nothing until a stage asks.
    #[must_use]
    pub fn new(config: ServicesConfig) -> Self {
        let store = Store::new(StoreConfig {
            data_dir: config.data_dir.clone(),
            url: config.database_url.clone(),
            index: config.index,
        });
        let llm = LlmConfig {
            api_key: config.openai_api_key.clone(),
            base_url: config.openai_base_url.clone(),
        };
        Self(Arc::new(Inner {
            llm: Llm::new(llm, store.clone()),
            store,
            pictures: Pictures::new(config.picture_limits),
            config,
            models: Mutex::default(),
            nsfw: Mutex::default(),
        }))
    }

    /// Where the services find what they need.
    #[must_use]
    pub fn config(&self) -> &ServicesConfig {
        &self.0.config
    }

    /// What the service remembers.
    #[must_use]
    pub fn store(&self) -> Store {
        self.0.store.clone()
    }

    /// The room and the threads for pictures that are decoded.
    #[must_use]
    pub fn pictures(&self) -> Pictures {
        self.0.pictures.clone()
    }

    /// The language model that expands labels.
    #[must_use]
    pub fn llm(&self) -> Llm {
        self.0.llm.clone()
    }

    /// The model of this name with these weights (a tag or a path); the configured one
    /// where no name is given. Opened once, shared by all who hold it.
    ///
    /// # Errors
    /// What is missing and how to get it, for the operator.
    pub async fn model(
        &self,
        name: Option<&str>,
        pretrained: Option<&str>,
    ) -> Result<Arc<ClipModel>, Error> {
        let key = self.model_key(name, pretrained);
        let mut models = self.0.models.lock().await;
        if let Some(open) = models.get(&key).and_then(Weak::upgrade) {
            return Ok(open);
        }
        let config = &self.0.config;
        let how = (config.model_device, config.model_precision);
        let open = ClipModel::open(&key.0, &key.1, how, config.model_limits).await?;
        let open = Arc::new(open);
        models.retain(|_, model| model.strong_count() > 0);
        models.insert(key, Arc::downgrade(&open));
        Ok(open)
    }

    /// The model that a stage names by its options, see [`inference::clip::MODEL`].
    ///
    /// # Errors
    /// As [`Services::model`].
    pub async fn model_of(&self, options: &Options) -> Result<Arc<ClipModel>, Error> {
        let (name, pretrained) = (options.get(MODEL), options.get(PRETRAINED));
        self.model(Some(name), Some(pretrained)).await
    }

    /// Looks for the model that a stage names by its options, without opening it: quick, for
    /// `omnizap check`.
    ///
    /// # Errors
    /// The option at fault, and what [`Services::model_of`] would say.
    pub fn inspect_model_of(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let (name, pretrained) = (options.get(MODEL), options.get(PRETRAINED));
        let (name, pretrained) = self.model_key(Some(name), Some(pretrained));
        clip::inspect(&name, &pretrained).map_err(|fault| vec![fault])
    }

    /// The space of what the model gives that a stage names by its options. No file is looked at;
    /// [`None`] where the names alone do not tell.
    #[must_use]
    pub fn space_of(&self, options: &Options) -> Option<String> {
        let (name, pretrained) = (options.get(MODEL), options.get(PRETRAINED));
        let (name, pretrained) = self.model_key(Some(name), Some(pretrained));
        space::of_clip(&name, &pretrained)
    }

    /// What is meant by a name and weights, those that were configured filled in.
    fn model_key(&self, name: Option<&str>, pretrained: Option<&str>) -> ModelKey {
        let config = &self.0.config;
        let given = |value: Option<&str>| value.map(str::trim).unwrap_or_default().to_owned();
        match given(name) {
            // Weights without a name are those of the configured model.
            name if name.is_empty() => {
                let pretrained = given(pretrained);
                let default = given(config.model_pretrained.as_deref());
                let pretrained = if pretrained.is_empty() {
                    default
                } else {
                    pretrained
                };
                (given(config.model_name.as_deref()), pretrained)
            }
            name => (name, given(pretrained)),
        }
    }

    /// The classifier of unsafe pictures. Opened once, shared by all who hold it.
    ///
    /// # Errors
    /// What is missing, for the operator.
    pub async fn nsfw_model(&self) -> Result<Arc<NsfwModel>, Error> {
        let mut nsfw = self.0.nsfw.lock().await;
        if let Some(open) = nsfw.upgrade() {
            return Ok(open);
        }
        let config = &self.0.config;
        let open = NsfwModel::open(config.model_device, config.model_limits).await?;
        let open = Arc::new(open);
        *nsfw = Arc::downgrade(&open);
        Ok(open)
    }

    /// Ends what is under way, for the end of the program: writes the images that wait, within
    /// [`store::limits::FLUSH`], ends the building of the vector index, and closes the
    /// connections. What is asked afterwards fails, or is not kept.
    pub async fn close(&self) {
        // The store does so in that order.
        self.0.store.close().await;
    }
}
