//! Pipelines loaded so that nothing that a plugin does meanwhile is felt by anybody else: what is
//! new is tried in a process of its own first, and what then runs here runs on a thread of its own,
//! with a time limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::binding::{Binding, Uses};
use super::home::Home;
use super::source::{LoadError, Source};
use super::steps::Steps;
use super::trial::Trial;
use super::workshop::Workshop;
use crate::pipeline::Pipeline;
use crate::pipeline::graph::Graph;

/// How long files may take to be read, where a plugin may not take longer.
const READS: Duration = Duration::from_secs(10);

/// Most threads that were left behind in plugins: once there are so many, plugins are loaded by a
/// new start only.
pub const MAX_LEFT_BEHIND: usize = 4;

/// Loads the pipelines of a source, again and again.
pub struct Loading {
    home: Arc<Home>,
    workshop: Arc<Workshop>,
    source: Source,
    limit: Duration,
    trial: Option<Trial>,
    /// What plugins do in the pipelines that were loaded last: that need not be tried again.
    tried: Uses,
    /// Files that are not of the source and that its files extend.
    extended: Vec<PathBuf>,
    /// What of a plugin runs in the load that is under way.
    steps: Arc<Steps>,
    /// Threads that may not have ended yet.
    threads: Vec<JoinHandle<()>>,
}

impl Loading {
    /// Loads these pipelines; each thing that a plugin does then may take that long. Where there is
    /// a `trial`, what was not loaded before is tried by it.
    #[must_use]
    pub fn new(
        workshop: Arc<Workshop>,
        source: Source,
        limit: Duration,
        trial: Option<Trial>,
    ) -> Self {
        Self {
            home: Arc::new(Home::here()),
            workshop,
            source,
            limit,
            trial,
            tried: Uses::new(),
            extended: Vec::new(),
            steps: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Where they come from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Files that are not of the source, and that its files extended when they were read last.
    #[must_use]
    pub fn extended(&self) -> &[PathBuf] {
        &self.extended
    }

    /// Goes back to the working folder that relative paths are meant from, where a plugin has left
    /// it. A disk may be long in saying where it is: no thread that answers requests waits for it.
    pub(super) async fn stay_home(&self) {
        let home = self.home.clone();
        // It can only fail by a panic, or at shutdown.
        let _ = tokio::task::spawn_blocking(move || home.stay()).await;
    }

    /// The pipelines, checked and bound. Nothing blocks meanwhile; dropped, what is under way is
    /// left behind.
    ///
    /// # Errors
    /// Every mistake in every file, and what plugins did that does not go live.
    pub async fn graphs(&mut self) -> Result<Vec<Graph>, LoadError> {
        self.stay_home().await;
        self.threads.retain(|thread| !thread.is_finished());
        let left_behind = self.threads.len();
        self.steps = Arc::default();

        let (workshop, source) = (self.workshop.clone(), self.source.clone());
        let looked = self.apart(move || {
            let texts = Source::Texts(source.texts()?);
            let looked = (!workshop.is_safe()).then(|| workshop.look(&texts));
            Ok::<_, LoadError>((texts, looked))
        });
        let (texts, looked) = looked.await??;
        let (uses, seen) = looked.unzip();
        let uses = uses.unwrap_or_default();

        if left_behind >= MAX_LEFT_BEHIND && !uses.is_empty() {
            return Err(LoadError::GivenUp(format!(
                "{left_behind} threads are left behind in plugins that did not come back: start \
                 the service anew to load plugins"
            )));
        }
        let is_new = !uses.is_subset(&self.tried);
        if let Some(trial) = self.trial.as_ref().filter(|_| is_new) {
            if let Some((_, extended)) = &seen {
                self.extended.clone_from(extended);
            }
            trial.run(&uses, &self.steps).await?;
        }
        let (graphs, extended) = match seen {
            // No plugin does anything: that was all.
            Some(bound) if uses.is_empty() => bound,
            _ => {
                let tried = self.trial.is_some().then(|| uses.clone());
                let binding = Binding::within(self.steps.clone(), tried, self.limit);
                let (workshop, binding) = (self.workshop.clone(), Arc::new(binding));
                let bound = self.apart(move || workshop.graphs_and_bases(&texts, &binding));
                bound.await?
            }
        };
        // Also where there are mistakes: they may be mended there.
        self.extended = extended;
        let graphs = graphs?;
        self.tried = uses;
        Ok(graphs)
    }

    /// The same, built. Those that were the same `before` count on.
    ///
    /// # Errors
    /// The first stage that could not be built.
    pub async fn build(
        &self,
        graphs: Vec<Graph>,
        before: &[Arc<Pipeline>],
    ) -> Result<Vec<Arc<Pipeline>>, LoadError> {
        Ok(self.workshop.rebuild(graphs, before).await?)
    }

    /// Why a load was not waited for, with the plugin that held it up.
    #[must_use]
    pub fn given_up(&self, why: &str) -> LoadError {
        let what = match self.steps.now() {
            Some(step) => format!("{step} did not come back"),
            None => "the pipelines were not read".to_owned(),
        };
        LoadError::GivenUp(format!("{what} {why}"))
    }

    /// Does work on a thread of its own, which is left behind where it takes too long.
    async fn apart<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let (send, mut done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("pipelines".into());
        let thread = thread.spawn(move || {
            // Whoever waited may have left.
            let _ = send.send(work());
        });
        self.threads.push(thread.map_err(LoadError::Start)?);
        let begun = Instant::now();
        loop {
            let steps = self.steps.begun();
            match tokio::time::timeout(self.limit, &mut done).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(_)) => {
                    let panicked = "the thread that loads the pipelines panicked";
                    return Err(LoadError::GivenUp(panicked.into()));
                }
                // What goes on, goes on.
                Err(_) if steps != self.steps.begun() => {}
                Err(_) if self.steps.now().is_none() && begun.elapsed() < READS => {}
                Err(_) => {
                    let waited = begun.elapsed().as_millis();
                    return Err(self.given_up(&format!("within {waited} ms: it is left behind")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use omnizap_host::{Limits, Loader};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::pipeline::Registry;

    fn loading(limit: Duration) -> Loading {
        let loader = Loader::new(PathBuf::new(), false, Limits::default());
        let places = Arc::new(Semaphore::new(1));
        let workshop = Workshop::new(Registry::default(), loader, places, &[]);
        let source = Source::Texts(Vec::new());
        Loading::new(Arc::new(workshop), source, limit, None)
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_left_behind_and_named_and_the_next_is_done() {
        let mut loading = loading(Duration::from_millis(500));
        let (end, ends) = mpsc::channel::<()>();
        let steps = loading.steps.clone();
        let work = move || {
            let _step = steps.enter(&"acme 1.0".into(), "in `create`".into());
            let _ = ends.recv();
        };
        let error = loading.apart(work).await.unwrap_err().to_string();
        let wanted = "the plugin acme 1.0, in `create`, did not come back within ";
        assert!(error.starts_with(wanted), "{error}");
        assert!(loading.graphs().await.unwrap().is_empty());
        assert_eq!(loading.apart(|| 7).await.unwrap(), 7);
        drop(end);
        while !loading.threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        fn fails() {
            panic!("on purpose");
        }
        let mut loading = loading(READS);
        let error = loading.apart(fails).await.unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
    }
}
