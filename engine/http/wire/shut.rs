//! A client that has shut its side of the connection while it waits for an answer. It may be there,
//! as one that says so that its request is whole (`nc -N`), or it may be gone: both look the same
//! until something is sent, and who is gone refuses that. So the first bytes of the answer, which
//! are those of every answer, are sent ahead, one after the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How every answer over HTTP/1 begins, of whichever minor version.
const BEGINS: &[u8] = b"HTTP/1.";
/// When it is looked first after a byte was sent; each time after that is twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// The longest of these times: another byte is sent then, where one is left.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What is known of such a client.
#[derive(Debug)]
pub(super) struct Shut {
    look: Pin<Box<Sleep>>,
    pause: Duration,
}

/// What was sent ahead of an answer.
#[derive(Debug, Default)]
pub(super) struct Ahead(usize);

impl Shut {
    /// Begins with the first byte. The task is woken once this was polled.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn begin(
        stream: &mut TcpStream,
        ahead: &mut Ahead,
        context: &mut Context<'_>,
    ) -> io::Result<Self> {
        // Else the answer would wait until the client has acknowledged the byte.
        let _ = stream.set_nodelay(true);
        ahead.send(stream, context)?;
        is_there(stream)?;
        Ok(Self {
            look: Box::pin(sleep(FIRST_LOOK)),
            pause: FIRST_LOOK,
        })
    }

    /// Looks whether it is time for that, and wakes the task when it is next.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn poll(
        &mut self,
        stream: &mut TcpStream,
        ahead: &mut Ahead,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            is_there(stream)?;
            if self.pause < LAST_LOOK {
                self.pause = (self.pause * 2).min(LAST_LOOK);
            } else if ahead.send(stream, context)? {
                is_there(stream)?;
                self.pause = FIRST_LOOK;
            }
            self.look.as_mut().reset(Instant::now() + self.pause);
        }
        Ok(())
    }
}

impl Ahead {
    /// Sends another byte; false where none could be sent.
    fn send(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> io::Result<bool> {
        let Some(next) = BEGINS.get(self.0..=self.0) else {
            return Ok(false);
        };
        match Pin::new(stream).poll_write(context, next) {
            Poll::Ready(sent) => {
                let sent = sent?;
                self.0 += sent;
                Ok(sent > 0)
            }
            Poll::Pending => Ok(false),
        }
    }

    /// How much of an answer that is written now was sent already.
    pub(super) fn of(&mut self, written: &[u8]) -> usize {
        let sent = self.0.min(written.len());
        self.0 -= sent;
        sent
    }
}

/// # Errors
/// The client has refused what was sent.
fn is_there(stream: &TcpStream) -> io::Result<()> {
    stream.take_error()?.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::Shutdown;

    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A connection whose client has shut its side: the server's end and the client's.
    async fn shut() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().await.unwrap().0;
        client.shutdown(Shutdown::Write).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (server, client)
    }

    /// Watches the client until it is gone.
    async fn is_gone(server: &mut TcpStream, ahead: &mut Ahead) -> io::Error {
        let begun = std::future::poll_fn(|context| {
            let begun = Shut::begin(server, ahead, context);
            Poll::Ready(begun)
        });
        let mut shut = match begun.await {
            Ok(shut) => shut,
            Err(error) => return error,
        };
        std::future::poll_fn(|context| match shut.poll(server, ahead, context) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        })
        .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_gone_is_noticed_and_who_waits_is_not_disturbed() {
        let (mut server, mut client) = shut().await;
        let mut ahead = Ahead::default();
        let waits =
            tokio::time::timeout(Duration::from_millis(100), is_gone(&mut server, &mut ahead));
        assert!(waits.await.is_err(), "it is there");
        let answer = b"HTTP/1.0 200 OK\r\n\r\n";
        let sent = ahead.of(answer);
        assert!(sent > 0);
        assert_eq!(ahead.of(answer), 0, "once");
        let rest = server.try_write(&answer[sent..]).unwrap();
        assert_eq!(sent + rest, answer.len());
        drop(server);
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        assert_eq!(read, answer);

        let (mut server, client) = shut().await;
        drop(client);
        let mut ahead = Ahead::default();
        let gone = is_gone(&mut server, &mut ahead);
        tokio::time::timeout(PATIENCE, gone).await.unwrap();

        // It has taken the first byte, and goes later.
        let (mut server, mut client) = shut().await;
        let leaves = tokio::task::spawn_blocking(move || {
            client.read_exact(&mut [0]).unwrap();
            drop(client);
        });
        let mut ahead = Ahead::default();
        let gone = is_gone(&mut server, &mut ahead);
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
        leaves.await.unwrap();
    }

    #[test]
    fn what_was_sent_ahead_is_taken_off_whatever_is_written_at_a_time() {
        let mut ahead = Ahead(3);
        assert_eq!(ahead.of(b"HT"), 2);
        assert_eq!(ahead.of(b"TP/1.1 200 OK"), 1);
        assert_eq!(ahead.of(b"P/1.1 200 OK"), 0);
    }
}
