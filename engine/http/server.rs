//! The listener: request ids, one handler for every route, graceful shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;
use warp::Filter as _;
use warp::http::{HeaderMap, HeaderValue, Method};

use super::service::{Head, Service};

/// The header that carries a request's id, both ways.
const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client.
const MAX_REQUEST_ID_LEN: usize = 128;

/// Serves until `shutdown` resolves, then finishes what is in flight (for at most
/// [`super::Limits::shutdown_grace`]) and what the stages have under way.
///
/// Returns false where the grace ran out with requests still in flight.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let live = service.clone();
    let no_query = warp::any().map(String::new);
    let handler = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(no_query).unify())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |method: Method,
                  path: warp::path::FullPath,
                  query: String,
                  headers: HeaderMap,
                  body| {
                let service = live.clone();
                async move {
                    let request_id = request_id(&headers);
                    let head = Head {
                        method: method.as_str(),
                        path: path.as_str(),
                        query: &query,
                        headers: &headers,
                        request_id: &request_id,
                    };
                    let mut response = service.answer(head, body).await;
                    if let Ok(value) = HeaderValue::from_str(&request_id) {
                        response.headers_mut().insert(REQUEST_ID, value);
                    }
                    Ok::<_, Infallible>(response)
                }
            },
        )
        .map(|response: Result<_, Infallible>| match response {
            Ok(response) => response,
            Err(never) => match never {},
        });

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = service.clone();
    let server = warp::serve(handler)
        .incoming(listener)
        .graceful(async move {
            shutdown.await;
            stopping.begin_shutdown();
            // The receiver is there until the server has ended.
            let _ = stop.send(());
        })
        .run();
    let grace = service.limits().shutdown_grace;
    let out_of_grace = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(grace).await,
            Err(_) => std::future::pending().await,
        }
    };
    let finished = tokio::select! {
        () = server => true,
        () = out_of_grace => false,
    };
    service.close().await;
    finished
}

/// The client's id where it is a short visible one, else one of our own.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_LEN => id.into(),
        _ => uuid::Uuid::new_v4().simple().to_string().into(),
    }
}
