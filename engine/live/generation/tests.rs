use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use omnizap_contract::{
    AsyncStage, Call, Error, Inputs, Kind, Observed, Options, Outputs, Ports, StageKind, StageSpec,
};
use tokio::sync::Semaphore;

use super::*;
use crate::pipeline::Registry;
use crate::pipeline::all::bind_all;
use crate::pipeline::diagnostic::SourceText;

/// What became of the stages of a test.
#[derive(Default)]
struct Ends {
    closed: AtomicUsize,
    dropped: AtomicUsize,
    /// Stages do not finish what they have under way.
    hangs_in_close: AtomicBool,
    /// Dropping one takes for ever.
    hangs_in_drop: AtomicBool,
}

struct Ending(Arc<Ends>);

impl Observed for Ending {}

impl AsyncStage for Ending {
    async fn run(&self, _: Inputs, _: &Call) -> Result<Outputs, Error> {
        Ok(Outputs::new())
    }

    async fn close(&self) {
        if self.0.hangs_in_close.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        while self.0.hangs_in_drop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

struct EndingKind {
    spec: StageSpec,
    ends: Arc<Ends>,
}

impl StageKind for EndingKind {
    fn spec(&self) -> &StageSpec {
        &self.spec
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::default()
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Ok(Runner::waits(Ending(self.ends.clone())))
    }
}

async fn pipelines(ends: &Arc<Ends>) -> Vec<Arc<Pipeline>> {
    let kind: Arc<dyn Kind> = Arc::new(EndingKind {
        spec: StageSpec::new("ending", "ends", []),
        ends: ends.clone(),
    });
    let registry = Registry::new([kind]).unwrap();
    let text = "[pipeline]\nname = \"one\"\n[[stage]]\nuses = \"ending\"\n";
    let source = SourceText::new("one.toml", text);
    let graph = bind_all(&[source], &registry, &|_| None).unwrap().remove(0);
    let built = Pipeline::build(graph, Arc::new(Semaphore::new(1))).await;
    vec![Arc::new(built.unwrap())]
}

async fn live() -> (Arc<Live>, Arc<Ends>) {
    let ends = Arc::new(Ends::default());
    (Arc::new(Live::new(pipelines(&ends).await)), ends)
}

fn within(limit: Duration) -> std::time::Instant {
    std::time::Instant::now() + limit
}

async fn until(happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it never happened"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn an_old_generation_is_closed_and_dropped_once_its_requests_have_ended() {
    let (live, old) = live().await;
    let request = live.current();
    let new = Arc::new(Ends::default());
    live.swap(pipelines(&new).await);
    assert_eq!(live.generations(), 2);
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(old.closed.load(Ordering::SeqCst), 0, "a request goes on");
    drop(request);
    until(|| old.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(old.closed.load(Ordering::SeqCst), 1);
    until(|| live.generations() == 1).await;
    assert_eq!(new.closed.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_all_generations_are_closed_once_and_dropped() {
    let (live, old) = live().await;
    let request = live.current();
    let new = Arc::new(Ends::default());
    live.swap(pipelines(&new).await);
    live.end_by(within(LONG));
    live.close().await;
    live.close().await;
    for ends in [&old, &new] {
        assert_eq!(ends.closed.load(Ordering::SeqCst), 1);
    }
    drop(request);
    assert!(live.end(within(LONG)).await);
    for ends in [&old, &new] {
        assert_eq!(ends.dropped.load(Ordering::SeqCst), 1);
    }
    // What was still being built then goes nowhere.
    let late = Arc::new(Ends::default());
    live.swap(pipelines(&late).await);
    until(|| late.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(live.generations(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_late_is_named_and_not_waited_for() {
    let (live, ends) = live().await;
    ends.hangs_in_close.store(true, Ordering::SeqCst);
    let late = live.current().close(Instant::now() + SHORT).await;
    assert_eq!(late, ["the stage `ending` of the pipeline `one`"]);

    let (live, ends) = self::live().await;
    ends.hangs_in_drop.store(true, Ordering::SeqCst);
    live.close().await;
    assert!(!live.end(within(SHORT)).await);
    assert_eq!(ends.dropped.load(Ordering::SeqCst), 0);
    // The thread that was left behind ends with the test.
    ends.hangs_in_drop.store(false, Ordering::SeqCst);
    until(|| ends.dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_holds_at_the_end_is_never_dropped_by_it() {
    let (live, ends) = live().await;
    let request = live.current();
    live.close().await;
    assert!(!live.end(within(SHORT)).await);
    drop(request);
    tokio::time::sleep(SHORT).await;
    assert_eq!(ends.dropped.load(Ordering::SeqCst), 0);
}
