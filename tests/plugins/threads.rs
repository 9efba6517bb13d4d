//! On which threads a stage of a plugin runs, and how many calls at a time.

use std::sync::Arc;
use std::time::Duration;

use omnizap_host::Limits;
use tokio::sync::Semaphore;

use super::calls::{Calls, NAP, WAIT};

const SHARED: &str = "-DFLAGS=OZ_THREAD_SAFE|OZ_PURE";
const ONE_AT_A_TIME: &str = "-DFLAGS=OZ_PURE";
const BLOCKING: &str = "-DFLAGS=OZ_THREAD_SAFE|OZ_BLOCKING";
const MOST: &str = "/plugin_metrics/inside_most";

/// One thread for all that is async: a stage that ran on it would leave no time for another.
#[tokio::test]
async fn a_stage_takes_no_place_from_those_that_are_built_in() {
    for flags in [BLOCKING, SHARED, ONE_AT_A_TIME] {
        let limits = Limits {
            computing_calls: 3,
            ..Limits::DEFAULT
        };
        let none = Arc::new(Semaphore::new(0));
        let calls = Calls::new(&[flags], limits, none).await;
        let held = [calls.begin(WAIT), calls.begin(WAIT)];
        calls.until(MOST, 2).await;
        calls.ask(1.0).await.unwrap();
        held.iter().for_each(|call| call.abort());
        calls.until("/plugin_metrics/given_up", 2).await;
        assert_eq!((calls.counter("/faults"), calls.counter("/lost")), (0, 0));
    }
}

#[tokio::test]
async fn a_stage_has_a_bound_of_its_own_and_drops_what_nobody_waits_for() {
    let limits = Limits {
        computing_calls: 2,
        blocking_calls: 2,
        ..Limits::DEFAULT
    };
    for flags in [BLOCKING, SHARED, ONE_AT_A_TIME] {
        let calls = Calls::new(&[flags], limits, Arc::new(Semaphore::new(1))).await;
        let naps: Vec<_> = (0..6).map(|_| calls.begin(NAP + 20.0)).collect();
        let late = calls.begin_within(NAP + 20.0, Duration::from_millis(1));
        for nap in naps {
            nap.await.unwrap().unwrap();
        }
        assert_eq!(late.await.unwrap().unwrap_err().kind().status(), 504);
        assert_eq!(calls.counter(MOST), 2);
        assert_eq!(calls.counter("/plugin_metrics/calls"), 6);
        assert!(calls.counter("/threads") <= 2);
    }
}

#[tokio::test]
async fn where_too_many_wait_further_calls_are_refused() {
    let limits = Limits {
        computing_calls: 1,
        max_waiting: 2,
        ..Limits::DEFAULT
    };
    let calls = Calls::new(&[SHARED], limits, Arc::new(Semaphore::new(1))).await;
    let held = calls.begin(WAIT);
    calls.until(MOST, 1).await;
    let waiting = [calls.begin(1.0), calls.begin(2.0)];
    calls.until("/waiting", 2).await;
    let refused = calls.ask(3.0).await.unwrap_err();
    assert_eq!(
        (refused.kind().status(), refused.code()),
        (429, "plugin_queue_full")
    );
    held.abort();
    for (call, wanted) in waiting.into_iter().zip([1.0, 2.0]) {
        assert_eq!(call.await.unwrap().unwrap()["number"], wanted);
    }
}

#[tokio::test]
async fn an_instance_that_is_not_thread_safe_is_used_by_one_call_at_a_time() {
    for (flags, overlaps) in [(ONE_AT_A_TIME, false), (SHARED, true)] {
        let limits = Limits {
            computing_calls: 8,
            ..Limits::DEFAULT
        };
        let calls = Calls::new(&[flags], limits, Arc::new(Semaphore::new(1))).await;
        let naps: Vec<_> = (0..40).map(|_| calls.begin(NAP + 5.0)).collect();
        for nap in naps {
            nap.await.unwrap().unwrap();
        }
        assert!(calls.counter(MOST) > 1, "{}", calls.counter(MOST));
        assert_eq!(
            calls.counter("/plugin_metrics/overlaps") > 0,
            overlaps,
            "{flags}"
        );
    }
}
