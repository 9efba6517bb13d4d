//! What may run of plugins while the files that name them are checked, bound and built.
//!
//! Files are gone through in the same way each time, and what differs is what a [`Binding`] lets
//! plugins do meanwhile: nothing at all, so that one learns what they would do; all; or what was
//! tried before and nothing else, however the files change meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omnizap_contract::common::digest::{Hasher, Sha256Hex};
use omnizap_contract::{
    Error, ErrorKind, Kind, OptionFault, Options, Ports, Runner, StageKind, StageSpec,
};
use serde_json::Value as Json;

use super::steps::Steps;

/// What files make plugins do: each library by its digest, and each stage of one with its options
/// by that of all three. No option can be read out of it.
pub type Uses = BTreeSet<Sha256Hex>;

/// All of them as one.
pub(super) fn digest(uses: &Uses) -> Sha256Hex {
    let mut hasher = Hasher::default();
    for used in uses {
        hasher.update(used.as_bytes());
    }
    hasher.finish()
}

/// What is said of a plugin that was not tried, because the files changed after that.
pub(super) const UNTRIED: &str =
    "the files changed while their plugins were tried: they are read again";

/// What plugins may do while files are gone through.
pub struct Binding {
    /// What of a plugin runs now.
    pub(super) steps: Arc<Steps>,
    may: May,
    uses: Mutex<Uses>,
    /// The plugin of each kind.
    owners: Mutex<BTreeMap<String, Arc<str>>>,
    /// How long an instance may take to come up.
    limit: Option<Duration>,
}

enum May {
    /// None of their code runs.
    Nothing,
    All,
    Only(Uses),
}

/// What becomes of a piece of a plugin's code.
pub(super) enum Leave {
    Run,
    /// It is not run, and counts as fine.
    Pass,
    Refuse,
}

impl Binding {
    /// Plugins do what the files want.
    #[must_use]
    pub fn all(steps: Arc<Steps>) -> Self {
        Self::new(steps, May::All, None)
    }

    /// They do nothing: [`Binding::uses`] tells what the files want of them.
    #[must_use]
    pub fn nothing() -> Self {
        Self::new(Arc::default(), May::Nothing, None)
    }

    /// They do what is `tried`, or all that the files want where that is not given. An instance
    /// has `limit` to come up.
    #[must_use]
    pub fn within(steps: Arc<Steps>, tried: Option<Uses>, limit: Duration) -> Self {
        Self::new(steps, tried.map_or(May::All, May::Only), Some(limit))
    }

    fn new(steps: Arc<Steps>, may: May, limit: Option<Duration>) -> Self {
        Self {
            steps,
            may,
            uses: Mutex::default(),
            owners: Mutex::default(),
            limit,
        }
    }

    /// What was asked for, and not refused.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.clone()
    }

    /// A kind of a plugin, which does what this lets it do.
    pub(super) fn bound(
        self: &Arc<Self>,
        kind: Arc<dyn Kind>,
        plugin: &Arc<str>,
        library: Sha256Hex,
    ) -> Arc<dyn Kind> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.insert(kind.spec().name.to_string(), plugin.clone());
        Arc::new(Bound {
            kind,
            plugin: plugin.clone(),
            library,
            binding: self.clone(),
        })
    }

    /// The plugin that a kind of that name is of, if it is of one.
    pub(super) fn owner(&self, kind: &str) -> Option<Arc<str>> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(kind).cloned()
    }

    /// Asks for what plugins do under this digest.
    pub(super) fn ask(&self, used: Sha256Hex) -> Leave {
        let leave = match &self.may {
            May::Nothing => Leave::Pass,
            May::Only(tried) if !tried.contains(&used) => return Leave::Refuse,
            May::Only(_) | May::All => Leave::Run,
        };
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.insert(used);
        leave
    }
}

/// A kind of a plugin, under a binding.
struct Bound {
    kind: Arc<dyn Kind>,
    /// The plugin's name, version and file.
    plugin: Arc<str>,
    /// The digest of its library.
    library: Sha256Hex,
    binding: Arc<Binding>,
}

impl Bound {
    /// The digest of the library, the stage and its options.
    fn used(&self, options: &Options) -> Sha256Hex {
        let options = Json::Object(options.as_map().clone());
        let name = &self.kind.spec().name;
        Sha256Hex::of(format!("{} {name} {options}", self.library).as_bytes())
    }

    fn doing(&self, functions: &str) -> String {
        format!("in {functions} of `{}`", self.kind.spec().name)
    }
}

