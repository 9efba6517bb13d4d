//! The listener: connections, request ids, one handler for every route, graceful shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;
use warp::Filter as _;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::body::{Coming, declares_body};
use super::connections::{Connections, Leave, Over, Seat, Taken, Timeouts};
use super::drain::Drains;
use super::head::Head;
use super::limits::Limits;
use super::peer::Peer;
use super::reply::{REQUEST_ID, Response, new_request_id};
use super::service::Service;
use super::traced;
use super::wire::{MAX_HEAD_BYTES, Wire, full, is_stalled};

/// Longest id that is taken over from a client.
const MAX_REQUEST_ID_LEN: usize = 128;
/// How long no connection is taken after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The same where others were closed, which takes a moment.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// How long a connection that there is no place for waits where as many were told so as can be.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);
/// How many are closed then.
const ROOM: usize = 16;
/// How often it is told what there is too much of, at most.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often a client over HTTP/2 is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time to tell the requests that are left at the end of the grace; an eighth of it where
/// that is shorter.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What `accept` fails with where this process, or the whole system, has no file left (Linux).
const NO_FILES: [i32; 2] = [24, 23];

/// What a request was asked with, beside its headers and its body.
#[derive(Clone)]
struct Asked {
    uri: Uri,
    version: Version,
    /// Its connection.
    seat: Arc<Seat>,
    /// Of its connection: to be set where an answer is given before its request was read.
    unread: Arc<AtomicBool>,
}

/// How the requests in flight at the end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All were answered.
    Answered,
    /// The grace ran out: those that were left were answered 503.
    Refused,
    /// Some were told nothing.
    Dropped,
}

/// Serves until `shutdown` resolves, then finishes what is in flight (for at most
/// [`super::Limits::shutdown_grace`]) and what the stages have under way.
///
/// Where that time runs out with requests still in flight, they are told so.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Ended {
    let address = listener.local_addr();
    let is_loopback = address.is_ok_and(|address| address.ip().to_canonical().is_loopback());
    service.warn_of_trust(is_loopback);
    let live = service.clone();
    let handler = warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(warp::ext::get::<Asked>())
        .then(
            move |method: Method, headers: HeaderMap, body, asked: Asked| {
                let service = live.clone();
                async move {
                    let request_id = request_id(&headers);
                    let head = Head {
                        method: method.as_str(),
                        path: asked.uri.path(),
                        query: asked.uri.query().unwrap_or_default(),
                        authority: called(&asked.uri),
                        headers: &headers,
                        request_id: &request_id,
                        seat: &asked.seat,
                        is_http2: asked.version == Version::HTTP_2,
                        is_http10: asked.version == Version::HTTP_10,
                        is_loopback,
                    };
                    let mut body = Coming::new(body);
                    let span = traced::span(&headers);
                    let mut response = service.answer(head, &mut body).instrument(span).await;
                    if let Ok(value) = HeaderValue::from_str(&request_id) {
                        response.headers_mut().insert(REQUEST_ID, value);
                    }
                    if asked.version == Version::HTTP_2 {
                        if !body.has_ended() && !body.ends_now() {
                            service.drains().body(body);
                        }
                    } else if !body.is_whole() && declares_body(&headers) {
                        // The connection cannot carry another request, and the client had better
                        // know.
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(header::CONNECTION, close);
                        asked.unread.store(true, Ordering::Relaxed);
                    }
                    response
                }
            },
        );
    let handler = TowerToHyperService::new(warp::service(handler));

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = service.clone();
    let server = accept(listener, handler, service.clone(), async move {
        shutdown.await;
        stopping.begin_shutdown();
        // The receiver is there until the server has ended.
        let _ = stop.send(());
    });
    let grace = service.limits().shutdown_grace;
    let out_of_grace = async move {
        match stopped.await {
            Ok(()) => sleep(grace).await,
            Err(_) => std::future::pending().await,
        }
    };
    let mut server = pin!(server);
    let mut out_of_grace = pin!(out_of_grace);
    let is_answered = tokio::select! {
        () = &mut server => true,
        () = &mut out_of_grace => false,
    };
    let ended = if is_answered {
        Ended::Answered
    } else {
        service.give_up();
        // Who does not even take that is left.
        match timeout(LAST_WORDS.min(grace / 8), server).await {
            Ok(()) => Ended::Refused,
            Err(_) => Ended::Dropped,
        }
    };
    let drained = async {
        if is_answered {
            // What was answered early may not have been read yet.
            tokio::select! {
                () = service.drains().ended() => {}
                () = out_of_grace => {}
            }
        }
    };
    tokio::join!(service.close(), drained);
    ended
}

