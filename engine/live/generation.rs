//! What was built together and answers together, and the swap of one generation for the next.

mod live;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;
use omnizap_contract::Runner;
use omnizap_contract::common::digest::{Hasher, Sha256Hex};
use omnizap_contract::stage::Waiting;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

pub use self::live::Live;

use crate::pipeline::Pipeline;
use crate::pipeline::config::Route;

/// Pipelines that were built together, and the routes that reach them.
pub struct Generation {
    /// 1 for the first, and one more for each that took the place of another.
    number: u64,
    /// When it was made.
    since: SystemTime,
    hash: Sha256Hex,
    pipelines: Vec<Arc<Pipeline>>,
    plain: HashMap<Route, Target>,
    /// Routes with parameters in their path; no request is meant for two of them.
    patterns: Vec<(Route, Target)>,
    /// Each stage that may have something under way.
    closing: Vec<Arc<Closing>>,
}

/// A stage that is closed once, whoever asks for it.
struct Closing {
    pipeline: String,
    name: String,
    stage: Arc<dyn Waiting>,
    closed: OnceCell<()>,
}

impl Closing {
    fn of(pipeline: &Arc<Pipeline>) -> impl Iterator<Item = Arc<Self>> {
        pipeline.runners().filter_map(|(name, runner)| {
            let Runner::Async(stage) = runner else {
                return None;
            };
            Some(Arc::new(Self {
                pipeline: pipeline.name().to_owned(),
                name: name.to_owned(),
                stage: stage.clone(),
                closed: OnceCell::new(),
            }))
        })
    }

    async fn close(&self) {
        self.closed.get_or_init(|| self.stage.close()).await;
    }
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
        let closing = pipelines.iter().flat_map(Closing::of).collect();
        Self {
            number: 1,
            since: SystemTime::now(),
            hash: hash(&pipelines),
            pipelines,
            plain,
            patterns,
            closing,
        }
    }

    /// 1 for the first, and one more for each that took the place of another.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was made.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The digest of all its files and what they extend: the same wherever the same files are live.
    #[must_use]
    pub fn hash(&self) -> &Sha256Hex {
        &self.hash
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

    /// Finishes what the stages have under way, all at the same time and each once. Those that had
    /// not done so in time, with their pipelines; they are not stopped.
    fn close(&self, until: Instant) -> impl Future<Output = Vec<String>> + Send + use<> {
        let closing = self.closing.clone();
        let each = closing.into_iter().map(move |closing| async move {
            let work = closing.clone();
            // A task of its own: one that blocks holds up nobody.
            let closed = tokio::spawn(async move { work.close().await });
            let is_late = timeout_at(until, closed).await.is_err();
            is_late.then(|| {
                let (stage, pipeline) = (&closing.name, &closing.pipeline);
                format!("the stage `{stage}` of the pipeline `{pipeline}`")
            })
        });
        let all = join_all(each);
        async move { all.await.into_iter().flatten().collect() }
    }

    /// Its pipelines' names, for the log.
    fn names(&self) -> String {
        let names = self
            .pipelines()
            .map(|pipeline| format!("`{}`", pipeline.name()));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// The digest of the texts of pipelines, whatever their order and where they stand.
fn hash(pipelines: &[Arc<Pipeline>]) -> Sha256Hex {
    let mut each: Vec<Sha256Hex> = pipelines
        .iter()
        .map(|pipeline| Sha256Hex::of(pipeline.graph.file.source.text.as_bytes()))
        .collect();
    each.sort();
    let mut hasher = Hasher::default();
    for one in &each {
        hasher.update(one.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
