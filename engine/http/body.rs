//! A request's body, read whole within its bounds, then split into raw fields.

mod blocks;
mod budget;
mod json;
mod multipart;
mod parameters;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use omnizap_contract::{Error, ErrorKind};
use tokio::time::{Instant, timeout_at};
use warp::http::{HeaderMap, HeaderValue, header};

use self::blocks::Blocks;
pub(super) use self::budget::{Bodies, Held};
use self::budget::{Filling, Full};
use self::parameters::Parameters;
use super::limits::Limits;
use super::peer::Peer;
use super::raw::{Raw, RawFields};
use crate::pipeline::request::quoted;

/// When a client may come again with a body for which there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The code of the refusal of a body that was compressed.
pub(super) const UNSUPPORTED_ENCODING: &str = "unsupported_encoding";

/// A body as it comes, and whether it has come to its end.
pub(super) struct Coming<S> {
    stream: Pin<Box<S>>,
    has_ended: bool,
    broke_off: bool,
}

impl<B, E, S> Coming<S>
where
    S: Stream<Item = Result<B, E>>,
{
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
            has_ended: false,
            broke_off: false,
        }
    }

    /// The next piece; an error, of a connection that broke, is its end too.
    pub(super) async fn next(&mut self) -> Option<Result<B, E>> {
        if self.has_ended {
            return None;
        }
        let piece = self.stream.next().await;
        self.has_ended = !matches!(piece, Some(Ok(_)));
        self.broke_off = matches!(piece, Some(Err(_)));
        piece
    }

    /// True where nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// True where all of it has come. What stands behind one that broke off is no request.
    pub(super) fn is_whole(&self) -> bool {
        self.has_ended && !self.broke_off
    }

    /// True where nothing more will come, as far as that is known by now. A piece that is here
    /// already is lost.
    pub(super) fn ends_now(&mut self) -> bool {
        let _ = self.next().now_or_never();
        self.has_ended
    }
}

/// True where the head of a request over HTTP/1 says that a body follows.
pub(super) fn declares_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length.as_bytes() != b"0")
        || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    Refused(Error),
    /// It did not come in time; what that time is.
    Late(String),
}

/// Reads a body whole, as one of all that are coming. Its bytes are held until the body and what is
/// given with it are dropped.
///
/// # Errors
/// [`ErrorKind::TooLarge`] over the limit, [`ErrorKind::Malformed`] where it breaks off,
/// [`ErrorKind::Unavailable`] where there is no room for it beside those of others, and where no
/// byte comes for too long or all of it takes too long.
pub(super) async fn read_body<B: Buf, E>(
    headers: &HeaderMap,
    body: &mut Coming<impl Stream<Item = Result<B, E>>>,
    limits: &Limits,
    all: &Arc<Bodies>,
    peer: Peer,
) -> Result<(Bytes, Arc<Held>), Unread> {
    let limit = limits.max_body_bytes;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large(limit));
    }
    let (filling, gives_way) = all.begin(peer);
    tokio::select! {
        biased;
        _ = gives_way => Err(no_room("it gave way to others, which ask for less")),
        read = fill(body, declared, limits, filling) => read,
    }
}

async fn fill<B: Buf, E>(
    body: &mut Coming<impl Stream<Item = Result<B, E>>>,
    declared: Option<usize>,
    limits: &Limits,
    mut filling: Filling,
) -> Result<(Bytes, Arc<Held>), Unread> {
    let limit = limits.max_body_bytes;
    let mut collected = Blocks::for_len(declared);
    let last = Instant::now() + limits.body_timeout;
    loop {
        let idle = Instant::now() + limits.body_idle_timeout;
        let chunk = match timeout_at(idle.min(last), body.next()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(filling.whole(collected.whole())),
            Err(_) => return Err(late(idle < last, limits)),
        };
        let Ok(mut chunk) = chunk else {
            let broken = Error::new(ErrorKind::Malformed, "the body broke off");
            return Err(Unread::Refused(broken));
        };
        let more = chunk.remaining();
        if more > limit - collected.len() {
            return Err(too_large(limit));
        }
        if let Err(Full) = filling.grow(more).await {
            return Err(no_room("the service holds as many bytes as it may"));
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            collected.push(piece);
            let advanced = piece.len();
            chunk.advance(advanced);
        }
    }
}