/// Takes connections until `shutdown` resolves, then waits for the requests of all of them.
async fn accept<S>(
    listener: TcpListener,
    handler: S,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) where
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let (limits, connections) = (*service.limits(), service.connections());
    // Each connection has a receiver of it as long as it lives.
    let (closing, _) = watch::channel(());
    let (mut crowded, mut short) = (Seldom::default(), Seldom::default());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let pause = match accepted {
            Ok((stream, address)) => {
                let gave_way = connections.gave_way();
                let drains = service.drains();
                if let Some(taken) = seat(connections, drains, Peer::of(address.ip())).await {
                    taken.seat().hold(stream);
                    let closing = closing.subscribe();
                    let drains = drains.clone();
                    let connection = connection(handler.clone(), limits, drains, taken, closing);
                    tokio::spawn(connection);
                    if connections.gave_way() > gave_way && crowded.is_due() {
                        let most = limits.max_connections;
                        tracing::warn!(
                            "{most} connections are open: those that have waited longest for a \
                             request give way to others"
                        );
                    }
                } else {
                    drains.connection(stream, full());
                    if crowded.is_due() {
                        let most = limits.max_connections;
                        tracing::warn!(
                            "{most} connections are open, all of them at requests: further ones \
                             are answered 503"
                        );
                    }
                }
                continue;
            }
            Err(error) if is_of_the_client(&error) => continue,
            Err(error) => {
                let is_short = error
                    .raw_os_error()
                    .is_some_and(|code| NO_FILES.contains(&code));
                let makes_room = is_short && connections.make_room(ROOM);
                if short.is_due() {
                    tracing::error!("no connection could be taken: {error}");
                }
                if makes_room { ROOM_PAUSE } else { ACCEPT_PAUSE }
            }
        };
        tokio::select! {
            () = &mut shutdown => break,
            () = sleep(pause) => {}
        }
    }
    drop(listener);
    closing.send_replace(());
    closing.closed().await;
}

/// A seat for a connection; none where it is to be told that there is none. It waits for one, and
/// those behind it wait to be accepted, while as many as can be are being told so.
async fn seat(connections: &Arc<Connections>, drains: &Drains, peer: Peer) -> Option<Taken> {
    let until = Instant::now() + PLACE_PATIENCE;
    while !drains.has_place() && Instant::now() < until {
        if let Some(taken) = connections.try_take(peer) {
            return Some(taken);
        }
        sleep(ROOM_PAUSE).await;
    }
    connections.take(peer)
}

/// Serves one connection to its end.
async fn connection<S>(
    handler: S,
    limits: Limits,
    drains: Arc<Drains>,
    taken: Taken,
    mut closing: watch::Receiver<()>,
) where
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let seat = taken.seat().clone();
    let wire = Wire::new(seat.clone(), drains, &limits);
    let unread = wire.unread();
    let asking_seat = seat.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let asking = asking_seat.begin(request.version() == Version::HTTP_2);
        let asked = Asked {
            uri: request.uri().clone(),
            version: request.version(),
            seat: asking_seat.clone(),
            unread: unread.clone(),
        };
        request.extensions_mut().insert(asked);
        let answer = handler.call(request);
        async move {
            let answer = answer.await;
            asking.answered();
            answer
        }
    });
    let builder = builder(&limits);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let timeouts = Timeouts {
        head: limits.head_timeout,
        idle: limits.idle_timeout,
    };
    let mut aged = pin!(sleep(limits.max_connection_age));
    let (mut is_old, mut ending) = (false, None);
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    if is_stalled(&*error) {
                        taken.ended(Over::Stalled);
                    }
                    // What clients do to their connections is theirs.
                    tracing::debug!("a connection ended: {error}");
                }
                return;
            }
            over = seat.over(timeouts, ending) => {
                tracing::debug!("a connection is closed: {over:?}");
                seat.leave(Leave::Shut);
                if ending.is_none() {
                    taken.ended(over);
                }
                return;
            }
            () = &mut aged, if !is_old => {
                is_old = true;
                taken.ended(Over::Old);
                serving.as_mut().graceful_shutdown();
            }
            // Also where whoever closes them is gone.
            _ = closing.changed(), if ending.is_none() => {
                ending = Some(Instant::now());
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// How connections are served, within bounds. How long a head of HTTP/1 may take is seen to
/// elsewhere: hyper does not begin to count before it knows the version.
fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Who has sent all and says so waits for the answer; who is gone is seen to elsewhere too.
    builder
        .http1()
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// What is not told each time.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.0.is_none_or(|last| now - last >= TELL_EVERY);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// True where a connection was over before it could be taken.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// By which name the service is called, where that stands before the path as a proxy's clients and
/// HTTP/2 have it.
fn called(uri: &Uri) -> Option<&str> {
    uri.scheme().and(uri.authority()).map(Authority::as_str)
}

/// The client's id where it is a short visible one, else one of our own.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_LEN => id.into(),
        _ => new_request_id(),
    }
}
