//! What one connection is at, and when it is over for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::peer::Peer;

/// How long a connection that waits for a request is left open once the server is to end: a request
/// may be on its way.
const AT_THE_END: Duration = Duration::from_secs(1);

/// How long a connection may wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Timeouts {
    /// For a head that has begun, and for the first one.
    pub(in crate::http) head: Duration,
    /// For another request.
    pub(in crate::http) idle: Duration,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Over {
    /// Another one has its place.
    GaveWay,
    /// No request came in time.
    Late,
    /// It is as old as connections get.
    Old,
    /// The client takes nothing of its answer.
    Stalled,
}

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct Seat {
    peer: Peer,
    state: Mutex<State>,
    gives_way: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that are not answered yet.
    requests: usize,
    /// Those of them whose bodies are coming.
    reading: usize,
    reading_since: Instant,
    /// Since when there has been no request.
    waiting_since: Instant,
    /// When the first byte of the next request came; not told of HTTP/2, where bytes come that are
    /// of no request.
    head_since: Option<Instant>,
    has_asked: bool,
    is_http2: bool,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(in crate::http) struct Asking(Arc<Seat>);

/// A body that is coming.
#[derive(Debug)]
pub(in crate::http) struct Reading<'s>(&'s Seat);

impl Seat {
    pub(super) fn new(peer: Peer) -> Self {
        let now = Instant::now();
        let state = State {
            requests: 0,
            reading: 0,
            reading_since: now,
            waiting_since: now,
            head_since: None,
            has_asked: false,
            is_http2: false,
        };
        Self {
            peer,
            state: Mutex::new(state),
            gives_way: Notify::new(),
        }
    }

    pub(in crate::http) fn peer(&self) -> Peer {
        self.peer
    }

    /// Bytes came.
    pub(in crate::http) fn came(&self) {
        let mut state = self.state();
        if state.requests == 0 && state.head_since.is_none() && !state.is_http2 {
            state.head_since = Some(Instant::now());
        }
    }

    /// True while the client waits for the answer to a request that has come whole; not told of
    /// HTTP/2, which shuts no side alone.
    pub(in crate::http) fn owes_answer(&self) -> bool {
        let state = self.state();
        state.requests > state.reading && !state.is_http2
    }

    /// A head came whole.
    pub(in crate::http) fn begin(self: &Arc<Self>, is_http2: bool) -> Asking {
        let mut state = self.state();
        state.requests += 1;
        state.head_since = None;
        state.has_asked = true;
        state.is_http2 = is_http2;
        Asking(self.clone())
    }

    /// The body of a request is waited for.
    pub(in crate::http) fn reads(&self) -> Reading<'_> {
        let mut state = self.state();
        if state.reading == 0 {
            state.reading_since = Instant::now();
        }
        state.reading += 1;
        Reading(self)
    }

    /// Whether it waits for bodies, else it is for a request, and since when; nothing where it
    /// waits for neither.
    pub(super) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        match state.requests {
            0 => Some((false, state.waiting_since)),
            requests if requests == state.reading => Some((true, state.reading_since)),
            _ => None,
        }
    }

    pub(super) fn give_way(&self) {
        self.gives_way.notify_one();
    }

    /// Resolves once the connection is over; `ending` is since when the server is to end.
    pub(in crate::http) async fn over(&self, timeouts: Timeouts, ending: Option<Instant>) -> Over {
        let late = async {
            loop {
                let now = Instant::now();
                let deadline = self.deadline(timeouts, ending);
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return;
                }
                // What begins meanwhile has a deadline too.
                let look = now + timeouts.head;
                sleep_until(deadline.map_or(look, |deadline| deadline.min(look))).await;
            }
        };
        tokio::select! {
            () = self.gives_way.notified() => Over::GaveWay,
            () = late => Over::Late,
        }
    }

    fn deadline(&self, timeouts: Timeouts, ending: Option<Instant>) -> Option<Instant> {
        let state = self.state();
        if state.requests > 0 {
            return None;
        }
        let deadline = match state.head_since {
            Some(head_since) => head_since + timeouts.head,
            None if state.has_asked => state.waiting_since + timeouts.idle,
            None => state.waiting_since + timeouts.head,
        };
        let at_the_end = ending.map(|ending| ending + AT_THE_END);
        Some(at_the_end.map_or(deadline, |at_the_end| deadline.min(at_the_end)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        if state.requests == 0 {
            state.waiting_since = Instant::now();
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.state().reading -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_millis(20),
        idle: Duration::from_secs(600),
    };

    fn seat() -> Arc<Seat> {
        Arc::new(Seat::new(Peer::of([10, 0, 0, 1].into())))
    }

    #[tokio::test]
    async fn a_connection_is_late_for_its_first_request_and_for_one_that_has_begun() {
        assert_eq!(seat().over(TIMEOUTS, None).await, Over::Late);

        let seat = seat();
        let asking = seat.begin(false);
        seat.came();
        assert!(seat.deadline(TIMEOUTS, None).is_none(), "it has a request");
        assert!(seat.over(TIMEOUTS, None).now_or_never().is_none());
        drop(asking);
        let idle = seat.deadline(TIMEOUTS, None).unwrap();
        assert!(idle > Instant::now() + Duration::from_secs(60));
        // Half a head.
        seat.came();
        assert_eq!(seat.over(TIMEOUTS, None).await, Over::Late);
    }

    #[tokio::test]
    async fn bytes_of_no_request_are_no_head() {
        let seat = seat();
        drop(seat.begin(true));
        seat.came();
        let idle = seat.deadline(TIMEOUTS, None).unwrap();
        assert!(idle > Instant::now() + Duration::from_secs(60));
        // At the end of the server it is not waited for so long.
        let now = Instant::now();
        assert_eq!(seat.deadline(TIMEOUTS, Some(now)), Some(now + AT_THE_END));
        seat.give_way();
        assert_eq!(seat.over(TIMEOUTS, None).await, Over::GaveWay);
    }

    #[tokio::test]
    async fn an_answer_is_owed_to_a_request_that_has_come_whole() {
        let seat = seat();
        assert!(!seat.owes_answer());
        let asking = seat.begin(false);
        assert!(seat.owes_answer());
        let reading = seat.reads();
        assert!(!seat.owes_answer(), "its body is coming");
        drop(reading);
        assert!(seat.owes_answer());
        drop(asking);
        assert!(!seat.owes_answer());
        let _asking = seat.begin(true);
        assert!(!seat.owes_answer(), "over HTTP/2");
    }

    #[tokio::test]
    async fn it_waits_for_bodies_where_all_of_its_requests_do() {
        let seat = seat();
        assert!(!seat.waits().unwrap().0);
        let (first, second) = (seat.begin(true), seat.begin(true));
        assert_eq!(seat.waits(), None);
        let reading = (seat.reads(), seat.reads());
        assert!(seat.waits().unwrap().0);
        drop(reading.0);
        assert_eq!(seat.waits(), None);
        drop(first);
        assert!(seat.waits().unwrap().0);
        drop((reading.1, second));
        assert!(!seat.waits().unwrap().0);
    }
}