fn no_room(why: &str) -> Unread {
    let message = format!("there is no room for this request body: {why}, try again");
    let error = Error::new(ErrorKind::Unavailable, message).with_code("no_room");
    Unread::Refused(error.with_retry_after(RETRY_AFTER))
}

fn too_large(limit: usize) -> Unread {
    let message = format!("the request body is larger than {limit} bytes");
    Unread::Refused(Error::new(ErrorKind::TooLarge, message).with_code("body_too_large"))
}

fn late(is_idle: bool, limits: &Limits) -> Unread {
    let seconds = |time: Duration| time.as_secs_f64();
    Unread::Late(if is_idle {
        let idle = seconds(limits.body_idle_timeout);
        format!("no byte of the request body came for {idle} s")
    } else {
        let whole = seconds(limits.body_timeout);
        format!("the request body did not come whole within {whole} s")
    })
}

/// Refuses a body that was compressed (RFC 9110, section 15.5.16).
///
/// # Errors
/// [`ErrorKind::UnsupportedType`] with the code [`UNSUPPORTED_ENCODING`].
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Error> {
    let lines = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let texts = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
    for text in texts {
        let mut codings = text.split(',').map(str::trim);
        let foreign =
            codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        if let Some(foreign) = foreign {
            let message = format!(
                "the request body is in the encoding {}, expected it as it is, without \
                 Content-Encoding",
                quoted(foreign)
            );
            let error = Error::new(ErrorKind::UnsupportedType, message);
            return Err(error.with_code(UNSUPPORTED_ENCODING));
        }
    }
    Ok(())
}

/// Splits a body into fields by its media type; a JSON object has at most `max_members`.
///
/// # Errors
/// [`ErrorKind::UnsupportedType`] for any media type but `multipart/form-data` and JSON, and for
/// a body that was compressed, [`ErrorKind::Malformed`] for a body that is not what it says,
/// [`ErrorKind::Invalid`] for too many fields, and for a member that is given twice.
pub(super) fn split(
    headers: &HeaderMap,
    body: &Bytes,
    limits: &Limits,
    max_members: Option<usize>,
) -> Result<RawFields, Error> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let content_type = Parameters::parse(content_type);
    if !body.is_empty() {
        check_encoding(headers)?;
    }
    match content_type.value() {
        "multipart/form-data" => multipart::split(&content_type, body, limits),
        essence if is_json(essence) => {
            json::split(body, content_type.charset().as_ref(), max_members)
        }
        "" if body.is_empty() => Ok(RawFields::default()),
        // Not guessed: a page of another site may send any text without a type.
        essence => {
            let found = if essence.is_empty() {
                "has no Content-Type".to_owned()
            } else {
                format!("is {}", quoted(essence))
            };
            let message = format!(
                "the request body {found}, expected multipart/form-data or application/json"
            );
            let error = Error::new(ErrorKind::UnsupportedType, message);
            Err(error.with_code("unsupported_body"))
        }
    }
}

/// True where a request says that its body is JSON.
pub(super) fn says_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| is_json(Parameters::parse(value.as_bytes()).value()))
}

