//! What stages share: the model, the store, the outside world's addresses. Opened when
//! first asked for, once, and kept over reloads of the pipelines.

use std::path::PathBuf;
use std::sync::Arc;

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
}

impl Services {
    /// Services that open nothing until a stage asks.
    #[must_use]
    pub fn new(config: ServicesConfig) -> Self {
        Self(Arc::new(Inner { config }))
    }

    /// Where the services find what they need.
    #[must_use]
    pub fn config(&self) -> &ServicesConfig {
        &self.0.config
    }
}
