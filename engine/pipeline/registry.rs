//! The stages that a pipeline file may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnizap_contract::Kind;

/// Kinds of stages by name: built-in ones and those of plugins.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<String, Arc<dyn Kind>>,
    /// Whether files may name stages of plugins that are not there.
    forgives_plugins: bool,
}

impl Registry {
    /// A registry of these kinds.
    ///
    /// # Errors
    /// The first name that two kinds claim.
    pub fn new(kinds: impl IntoIterator<Item = Arc<dyn Kind>>) -> Result<Self, DuplicateKind> {
        Self::default().with(kinds)
    }

    /// The same registry and these kinds.
    ///
    /// # Errors
    /// The first name that two kinds claim.
    pub fn with(
        mut self,
        kinds: impl IntoIterator<Item = Arc<dyn Kind>>,
    ) -> Result<Self, DuplicateKind> {
        for kind in kinds {
            let name = kind.spec().name.to_string();
            if self.kinds.insert(name.clone(), kind).is_some() {
                return Err(DuplicateKind(name));
            }
        }
        Ok(self)
    }

    /// The same registry, which lets files name stages of plugins that are not there:
    /// for a service that runs without plugins.
    #[must_use]
    pub fn without_plugins(mut self) -> Self {
        self.forgives_plugins = true;
        self
    }

    /// True where a stage of that name is left out instead of being a mistake.
    #[must_use]
    pub fn forgives(&self, name: &str) -> bool {
        self.forgives_plugins && name.contains('/')
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.kinds.get(name)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }
}

/// Two kinds of stages claim one name.
#[derive(Debug, thiserror::Error)]
#[error("two kinds of stages are named `{0}`: rename one of them")]
pub struct DuplicateKind(String);
