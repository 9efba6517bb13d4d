//! Where models are on this machine: the layout of the Hugging Face hub's cache, shared with the
//! Python tools, so that what one has fetched the other finds.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::preset::Weights;

/// A folder of pulled models.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The folder that the environment names: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.
    pub fn from_env() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = variable("HF_HUB_CACHE")
            .or_else(|| Some(variable("HF_HOME")?.join("hub")))
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface/hub")));
        Self::at(root.unwrap_or_else(|| PathBuf::from("huggingface/hub")))
    }

    /// A folder of your choice.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository, such as `models--apple--MobileCLIP-S1-OpenCLIP`.
    pub(crate) fn repository(&self, weights: &Weights) -> PathBuf {
        self.root
            .join(format!("models--{}", weights.repository.replace('/', "--")))
    }

    /// The checkpoint of these weights, if it has been pulled: from the revision `main` points to,
    /// else from any.
    pub fn find(&self, weights: &Weights) -> Option<PathBuf> {
        let repository = self.repository(weights);
        let snapshots = repository.join("snapshots");
        let main = std::fs::read_to_string(repository.join("refs/main")).ok();
        let others = std::fs::read_dir(&snapshots)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        main.map(|commit| snapshots.join(commit.trim()))
            .into_iter()
            .chain(others)
            .flat_map(|snapshot| weights.files.iter().map(move |file| snapshot.join(file)))
            .find(|path| path.is_file())
    }

    /// As [`Cache::find`].
    ///
    /// # Errors
    /// [`Error::NotPulled`].
    pub(crate) fn require(&self, model: &str, weights: &Weights) -> Result<PathBuf, Error> {
        self.find(weights).ok_or_else(|| Error::NotPulled {
            model: model.to_owned(),
            tag: weights.tag.to_owned(),
            looked_in: self.root.clone(),
        })
    }
}