impl StageKind for Bound {
    fn spec(&self) -> &StageSpec {
        self.kind.spec()
    }

    fn ports(&self, options: &Options) -> Ports {
        self.kind.ports(options)
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        match self.binding.ask(self.used(options)) {
            Leave::Pass => Ok(()),
            Leave::Refuse => Err(vec![OptionFault {
                option: String::new(),
                message: UNTRIED.into(),
            }]),
            Leave::Run => {
                let doing = self.doing("`create`, `validate_config` or `destroy`");
                let _step = self.binding.steps.enter(&self.plugin, doing);
                self.kind.check(options)
            }
        }
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        self.kind.inspect(options)
    }

    fn withheld(&self) -> Option<&str> {
        // What would run is asked for as if it did.
        let is_look = matches!(self.binding.may, May::Nothing);
        self.kind.withheld().filter(|_| !is_look)
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let doing = self.doing("`create` or `activate`");
        let _step = self.binding.steps.enter(&self.plugin, doing);
        let building = self.kind.build(options);
        let Some(limit) = self.binding.limit else {
            return building.await;
        };
        let late = |_| {
            let late = format!(
                "the plugin {}, {}, did not come back within {} ms: it is left behind",
                self.plugin,
                self.doing("`create` or `activate`"),
                limit.as_millis()
            );
            Err(Error::new(ErrorKind::Internal, late))
        };
        tokio::time::timeout(limit, building)
            .await
            .unwrap_or_else(late)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::Map;

    use super::*;

    /// Counts how often it is checked.
    struct Counted {
        spec: StageSpec,
        checked: AtomicUsize,
        builds: bool,
    }

    impl StageKind for Counted {
        fn spec(&self) -> &StageSpec {
            &self.spec
        }

        fn ports(&self, _: &Options) -> Ports {
            Ports::default()
        }

        fn check(&self, _: &Options) -> Result<(), Vec<OptionFault>> {
            self.checked.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn build(&self, _: &Options) -> Result<Runner, Error> {
            if !self.builds {
                std::future::pending::<()>().await;
            }
            Err(Error::new(ErrorKind::Internal, "it came up"))
        }
    }

    fn counted(builds: bool) -> Arc<Counted> {
        Arc::new(Counted {
            spec: StageSpec::new("acme/one", "counts", []),
            checked: AtomicUsize::new(0),
            builds,
        })
    }

    fn bound(kind: &Arc<Counted>, binding: Binding) -> Bound {
        Bound {
            kind: kind.clone(),
            plugin: "acme 1.0".into(),
            library: Sha256Hex::of(b"acme"),
            binding: Arc::new(binding),
        }
    }

    fn options(value: i64) -> Options {
        let mut map = Map::new();
        map.insert("value".into(), Json::from(value));
        Options::from_checked(map)
    }

    #[test]
    fn only_what_was_tried_is_run() {
        let kind = counted(true);
        let look = bound(&kind, Binding::nothing());
        assert!(StageKind::check(&look, &options(1)).is_ok());
        assert_eq!(kind.checked.load(Ordering::Relaxed), 0);
        let tried = look.binding.uses();
        assert_eq!(tried.len(), 1);

        let limit = Duration::from_secs(60);
        let real = bound(&kind, Binding::within(Arc::default(), Some(tried), limit));
        assert!(StageKind::check(&real, &options(1)).is_ok());
        assert_eq!(kind.checked.load(Ordering::Relaxed), 1);
        let refused = StageKind::check(&real, &options(2)).unwrap_err();
        assert!(refused[0].message.contains("read again"), "{refused:?}");
        assert_eq!(kind.checked.load(Ordering::Relaxed), 1);

        let all = bound(&kind, Binding::all(Arc::default()));
        assert!(StageKind::check(&all, &options(2)).is_ok());
        assert_eq!(kind.checked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn an_instance_that_does_not_come_up_is_left_behind_and_named() {
        let within = |limit| Binding::within(Arc::default(), None, limit);
        let never = bound(&counted(false), within(Duration::from_millis(20)));
        let error = StageKind::build(&never, &options(1)).await.err().unwrap();
        let message = error.message();
        for part in ["acme 1.0", "`create` or `activate` of `acme/one`", "20 ms"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(never.binding.steps.now(), None);
        let fine = bound(&counted(true), within(Duration::from_secs(60)));
        let error = StageKind::build(&fine, &options(1)).await.err().unwrap();
        assert_eq!(error.message(), "it came up");
    }
}