/// True for `application/json` and for what is written in it, such as `application/ld+json`.
fn is_json(essence: &str) -> bool {
    let subtype = essence.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// The parts of a form with their names, for the fuzz target `form`, which has no request.
///
/// # Errors
/// As of a request's body.
pub fn split_form(
    content_type: &[u8],
    body: &Bytes,
    limits: &Limits,
) -> Result<Vec<(String, Bytes)>, Error> {
    let fields = multipart::split(&Parameters::parse(content_type), body, limits)?;
    let parts = fields.into_fields().flat_map(|(name, all)| {
        let parts = all.into_iter().filter_map(|raw| match raw {
            Raw::Part { data, .. } => Some(data),
            _ => None,
        });
        parts.map(move |data| (name.clone(), data))
    });
    Ok(parts.collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn media_types_of_json_are_told_by_their_end() {
        for (essence, expected) in [
            ("application/json", true),
            ("application/vnd.api+json", true),
            ("application/jsonp", false),
            ("text/json", false),
            ("image/svg+json", false),
            ("", false),
        ] {
            assert_eq!(is_json(essence), expected, "{essence}");
        }
    }

    #[test]
    fn a_body_in_another_encoding_is_refused() {
        for plain in [&[][..], &[("content-encoding", "identity, ,IDENTITY")]] {
            assert!(check_encoding(&headers(plain)).is_ok(), "{plain:?}");
        }
        for (given, shown) in [("gzip", "\"gzip\""), ("identity, br", "\"br\"")] {
            let headers = headers(&[("content-encoding", ""), ("content-encoding", given)]);
            let error = check_encoding(&headers).unwrap_err();
            assert_eq!(error.code(), UNSUPPORTED_ENCODING);
            assert!(error.message().contains(shown), "{error}");
        }
    }

    #[track_caller]
    fn refused<T>(read: Result<T, Unread>) -> Unread {
        read.err().expect("it was read")
    }

    #[tokio::test]
    async fn a_body_is_read_within_its_bounds() {
        let limits = Limits {
            max_body_bytes: 5,
            body_timeout: Duration::from_secs(600),
            body_idle_timeout: Duration::from_millis(50),
            ..Limits::default()
        };
        let pieces = |pieces: &[&'static str]| {
            let pieces: Vec<_> = pieces.iter().map(|piece| Bytes::from(*piece)).collect();
            stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))
        };
        let none = HeaderMap::new();
        let all = Bodies::new(1, 5);
        let peer = Peer::of([127, 0, 0, 1].into());
        let mut body = Coming::new(pieces(&["ab", "cde"]));
        let read = read_body(&none, &mut body, &limits, &all, peer).await;
        let (read, held) = read.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(read, "abcde");
        assert!(body.has_ended());
        // As many bytes as there may be in all are here still.
        let mut body = Coming::new(pieces(&["a"]));
        let error = refused(read_body(&none, &mut body, &limits, &all, peer).await);
        assert!(matches!(error, Unread::Refused(error) if error.code() == "no_room"));
        drop((read, held));

        let mut body = Coming::new(pieces(&["ab", "cdef", "g"]));
        let error = refused(read_body(&none, &mut body, &limits, &all, peer).await);
        assert!(matches!(error, Unread::Refused(error) if error.code() == "body_too_large"));
        assert!(!body.has_ended());

        // What says itself that it is too large is not waited for.
        let mut body = Coming::new(stream::pending::<Result<Bytes, Infallible>>());
        let large = headers(&[("content-length", "6")]);
        let error = refused(read_body(&large, &mut body, &limits, &all, peer).await);
        assert!(matches!(error, Unread::Refused(_)), "{error:?}");
        let error = refused(read_body(&none, &mut body, &limits, &all, peer).await);
        assert!(
            matches!(&error, Unread::Late(why) if why.contains("for 0.05 s")),
            "{error:?}"
        );
        let hurried = Limits {
            body_timeout: Duration::from_millis(20),
            ..limits
        };
        let error = refused(read_body(&none, &mut body, &hurried, &all, peer).await);
        assert!(
            matches!(&error, Unread::Late(why) if why.contains("within 0.02 s")),
            "{error:?}"
        );
        assert!(!body.ends_now());

        let mut body = Coming::new(stream::empty::<Result<Bytes, Infallible>>());
        assert!(!body.is_whole());
        assert!(body.ends_now() && body.is_whole());
        let broken = stream::iter([Ok(Bytes::from("a")), Err(())]);
        let mut body = Coming::new(broken);
        let error = refused(read_body(&none, &mut body, &limits, &all, peer).await);
        assert!(matches!(error, Unread::Refused(error) if error.message().contains("broke off")));
        assert!(body.has_ended() && !body.is_whole());
    }
}
