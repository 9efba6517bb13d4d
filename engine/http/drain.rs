//! What a client still sends after its answer is read on, within bounds, and thrown away. Many
//! clients read nothing before they have sent everything, and a connection that is closed with
//! unread bytes is reset, so that they would never see a 404, 413 or 429.
//!
//! Over HTTP/1 the connection is read on itself, once its side to the client is shut (RFC 9112,
//! section 9.6); over HTTP/2 the body is, since other requests share the connection.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::body::Coming;
use super::limits::Limits;

/// How much is read at a time.
const CHUNK: usize = 16 << 10;
/// Longest time that is left to what is read on once the server is to end; half of its grace where
/// that is shorter.
const AT_THE_END: Duration = Duration::from_secs(2);
/// Longest time without a byte once the server is to end.
const IDLE_AT_THE_END: Duration = Duration::from_millis(500);
/// How long a connection that waited for a request is read on: for what was on its way.
const LINGER: Duration = Duration::from_millis(500);
/// How much is read of a connection that there is no place for.
const CHUNKS_AT_ONCE: usize = 64;

/// What is read on, all of it together.
pub(super) struct Drains {
    places: Arc<Semaphore>,
    all_places: u32,
    max_bytes: usize,
    timeout: Duration,
    idle_timeout: Duration,
    at_the_end: Duration,
    ending: watch::Sender<bool>,
}

impl Drains {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let all_places = limits.max_draining.min(Semaphore::MAX_PERMITS);
        let all_places = u32::try_from(all_places).unwrap_or(u32::MAX);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(all_places as usize)),
            all_places,
            max_bytes: limits.max_drain_bytes,
            timeout: limits.drain_timeout,
            idle_timeout: limits.drain_idle_timeout,
            at_the_end: AT_THE_END.min(limits.shutdown_grace / 2),
            ending: watch::Sender::new(false),
        })
    }

    /// How it is now, for people.
    pub(super) fn shown(&self) -> Json {
        let most = self.all_places as usize;
        json!({ "now": most - self.places.available_permits().min(most), "most": most })
    }

    /// True where another one can be read on.
    pub(super) fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// From now on little time is left to each.
    pub(super) fn end_soon(&self) {
        self.ending.send_replace(true);
    }

    /// Resolves once nothing is read on any more.
    pub(super) async fn ended(&self) {
        // The semaphore is never closed.
        let _ = self.places.acquire_many(self.all_places).await;
    }

    /// Reads a body on, if there is a place for it.
    pub(super) fn body<S, B, E>(self: &Arc<Self>, body: Coming<S>)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Buf + Send,
        E: Send,
    {
        let Some(place) = self.place() else { return };
        let drains = self.clone();
        tokio::spawn(async move {
            let pieces = stream::unfold(body, |mut body| async move {
                let piece = body.next().await?.ok()?;
                Some((piece.remaining(), body))
            });
            drains.read(pieces).await;
            drop(place);
        });
    }

    /// Says the last words of a connection, shuts it towards the client and reads it on. Where
    /// there is no place for it, or no runtime any more, that is done at once, as far as it can be.
    pub(super) fn connection(self: &Arc<Self>, stream: TcpStream, last_words: Bytes) {
        self.leave(stream, last_words, self.timeout);
    }

    /// Shuts a connection that waited for a request, and reads it on for a moment: a request that
    /// was on its way is not answered, but it does not reset the connection either. Those that were
    /// told something go first.
    pub(super) fn linger(self: &Arc<Self>, stream: TcpStream) {
        if self.places.available_permits() * 2 < self.all_places as usize {
            leave_at_once(stream, &[]);
        } else {
            self.leave(stream, Bytes::new(), LINGER);
        }
    }

    fn leave(self: &Arc<Self>, mut stream: TcpStream, last_words: Bytes, longest: Duration) {
        let (Some(place), Ok(runtime)) = (self.place(), Handle::try_current()) else {
            return leave_at_once(stream, &last_words);
        };
        let drains = self.clone();
        runtime.spawn(async move {
            if !last_words.is_empty() {
                let said = timeout(drains.idle_timeout, say(&mut stream, last_words));
                let _ = said.await;
            }
            let shut = std::future::poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context));
            // It may be shut already.
            let _ = shut.await;
            let pieces =
                stream::unfold((stream, vec![0; CHUNK]), |(stream, mut chunk)| async move {
                    let read = read_some(&stream, &mut chunk).await?;
                    Some((read, (stream, chunk)))
                });
            let _ = timeout(longest, drains.read(pieces)).await;
            drop(place);
        });
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Reads pieces, given by their lengths, up to the bounds.
    async fn read(&self, pieces: impl Stream<Item = usize>) {
        let mut pieces = pin!(pieces);
        let mut over = pin!(self.over());
        let mut left = self.max_bytes;
        loop {
            let read = tokio::select! {
                () = &mut over => return,
                read = timeout(self.idle_timeout(), pieces.next()) => read,
            };
            match read {
                Ok(Some(len)) if len <= left => left -= len,
                _ => return,
            }
        }
    }

    fn idle_timeout(&self) -> Duration {
        if *self.ending.borrow() {
            self.idle_timeout.min(IDLE_AT_THE_END)
        } else {
            self.idle_timeout
        }
    }

    /// Resolves once the time for one is over.
    async fn over(&self) {
        let mut ending = self.ending.subscribe();
        let soon = async {
            // The sender lives as long as this does.
            let _ = ending.wait_for(|is_ending| *is_ending).await;
            sleep(self.at_the_end).await;
        };
        tokio::select! {
            () = soon => {}
            () = sleep(self.timeout) => {}
        }
    }
}

