//! What one connection is at, and when it is over for that.
//!
//! The seat has the connection's socket, so that whoever asks a connection to give way can look
//! whether bytes of a request are there that nobody has read yet: a runtime that has much to do
//! reads them late. Once it has given way nothing is read any more, so that no request is taken
//! that would not be answered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::peer::Peer;

/// How long a connection that waits for a request is left open once the server is to end: a request
/// may be on its way.
const AT_THE_END: Duration = Duration::from_secs(1);
/// How long a connection is new: its first request may be on its way.
const NEW: Duration = Duration::from_millis(500);
/// How long a connection over HTTP/2 has to wait for a request before it gives way: its answers are
/// written by another task than the one that makes them.
const HTTP2_REST: Duration = Duration::from_millis(250);
/// How long a client may take nothing of an answer before its connection gives way.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// How long bytes that came in time may lie unread.
const UNREAD_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether they are read.
const UNREAD_LOOK: Duration = Duration::from_millis(10);

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

/// What a connection waits for; those that come first give way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    Request,
    /// The rest of a head.
    Head,
    /// Bodies, for all of its requests.
    Bodies,
    /// A client that takes nothing of its answer.
    Reader,
}

/// How a connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Leave {
    /// Closed at once.
    Close,
    /// Shut, and read on for a moment: what was on its way is no reason to reset it.
    Shut,
    /// Told that there is no place for it, then read on.
    Tell,
}

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct Seat {
    peer: Peer,
    /// There until the connection is left. Locked before the state where both are.
    stream: Mutex<Option<TcpStream>>,
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
    /// When bytes came last.
    came_at: Instant,
    /// Since when an answer is made and not written yet.
    answering_since: Option<Instant>,
    has_asked: bool,
    is_http2: bool,
    leaves: Option<Leave>,
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
            came_at: now,
            answering_since: None,
            has_asked: false,
            is_http2: false,
            leaves: None,
        };
        Self {
            peer,
            stream: Mutex::default(),
            state: Mutex::new(state),
            gives_way: Notify::new(),
        }
    }

    pub(in crate::http) fn peer(&self) -> Peer {
        self.peer
    }

    /// Takes the socket of the connection.
    pub(in crate::http) fn hold(&self, stream: TcpStream) {
        *self.stream() = Some(stream);
    }

    /// Gives the socket out, to leave it.
    pub(in crate::http) fn release(&self) -> Option<TcpStream> {
        self.stream().take()
    }

    /// Does something with the socket.
    ///
    /// # Errors
    /// The connection is left.
    pub(in crate::http) fn with_stream<T>(
        &self,
        act: impl FnOnce(Pin<&mut TcpStream>) -> T,
    ) -> io::Result<T> {
        let mut stream = self.stream();
        let is_left = self.state().leaves.is_some();
        match stream.as_mut() {
            Some(stream) if !is_left => Ok(act(Pin::new(stream))),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Bytes came. Whether they begin a head, else go on with one; nothing where they are of none.
    pub(in crate::http) fn came(&self) -> Option<bool> {
        let now = Instant::now();
        let mut state = self.state();
        state.came_at = now;
        if state.requests > 0 || state.is_http2 {
            return None;
        }
        let begins = state.head_since.is_none();
        state.head_since.get_or_insert(now);
        Some(begins)
    }

    /// Since when no byte came.
    pub(in crate::http) fn quiet_since(&self) -> Instant {
        self.state().came_at
    }

    /// All that there was to write is written.
    pub(in crate::http) fn flushed(&self) {
        self.state().answering_since = None;
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

    /// What it waits for, and since when; nothing where somebody waits for it.
    pub(super) fn waits(&self) -> Option<(Waits, Instant)> {
        self.state().waits()
    }

    /// True where a request has not come yet and may be on its way.
    pub(super) fn is_new(&self) -> bool {
        let state = self.state();
        let is_silent = !state.has_asked && state.requests == 0 && state.head_since.is_none();
        is_silent && state.waiting_since.elapsed() < NEW
    }

    /// True where bytes are there that nobody has read yet, or somebody is at it.
    pub(super) fn may_have_unread(&self) -> bool {
        self.try_stream()
            .is_none_or(|stream| has_unread(stream.as_ref()))
    }

    /// Gives way to others, where it waits and nothing has come that is unread. Where that is
    /// urgent it is closed at once.
    pub(super) fn give_way(&self, is_urgent: bool) -> bool {
        let Some(stream) = self.try_stream() else {
            return false;
        };
        let mut state = self.state();
        let Some((waits, _)) = state.waits() else {
            return false;
        };
        // What is not taken of an answer keeps what came behind it from being read.
        if waits != Waits::Reader && has_unread(stream.as_ref()) {
            return false;
        }
        state.leaves = Some(match waits {
            waits if is_urgent || waits == Waits::Reader => Leave::Close,
            Waits::Head | Waits::Bodies if !state.is_http2 => Leave::Tell,
            _ => Leave::Shut,
        });
        drop((state, stream));
        self.gives_way.notify_one();
        true
    }

    /// Leaves the connection so, unless it is left already.
    pub(in crate::http) fn leave(&self, leave: Leave) {
        let _stream = self.stream();
        self.state().leaves.get_or_insert(leave);
    }

    /// How the connection is left.
    pub(in crate::http) fn leaves(&self) -> Option<Leave> {
        self.state().leaves
    }

    /// Resolves once the connection is over; `ending` is since when the server is to end.
    pub(in crate::http) async fn over(&self, timeouts: Timeouts, ending: Option<Instant>) -> Over {
        let late = async {
            loop {
                let now = Instant::now();
                let deadline = self.deadline(timeouts, ending);
                if let Some(deadline) = deadline.filter(|deadline| *deadline <= now) {
                    if !self.has_come_in_time() || deadline + UNREAD_PATIENCE <= now {
                        return;
                    }
                    sleep(UNREAD_LOOK).await;
                    continue;
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

    /// True where a request has begun to come that nobody has read of yet.
    fn has_come_in_time(&self) -> bool {
        let is_waiting = self.state().head_since.is_none();
        is_waiting && self.may_have_unread()
    }

    /// The socket, where nobody is at it.
    fn try_stream(&self) -> Option<MutexGuard<'_, Option<TcpStream>>> {
        match self.stream.try_lock() {
            Ok(stream) => Some(stream),
            Err(TryLockError::Poisoned(stream)) => Some(stream.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn stream(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waits(&self) -> Option<(Waits, Instant)> {
        if self.leaves.is_some() {
            return None;
        }
        if self.requests > 0 {
            let all_read = self.requests == self.reading;
            return all_read.then_some((Waits::Bodies, self.reading_since));
        }
        if let Some(since) = self.answering_since {
            return (since.elapsed() >= READER_PATIENCE).then_some((Waits::Reader, since));
        }
        if let Some(since) = self.head_since {
            return Some((Waits::Head, since));
        }
        let since = self.waiting_since;
        let is_at_rest = !self.is_http2 || since.elapsed() >= HTTP2_REST;
        is_at_rest.then_some((Waits::Request, since))
    }
}

/// True where the system holds bytes of a client that nobody has read. What it cannot tell of has
/// none.
pub(in crate::http) fn has_unread(stream: Option<&TcpStream>) -> bool {
    stream.is_some_and(|stream| rustix::io::ioctl_fionread(stream).is_ok_and(|unread| unread > 0))
}

impl Asking {
    /// The answer is made, and has to be written still.
    pub(in crate::http) fn answered(self) {
        self.0.state().answering_since = Some(Instant::now());
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
        assert!(!seat.give_way(false), "its answer may not be written yet");
        tokio::time::sleep(HTTP2_REST).await;
        assert!(seat.give_way(false));
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
        let waits = || seat.waits().map(|(waits, _)| waits);
        assert_eq!(waits(), Some(Waits::Request));
        seat.came();
        assert_eq!(waits(), Some(Waits::Head));
        let (first, second) = (seat.begin(false), seat.begin(false));
        assert_eq!(waits(), None);
        let reading = (seat.reads(), seat.reads());
        assert_eq!(waits(), Some(Waits::Bodies));
        drop(reading.0);
        assert_eq!(waits(), None);
        drop(first);
        assert_eq!(waits(), Some(Waits::Bodies));
        drop((reading.1, second));
        assert_eq!(waits(), Some(Waits::Request));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_written_yet_is_not_cut_off() {
        let seat = seat();
        seat.begin(false).answered();
        assert_eq!(seat.waits(), None);
        assert!(!seat.give_way(true));
        seat.flushed();
        assert!(seat.give_way(false));
        assert_eq!(seat.leaves(), Some(Leave::Shut));
    }

    /// A seat with a connection, and the client's end of it.
    async fn connected() -> (Arc<Seat>, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let seat = seat();
        seat.hold(listener.accept().await.unwrap().0);
        (seat, client)
    }

    /// Waits until the system has what a client sent, without reading of it.
    async fn arrives(seat: &Seat) {
        let begun = Instant::now();
        while !seat.may_have_unread() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn who_has_sent_what_nobody_has_read_does_not_give_way_and_is_not_late_at_once() {
        use std::io::Write as _;

        let (seat, mut client) = connected().await;
        assert!(seat.is_new() && !seat.may_have_unread());
        client.write_all(b"GET /").unwrap();
        arrives(&seat).await;
        assert!(!seat.give_way(false) && !seat.give_way(true));
        let over = seat.over(TIMEOUTS, None);
        let over = tokio::time::timeout(UNREAD_PATIENCE / 2, over).await;
        assert!(over.is_err(), "{over:?}");
        let mut read = [0; 16];
        let len = seat.with_stream(|stream| stream.try_read(&mut read));
        // The runtime may have to be told first that there is something.
        let len = match len.unwrap() {
            Ok(len) => len,
            Err(_) => {
                let stream = seat.release().unwrap();
                stream.readable().await.unwrap();
                let len = stream.try_read(&mut read).unwrap();
                seat.hold(stream);
                len
            }
        };
        assert_eq!(&read[..len], b"GET /");
        assert_eq!(seat.came(), Some(true));
        assert_eq!(seat.came(), Some(false));
        assert!(!seat.is_new());
        assert!(seat.give_way(false), "half a head");
        assert_eq!(seat.leaves(), Some(Leave::Tell));
        let acted = seat.with_stream(|_| ());
        assert_eq!(acted.unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert!(!seat.give_way(false), "once");
    }

    #[tokio::test]
    async fn who_never_asked_gives_way_and_is_shut() {
        let (seat, _client) = connected().await;
        assert!(seat.give_way(false));
        assert_eq!(seat.leaves(), Some(Leave::Shut));
        seat.leave(Leave::Close);
        assert_eq!(seat.leaves(), Some(Leave::Shut), "the first word counts");
        assert!(seat.release().is_some());
    }
}
