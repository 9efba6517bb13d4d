//! The connection as hyper sees it. It gives the answers that hyper makes itself, to what is no
//! request, the form of all others, it ends where the client takes nothing of an answer, and where
//! one that waits for an answer is gone, and it is read on where an answer came before its request
//! was read. Nothing is read or written any more once it has given way to another connection.

mod length;
mod shut;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use self::length::Length;
use self::shut::{Ahead, Shut};
use super::connections::{Leave, Seat, has_unread};
use super::drain::Drains;
use super::limits::Limits;
use super::reply;

/// The largest head of a request over HTTP/1, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 128 << 10;

/// An answer that hyper makes itself.
struct Refusal {
    status_line: &'static str,
    code: &'static str,
    detail: &'static str,
}

/// All of them (hyper 1.12, `proto/h1/role.rs`). It closes the connection after each.
const REFUSALS: [Refusal; 3] = [
    Refusal {
        status_line: "HTTP/1.1 400 Bad Request",
        code: "malformed_request",
        detail: "the head of the request is malformed, expected HTTP/1.1 or HTTP/2 without TLS",
    },
    Refusal {
        status_line: "HTTP/1.1 414 URI Too Long",
        code: "uri_too_long",
        detail: "the path and query of the request are too long, expected at most 65534 bytes",
    },
    Refusal {
        status_line: "HTTP/1.1 431 Request Header Fields Too Large",
        code: "headers_too_large",
        detail: "the head of the request is too large, expected at most 100 headers and 128 KB",
    },
];
/// What hyper writes between the status line and the date.
const HEAD_OF_REFUSAL: &str = "\r\nconnection: close\r\ncontent-length: 0\r\ndate: ";
/// The length of every date (RFC 9110, section 5.6.7).
const DATE_LEN: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A client's connection.
pub(super) struct Wire {
    /// True once an answer was given before its request was read.
    unread: Arc<AtomicBool>,
    /// What stands in the place of something that hyper wrote.
    last_words: Bytes,
    drains: Arc<Drains>,
    /// It has the socket.
    seat: Arc<Seat>,
    /// How many bytes of the beginning of HTTP/2 have come.
    http2: usize,
    /// False once other bytes than those have come.
    may_be_http2: bool,
    length: Length,
    max_body_bytes: usize,
    write_timeout: Duration,
    /// Runs out where the client takes nothing.
    stalls: Option<Pin<Box<Sleep>>>,
    /// There while a client that has shut its side waits for an answer.
    shut: Option<Shut>,
    ahead: Ahead,
}

impl Wire {
    /// The connection of a seat, which has its socket.
    pub(super) fn new(seat: Arc<Seat>, drains: Arc<Drains>, limits: &Limits) -> Self {
        Self {
            unread: Arc::default(),
            last_words: Bytes::new(),
            drains,
            seat,
            http2: 0,
            may_be_http2: true,
            length: Length::default(),
            max_body_bytes: limits.max_body_bytes,
            write_timeout: limits.write_timeout,
            stalls: None,
            shut: None,
            ahead: Ahead::default(),
        }
    }

    /// What to set where an answer is given before its request was read.
    pub(super) fn unread(&self) -> Arc<AtomicBool> {
        self.unread.clone()
    }

    /// Looks at what came, and whether it is of a head that begins, or of one that goes on.
    fn came(&mut self, bytes: &[u8], head: Option<bool>) {
        let left = &HTTP2[self.http2..];
        if self.may_be_http2 && !left.is_empty() {
            let len = left.len().min(bytes.len());
            self.may_be_http2 = left[..len] == bytes[..len];
            self.http2 += len;
        }
        let Some(begins) = head else { return };
        if begins {
            self.length = Length::default();
        }
        if !self.is_http2() {
            self.length.look(bytes);
        }
    }

    fn is_http2(&self) -> bool {
        self.may_be_http2 && self.http2 == HTTP2.len()
    }

    fn poll_write_now(&self, context: &mut Context<'_>, written: &[u8]) -> Poll<io::Result<usize>> {
        self.seat
            .with_stream(|stream| stream.poll_write(context, written))?
    }

