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
async fn a_stage_that_blocks_takes_no_place_from_those_that_compute() {
    let none = || Arc::new(Semaphore::new(0));
    let calls = Calls::new(&[BLOCKING], Limits::DEFAULT, none()).await;
    let held = [calls.begin(WAIT), calls.begin(WAIT)];
    calls.until(MOST, 2).await;
    calls.ask(1.0).await.unwrap();
    held.iter().for_each(|call| call.abort());
    calls.until("/plugin_metrics/given_up", 2).await;
    // Another stage waits in vain for a place.
    let calls = Calls::new(&[SHARED], Limits::DEFAULT, none()).await;
    let waits = calls.begin_within(1.0, Duration::from_millis(50));
    assert_eq!(waits.await.unwrap().unwrap_err().kind().status(), 429);
    assert_eq!(calls.counter("/plugin_metrics/calls"), 0);
}

#[tokio::test]
async fn a_stage_that_blocks_has_a_bound_of_its_own_and_drops_what_nobody_waits_for() {
    let limits = Limits {
        blocking_calls: 2,
        ..Limits::DEFAULT
    };
    let calls = Calls::new(&[BLOCKING], limits, Arc::new(Semaphore::new(1))).await;
    let naps: Vec<_> = (0..6).map(|_| calls.begin(NAP + 20.0)).collect();
    let late = calls.begin_within(NAP + 20.0, Duration::from_millis(1));
    for nap in naps {
        nap.await.unwrap().unwrap();
    }
    assert_eq!(late.await.unwrap().unwrap_err().kind().status(), 504);
    assert_eq!(calls.counter(MOST), 2);
    assert_eq!(calls.counter("/plugin_metrics/calls"), 6);
}

#[tokio::test]
async fn an_instance_that_is_not_thread_safe_is_used_by_one_call_at_a_time() {
    for (flags, overlaps) in [(ONE_AT_A_TIME, false), (SHARED, true)] {
        let places = Arc::new(Semaphore::new(8));
        let calls = Calls::new(&[flags], Limits::DEFAULT, places).await;
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
