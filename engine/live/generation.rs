//! What was built together and answers together, and the swap of one generation for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::pipeline::Pipeline;
use crate::pipeline::config::Route;

/// How long requests may go on with a generation that was swapped out before its stages are
/// closed.
const OLD_GENERATION_GRACE: Duration = Duration::from_secs(60);

/// Pipelines that were built together, and the routes that reach them.
pub struct Generation {
    pipelines: Vec<Arc<Pipeline>>,
    plain: HashMap<Route, Target>,
    /// Routes with parameters in their path; no request is meant for two of them.
    patterns: Vec<(Route, Target)>,
}

/// What a route of a pipeline asks for.
#[derive(Clone)]
pub enum Target {
    /// A run of the pipeline.
    Run(Arc<Pipeline>),
    /// Its settings in force.
    Settings(Arc<Pipeline>),
}

/// The parameters of a request's path, still encoded.
pub type Parameters<'r> = Vec<(&'r str, &'r str)>;

impl Generation {
    /// A generation of these pipelines.
    #[must_use]
    pub fn new(pipelines: Vec<Arc<Pipeline>>) -> Self {
        let (mut plain, mut patterns) = (HashMap::new(), Vec::new());
        for pipeline in &pipelines {
            if let Some(route) = &pipeline.graph.file.settings_route {
                plain.insert(route.get_ref().clone(), Target::Settings(pipeline.clone()));
            }
            if let Some(route) = &pipeline.graph.file.route {
                let (route, target) = (route.get_ref().clone(), Target::Run(pipeline.clone()));
                if route.parameters().next().is_some() {
                    patterns.push((route, target));
                } else {
                    plain.insert(route, target);
                }
            }
        }
        Self {
            pipelines,
            plain,
            patterns,
        }
    }

    /// Its pipelines, as they are held.
    #[must_use]
    pub fn all(&self) -> &[Arc<Pipeline>] {
        &self.pipelines
    }

    /// Its pipelines.
    pub fn pipelines(&self) -> impl Iterator<Item = &Pipeline> {
        self.pipelines.iter().map(|pipeline| &**pipeline)
    }

    /// What a request is meant for whose path is just that of a route.
    #[must_use]
    pub fn plain(&self, method: &str, path: &str) -> Option<&Target> {
        self.plain.get(&Route {
            method: method.into(),
            path: path.into(),
        })
    }

    /// What a request is meant for whose path has the form of a route's, and what it says. Plain
    /// routes go before, those of the program itself too.
    #[must_use]
    pub fn pattern<'r>(
        &'r self,
        method: &str,
        path: &'r str,
    ) -> Option<(&'r Target, Parameters<'r>)> {
        let patterns = self.patterns.iter();
        let mut of_method = patterns.filter(|(route, _)| route.method == method);
        of_method.find_map(|(route, target)| Some((target, route.matches(path)?)))
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let patterns = self.patterns.iter().map(|(route, _)| route);
        self.plain.keys().chain(patterns)
    }

    /// Finishes what the stages have under way; to be called once.
    async fn close(&self) {
        for pipeline in &self.pipelines {
            pipeline.close().await;
        }
    }
}

/// The generation that answers, and those that still finish requests.
pub struct Live {
    current: ArcSwap<Generation>,
    /// Generations that were swapped out and not closed yet.
    retired: Mutex<Vec<Weak<Generation>>>,
}

impl Live {
    /// The first generation.
    #[must_use]
    pub fn new(pipelines: Vec<Arc<Pipeline>>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Generation::new(pipelines)),
            retired: Mutex::default(),
        }
    }

    /// The generation that answers now.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Puts other pipelines in the place of the live ones. Requests in flight end on the pipeline
    /// that they began on; it is closed a minute later, or at the end of the service.
    pub fn swap(self: &Arc<Self>, pipelines: Vec<Arc<Pipeline>>) {
        let old = self.current.swap(Arc::new(Generation::new(pipelines)));
        self.retired().push(Arc::downgrade(&old));
        let live = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(OLD_GENERATION_GRACE).await;
            if live.retire(&old) {
                old.close().await;
            }
        });
    }

    /// Finishes what the stages of every generation have under way.
    pub async fn close(&self) {
        let retired: Vec<_> = self.retired().drain(..).collect();
        for old in retired.iter().filter_map(Weak::upgrade) {
            old.close().await;
        }
        self.current.load_full().close().await;
    }

    /// True for the one caller that is to close a generation.
    fn retire(&self, old: &Arc<Generation>) -> bool {
        let mut retired = self.retired();
        let before = retired.len();
        retired.retain(|kept| !std::ptr::eq(kept.as_ptr(), Arc::as_ptr(old)));
        retired.len() < before
    }

    fn retired(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Generation>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
