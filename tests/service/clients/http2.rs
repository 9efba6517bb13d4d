//! A client over HTTP/2 that sends all of a body before it looks at the answer, as several do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::http::connect;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The setting of how much may be sent of a stream before more is allowed.
const INITIAL_WINDOW: u16 = 4;
/// The largest frame that every server takes.
const LARGEST_FRAME: usize = 16_384;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How much of the body could be sent.
    pub(super) sent: usize,
    /// The code with which the stream was reset, if it was.
    pub(super) reset: Option<u32>,
    /// The answer's body.
    pub(super) body: Vec<u8>,
}

struct Request {
    connection: TcpStream,
    window_of_all: i64,
    window: i64,
    is_answered: bool,
    outcome: Outcome,
}

/// Posts a body of so many bytes, over a connection of its own.
pub(super) fn post(address: SocketAddr, path: &str, len: usize) -> std::io::Result<Outcome> {
    let mut request = Request {
        connection: connect(address)?,
        window_of_all: 65_535,
        window: 65_535,
        is_answered: false,
        outcome: Outcome {
            sent: 0,
            reset: None,
            body: Vec::new(),
        },
    };
    request
        .connection
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    request.write(SETTINGS, 0, 0, &[])?;
    // POST and http are entries of HPACK's table; the path and the authority follow their names.
    let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b"\x01\x09localhost");
    request.write(HEADERS, END_HEADERS, 1, &head)?;
    let chunk = vec![b'x'; LARGEST_FRAME];
    while request.outcome.sent < len && request.outcome.reset.is_none() {
        let next = LARGEST_FRAME.min(len - request.outcome.sent);
        if request.window.min(request.window_of_all) < next as i64 {
            request.read()?;
            continue;
        }
        request.window -= next as i64;
        request.window_of_all -= next as i64;
        request.outcome.sent += next;
        let flags = if request.outcome.sent == len {
            END_STREAM
        } else {
            0
        };
        request.write(DATA, flags, 1, &chunk[..next])?;
    }
    while !request.is_answered {
        request.read()?;
    }
    Ok(request.outcome)
}

impl Request {
    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let len = u32::try_from(payload.len()).unwrap();
        let mut frame = len.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.connection.write_all(&frame)
    }

    /// Reads a frame, and minds it.
    fn read(&mut self) -> std::io::Result<()> {
        let mut head = [0; 9];
        self.connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.connection.read_exact(&mut payload)?;
        let number = |at: usize| {
            let bytes = payload
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for (at, setting) in payload.chunks_exact(6).enumerate() {
                    if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW {
                        self.window += i64::from(number(at * 6 + 2)) - 65_535;
                    }
                }
                self.write(SETTINGS, ACK, 0, &[])?;
            }
            PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload)?,
            WINDOW_UPDATE if stream == 0 => self.window_of_all += i64::from(number(0)),
            WINDOW_UPDATE => self.window += i64::from(number(0)),
            RESET => self.outcome.reset = Some(number(0)),
            DATA => self.outcome.body.extend_from_slice(&payload),
            GO_AWAY => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
        self.is_answered |= matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        Ok(())
    }
}
