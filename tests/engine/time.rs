//! What counts as a stage's time and what as waiting, and what is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::pipeline::Pipeline;
use engine::pipeline::run::Finished;
use omnizap_contract::{Error, ErrorKind, Outputs, Runner};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::kinds::{TestKind, bind, compute, registry, waiting};

const SECOND: Duration = Duration::from_secs(1);

fn toml(stage: &str) -> String {
    format!("[pipeline]\nname = \"t\"\n[[stage]]\nuses = \"works\"\n{stage}\n")
}

/// One stage that does so, and as many places to compute.
async fn built(kind: TestKind, stage: &str, places: usize) -> Arc<Pipeline> {
    let graph = bind(&registry(vec![kind]), &toml(stage)).unwrap();
    let built = Pipeline::build(graph, Arc::new(Semaphore::new(places)));
    Arc::new(built.await.unwrap())
}

fn works(runner: Runner) -> TestKind {
    TestKind::new("works", vec![], vec![], runner)
}

fn sleeps(milliseconds: u64) -> Runner {
    compute(move |_, _| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        Ok(Outputs::new())
    })
}

async fn ask(pipeline: &Pipeline, within: Duration) -> Finished {
    pipeline
        .run(vec![], "test".into(), Instant::now() + within)
        .await
}

/// The kinds of the errors of so many requests at once.
async fn kinds_of(pipeline: &Arc<Pipeline>, requests: usize, within: Duration) -> Vec<ErrorKind> {
    let mut asked = JoinSet::new();
    for _ in 0..requests {
        let pipeline = pipeline.clone();
        asked.spawn(async move { ask(&pipeline, within).await });
    }
    let mut kinds = Vec::new();
    while let Some(finished) = asked.join_next().await {
        kinds.extend(
            finished
                .unwrap()
                .result
                .err()
                .map(|failure| failure.error.kind()),
        );
    }
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_place_is_no_part_of_a_stages_time() {
    // Twelve that take 20 ms each, one at a time: the last waits ten times its own time.
    let timed = "timeout_ms = 150";
    let plain = built(works(sleeps(20)), timed, 1).await;
    assert_eq!(kinds_of(&plain, 12, 20 * SECOND).await, []);
    let limited = built(works(sleeps(20)), "timeout_ms = 150\nmax_in_flight = 1", 4).await;
    assert_eq!(kinds_of(&limited, 12, 20 * SECOND).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_over_is_told_as_one() {
    for stage in ["max_wait_ms = 30", "max_wait_ms = 30\nmax_in_flight = 1"] {
        let pipeline = built(works(sleeps(300)), stage, 1).await;
        let busy = kinds_of(&pipeline, 4, 20 * SECOND).await;
        assert_eq!(busy, [ErrorKind::Busy; 3], "{stage}");
    }
    // Without a bound of its own the request's deadline ends it, and what ran is late, not busy.
    let pipeline = built(works(sleeps(400)), "", 1).await;
    let mut kinds = kinds_of(&pipeline, 3, Duration::from_millis(100)).await;
    kinds.sort_by_key(|kind| kind.status());
    assert_eq!(
        kinds,
        [ErrorKind::Busy, ErrorKind::Busy, ErrorKind::Deadline]
    );
}

/// Counts its runs, each of which fails so.
fn failing(kind: ErrorKind, after: Option<Duration>) -> (TestKind, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let works = works(waiting(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        let error = Error::new(kind, "no good");
        let error = match after {
            Some(after) => error.with_retry_after(after),
            None => error,
        };
        async move { Err(error) }
    }));
    (works, runs)
}

#[tokio::test]
async fn what_is_transient_is_tried_again_and_nothing_waits_longer_than_it_says() {
    for (kind, after, attempts) in [
        (ErrorKind::Unavailable, None, 3),
        (ErrorKind::Busy, Some(Duration::from_millis(1)), 3),
        // Whoever says that it makes no sense for a while is not asked meanwhile.
        (ErrorKind::Unavailable, Some(5 * SECOND), 1),
        (ErrorKind::Invalid, None, 1),
        (ErrorKind::Internal, None, 1),
    ] {
        let (works, runs) = failing(kind, after);
        let pipeline = built(works, "retry = 2", 1).await;
        let begun = Instant::now();
        let failure = ask(&pipeline, 20 * SECOND).await.result.unwrap_err();
        assert_eq!(failure.error.kind(), kind);
        assert_eq!(runs.load(Ordering::Relaxed), attempts, "{kind:?} {after:?}");
        assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_took_too_long_is_tried_again_where_it_changes_nothing() {
    for (is_pure, attempts) in [(true, 4), (false, 1)] {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let mut kind = works(waiting(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        }));
        if is_pure {
            kind = kind.pure();
        }
        let pipeline = built(kind, "retry = 3\ntimeout_ms = 5", 1).await;
        let failure = ask(&pipeline, 20 * SECOND).await.result.unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Deadline);
        assert_eq!(runs.load(Ordering::Relaxed), attempts, "pure: {is_pure}");
    }
}