    fn poll_last_words(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.last_words.has_remaining() {
            let words = self.last_words.clone();
            let written = ready!(self.poll_write_now(context, &words))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.last_words.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// What came of writing, within the time for it.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalls = None;
            return written;
        }
        let limit = self.write_timeout;
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalls.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Looks whether a client that waits for an answer is there. hyper itself reads nothing until
    /// it has answered, and takes a side that is shut for one that is there.
    ///
    /// # Errors
    /// It is gone.
    fn look_at_client(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.seat.owes_answer() {
            self.shut = None;
            return Ok(());
        }
        let Self {
            seat, shut, ahead, ..
        } = self;
        seat.with_stream(|stream| {
            let stream = stream.get_mut();
            let shut = match shut {
                Some(shut) => shut,
                None if is_shut(stream, context)? => {
                    shut.insert(Shut::begin(stream, ahead, context)?)
                }
                None => return Ok(()),
            };
            shut.poll(stream, ahead, context)
        })?
    }

    fn poll_some(&mut self, context: &mut Context<'_>, written: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_last_words(context))?;
        let sent_ahead = self.ahead.of(written);
        if sent_ahead > 0 {
            return Poll::Ready(Ok(sent_ahead));
        }
        match refusal(written) {
            None => self.poll_write_now(context, written),
            // The answer to what came before goes first.
            Some((at @ 1.., ..)) => self.poll_write_now(context, &written[..at]),
            Some((0, refusal, date)) => {
                self.last_words = if self.length.is_beyond() {
                    too_large(self.max_body_bytes, date)
                } else {
                    answer(refusal, date)
                };
                self.unread.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(written.len()))
            }
        }
    }
}

/// True where the client has shut its side, as far as that is known by now; else the task is woken
/// when it does. Nothing is read.
fn is_shut(stream: &TcpStream, context: &mut Context<'_>) -> io::Result<bool> {
    let mut byte = [0; 1];
    let mut peeked = ReadBuf::new(&mut byte);
    match stream.poll_peek(context, &mut peeked) {
        Poll::Ready(len) => Ok(len? == 0),
        Poll::Pending => Ok(false),
    }
}

/// True for an error of a connection whose client took nothing of an answer.
pub(super) fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        cause = error.source();
    }
    false
}

/// The answer to a connection that there is no place for.
pub(super) fn full() -> Bytes {
    let detail = "too many connections are open, all of them at requests, try again";
    let status_line = "HTTP/1.1 503 Service Unavailable";
    written(
        status_line,
        "too_many_connections",
        detail,
        "retry-after: 1\r\n",
    )
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let seat = &this.seat;
        // What was read is told before anybody else can ask the connection to give way.
        let read = seat.with_stream(|stream| {
            let read = stream.poll_read(context, buffer);
            read.map_ok(|()| (buffer.filled().len() > before).then(|| seat.came()))
        })?;
        if let Some(head) = ready!(read)? {
            this.came(&buffer.filled()[before..], head);
        }
        Poll::Ready(Ok(()))
    }
}

// Not vectored: what hyper writes of itself has to come as one piece.
impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        written: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll_some(context, written);
        this.in_time(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = this.poll_last_words(context);
        ready!(this.in_time(context, said))?;
        this.look_at_client(context)?;
        ready!(this.seat.with_stream(|stream| stream.poll_flush(context))?)?;
        this.seat.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = this.poll_last_words(context);
        ready!(this.in_time(context, said))?;
        this.seat
            .with_stream(|stream| stream.poll_shutdown(context))?
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(stream) = self.seat.release() else {
            return;
        };
        let leaves = self.seat.leaves();
        let is_told = leaves == Some(Leave::Tell) && !self.is_http2();
        if self.unread.load(Ordering::Relaxed) && !is_told {
            let last_words = std::mem::take(&mut self.last_words);
            self.drains.connection(stream, last_words);
            return;
        }
        match leaves {
            // Whatever was to be said to a body that broke off by that was not written.
            Some(_) if is_told => self.drains.connection(stream, full()),
            Some(Leave::Tell | Leave::Shut) => self.drains.linger(stream),
            // A request that came after the last answer: it was not begun.
            None if has_unread(Some(&stream)) => self.drains.linger(stream),
            Some(Leave::Close) | None => {}
        }
    }
}