/// Says the last words of a connection as far as the system takes them, shuts it, and throws away
/// what is there: what is unread would reset it.
fn leave_at_once(stream: TcpStream, last_words: &[u8]) {
    let Ok(mut stream) = stream.into_std() else {
        return;
    };
    let _ = stream.write_all(last_words);
    let _ = stream.shutdown(Shutdown::Write);
    let mut chunk = vec![0; CHUNK];
    for _ in 0..CHUNKS_AT_ONCE {
        // It never waits.
        let read = stream.read(&mut chunk);
        if !read.is_ok_and(|read| read > 0) {
            break;
        }
    }
}

async fn say(stream: &mut TcpStream, mut words: Bytes) -> std::io::Result<()> {
    while words.has_remaining() {
        let write = std::future::poll_fn(|context| {
            Pin::new(&mut *stream).poll_write(context, words.chunk())
        });
        let written = write.await?;
        words.advance(written);
    }
    Ok(())
}

/// How much could be read; `None` at the end.
async fn read_some(stream: &TcpStream, chunk: &mut [u8]) -> Option<usize> {
    loop {
        stream.readable().await.ok()?;
        match stream.try_read(chunk) {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use tokio::net::TcpListener;

    use super::*;

    /// A connection: the server's end and the client's.
    async fn connection() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_is_read_on_after_its_last_words() {
        let drains = Drains::new(&Limits::default());
        let (server, mut client) = connection().await;
        drains.connection(server, Bytes::from_static(b"no"));
        let client = tokio::task::spawn_blocking(move || {
            client.write_all(&vec![0; 8 << 20]).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        assert_eq!(client.await.unwrap(), b"no");
        drains.ended().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_goes_on_for_ever_is_left() {
        for limits in [
            Limits {
                max_drain_bytes: 1 << 20,
                ..Limits::default()
            },
            Limits {
                drain_timeout: Duration::from_millis(50),
                max_drain_bytes: usize::MAX,
                ..Limits::default()
            },
            Limits {
                max_draining: 0,
                ..Limits::default()
            },
        ] {
            let drains = Drains::new(&limits);
            let (server, mut client) = connection().await;
            drains.connection(server, Bytes::new());
            let sending = tokio::task::spawn_blocking(move || {
                let chunk = vec![0; 64 << 10];
                while client.write_all(&chunk).is_ok() {}
            });
            drains.ended().await;
            sending.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_sends_nothing_is_left() {
        let idle = Limits {
            drain_idle_timeout: Duration::from_millis(50),
            ..Limits::default()
        };
        let (server, _client) = connection().await;
        let drains = Drains::new(&idle);
        drains.connection(server, Bytes::new());
        drains.ended().await;

        let patient = Limits {
            drain_idle_timeout: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(600),
            shutdown_grace: Duration::from_millis(50),
            ..Limits::default()
        };
        let drains = Drains::new(&patient);
        let pieces = stream::pending::<Result<Bytes, std::convert::Infallible>>();
        drains.body(Coming::new(pieces));
        drains.end_soon();
        drains.ended().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_place_the_last_words_are_said_at_once() {
        let none = Limits {
            max_draining: 0,
            ..Limits::default()
        };
        let drains = Drains::new(&none);
        assert!(!drains.has_place());
        for last_words in [&b"no"[..], b""] {
            let (server, mut client) = connection().await;
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            server.readable().await.unwrap();
            drains.connection(server, Bytes::from_static(last_words));
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, last_words);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_on_its_way_to_a_connection_that_gave_way_does_not_reset_it() {
        let patient = Limits {
            drain_idle_timeout: Duration::from_secs(600),
            ..Limits::default()
        };
        let drains = Drains::new(&patient);
        let (server, mut client) = connection().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        server.readable().await.unwrap();
        drains.linger(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        // Not for long.
        drains.ended().await;
    }
}
