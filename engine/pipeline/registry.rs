//! The stages that a pipeline file may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnizap_contract::StageKind;

/// Kinds of stages by name: built-in ones and those of plugins.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<dyn StageKind>>);

impl Registry {
    /// A registry of these kinds.
    ///
    /// # Errors
    /// The first name that two kinds claim.
    pub fn new(kinds: impl IntoIterator<Item = Arc<dyn StageKind>>) -> Result<Self, DuplicateKind> {
        let mut registry = Self::default();
        for kind in kinds {
            let name = kind.spec().name.to_string();
            if registry.0.insert(name.clone(), kind).is_some() {
                return Err(DuplicateKind(name));
            }
        }
        Ok(registry)
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn StageKind>> {
        self.0.get(name)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Two kinds of stages claim one name.
#[derive(Debug, thiserror::Error)]
#[error("two kinds of stages are named `{0}`: rename one of them")]
pub struct DuplicateKind(String);