/// Where in what hyper writes an answer of its own begins, which it is, and its date. Such an
/// answer has no body, so it is the end of what is written; every answer of ours has one, or tells
/// the length of the one that it would have. No value of a header holds a line end, so nothing that
/// a client sent can look like it.
fn refusal(written: &[u8]) -> Option<(usize, &'static Refusal, &str)> {
    let head = written.strip_suffix(BLANK_LINE)?;
    let (head, date) = head.split_at_checked(head.len().checked_sub(DATE_LEN)?)?;
    let head = head.strip_suffix(HEAD_OF_REFUSAL.as_bytes())?;
    let date = std::str::from_utf8(date).ok()?;
    REFUSALS.iter().find_map(|refusal| {
        let before = head.strip_suffix(refusal.status_line.as_bytes())?;
        // Behind a body of ours or a head.
        let begins_line = matches!(before.last(), None | Some(b'}' | b'\n'));
        begins_line.then_some((before.len(), refusal, date))
    })
}

fn answer(refusal: &Refusal, date: &str) -> Bytes {
    let Refusal {
        status_line,
        code,
        detail,
    } = refusal;
    written(status_line, code, detail, &format!("date: {date}\r\n"))
}

/// The answer to a head that tells a length that no body has.
fn too_large(limit: usize, date: &str) -> Bytes {
    written(
        "HTTP/1.1 413 Payload Too Large",
        "body_too_large",
        &format!("the request body is larger than {limit} bytes"),
        &format!("date: {date}\r\n"),
    )
}

/// An answer as it is written, with a header more.
fn written(status_line: &str, code: &str, detail: &str, header: &str) -> Bytes {
    let id = reply::new_request_id();
    let body = reply::body_of_error(detail, code, None, &id).to_string();
    let len = body.len();
    tracing::debug!(request_id = &*id, code, "no request: {detail}");
    let head = format!(
        "{status_line}\r\ncontent-type: application/json\r\n{}: {id}\r\nconnection: close\r\n\
         content-length: {len}\r\n{header}\r\n",
        reply::REQUEST_ID
    );
    (head + &body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Thu, 26 Nov 2026 09:13:30 GMT";

    fn bare(refusal: &Refusal) -> String {
        format!("{}{HEAD_OF_REFUSAL}{DATE}\r\n\r\n", refusal.status_line)
    }

    #[test]
    fn answers_of_hyper_are_told_from_ours() {
        for refusal in &REFUSALS {
            let bare = bare(refusal);
            for before in [
                "",
                "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}",
            ] {
                let written = format!("{before}{bare}");
                let (at, found, date) = super::refusal(written.as_bytes()).unwrap();
                assert_eq!((at, found.code, date), (before.len(), refusal.code, DATE));
            }
        }
        let bare = bare(&REFUSALS[0]);
        for ours in [
            String::new(),
            "\r\n\r\n".to_owned(),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            // To HEAD, with a client's id.
            format!(
                "HTTP/1.1 200 OK\r\nx-request-id: HTTP/1.1 400 Bad Request\r\nconnection: close\
                 \r\ncontent-length: 11\r\ndate: {DATE}\r\n\r\n"
            ),
            format!("HTTP/1.1 200 OK\r\nx-request-id: {bare}"),
            format!("{bare}x"),
        ] {
            assert!(super::refusal(ours.as_bytes()).is_none(), "{ours:?}");
        }
    }

    #[test]
    fn an_answer_of_hyper_gets_the_form_of_ours() {
        for refusal in &REFUSALS {
            let answer = String::from_utf8(answer(refusal, DATE).to_vec()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(refusal.status_line), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["code"], refusal.code);
            let id = body["request_id"].as_str().unwrap();
            assert!(
                head.contains(&format!("\r\nx-request-id: {id}\r\n")),
                "{head}"
            );
        }
    }
}
