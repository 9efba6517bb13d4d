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
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use warp::Filter as _;
use warp::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::body::{Coming, declares_body};
use super::drain::Drains;
use super::reply::{REQUEST_ID, Response, new_request_id};
use super::service::{Head, Service};
use super::wire::Wire;

/// Longest id that is taken over from a client.
const MAX_REQUEST_ID_LEN: usize = 128;
/// How long no connection is taken after one could not be: no file descriptor may be free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a request was asked with, beside its headers and its body.
#[derive(Clone)]
struct Asked {
    uri: Uri,
    version: Version,
    /// Of its connection: to be set where an answer is given before its request was read.
    unread: Arc<AtomicBool>,
}

/// Serves until `shutdown` resolves, then finishes what is in flight (for at most
/// [`super::Limits::shutdown_grace`]) and what the stages have under way.
///
/// Returns false where the grace ran out with requests still in flight.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let drains = Drains::new(service.limits());
    let (live, live_drains) = (service.clone(), drains.clone());
    let handler = warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(warp::ext::get::<Asked>())
        .then(
            move |method: Method, headers: HeaderMap, body, asked: Asked| {
                let (service, drains) = (live.clone(), live_drains.clone());
                async move {
                    let request_id = request_id(&headers);
                    let head = Head {
                        method: method.as_str(),
                        path: asked.uri.path(),
                        query: asked.uri.query().unwrap_or_default(),
                        headers: &headers,
                        request_id: &request_id,
                    };
                    let mut body = Coming::new(body);
                    let mut response = service.answer(head, &mut body).await;
                    if let Ok(value) = HeaderValue::from_str(&request_id) {
                        response.headers_mut().insert(REQUEST_ID, value);
                    }
                    if asked.version == Version::HTTP_2 {
                        if !body.has_ended() && !body.ends_now() {
                            drains.body(body);
                        }
                    } else if !body.has_ended() && declares_body(&headers) {
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
    let (stopping, stopping_drains) = (service.clone(), drains.clone());
    let server = accept(listener, handler, drains.clone(), async move {
        shutdown.await;
        stopping.begin_shutdown();
        stopping_drains.end_soon();
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
    let mut out_of_grace = pin!(out_of_grace);
    let finished = tokio::select! {
        () = server => true,
        () = &mut out_of_grace => false,
    };
    let drained = async {
        if finished {
            // What was answered early may not have been read yet.
            tokio::select! {
                () = drains.ended() => {}
                () = out_of_grace => {}
            }
        }
    };
    tokio::join!(service.close(), drained);
    finished
}

/// Takes connections until `shutdown` resolves, then waits for the requests of all of them.
async fn accept<S>(
    listener: TcpListener,
    handler: S,
    drains: Arc<Drains>,
    shutdown: impl Future<Output = ()>,
) where
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let connections = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, handler.clone(), drains.clone(), &connections);
                tokio::spawn(connection);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!("no connection could be taken: {error}");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves one connection to its end.
fn connection<S>(
    stream: TcpStream,
    handler: S,
    drains: Arc<Drains>,
    connections: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let watcher = connections.watcher();
    async move {
        let wire = Wire::new(stream, drains);
        let unread = wire.unread();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let asked = Asked {
                uri: request.uri().clone(),
                version: request.version(),
                unread: unread.clone(),
            };
            request.extensions_mut().insert(asked);
            handler.call(request)
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(wire), service);
        if let Err(error) = watcher.watch(connection).await {
            // What clients do to their connections is theirs.
            tracing::debug!("a connection ended: {error}");
        }
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

/// The client's id where it is a short visible one, else one of our own.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_LEN => id.into(),
        _ => new_request_id(),
    }
}
