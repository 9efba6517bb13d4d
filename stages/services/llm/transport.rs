//! How a question reaches the server: bounded tries, within a deadline, and bodies
//! that are never read past a limit.
//!
//! The client library's own transport reads a body of any size, and tries again
//! without knowing how much time is left.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::{Bytes, BytesMut};
use omnizap_contract::BoxFuture;
use omnizap_contract::common::backoff::Backoff;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

/// Most tries of one question.
const MAX_TRIES: u32 = 3;
/// Longest body read, in bytes. An answer takes a few thousand.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Longest body read of an answer that says no, in bytes; the rest is left out.
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// First pause before another try where the server names none; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Shortest key that is a secret, in bytes. Servers without keys take any word, which may be a part
/// of any answer.
const MIN_SECRET_BYTES: usize = 8;
/// What stands for the key in what a server says.
const HIDDEN: &[u8] = b"***";

/// A transport for one question.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    /// The key that it asks with: never shown, even where a server repeats it.
    pub(super) key: Arc<str>,
    /// When the question's time is over: no pause ends later.
    pub(super) deadline: Instant,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// A body that is too long.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer is over the limit of {MAX_BODY_BYTES} bytes")]
struct BodyTooLong;

/// What to do with the outcome of a try.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It is the outcome of the question.
    Take,
    /// Another try can help, after the time that the server names.
    Retry { pause: Option<Duration> },
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.send(&request).await })
    }
}

impl Transport {
    async fn send(&self, request: &HttpRequestFactory) -> Result<Response, OpenAIError> {
        let mut tries = 1;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let outcome = self.attempt(request).await;
            let Next::Retry { pause } = next(&outcome, SystemTime::now()) else {
                return outcome.map(Response::from);
            };
            // Ours grows with every try, those included whose pause the server named.
            let own = backoff.pause();
            let pause = pause.unwrap_or(own);
            if tries == MAX_TRIES || Instant::now() + pause >= self.deadline {
                return outcome.map(Response::from);
            }
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    async fn attempt(
        &self,
        request: &HttpRequestFactory,
    ) -> Result<http::Response<Bytes>, OpenAIError> {
        let request = request.build().await?;
        let mut response = self.http.execute(request).await?;
        let is_good = response.status().is_success();
        let too_long = || OpenAIError::Boxed(Box::new(BodyTooLong));
        if is_good && response.content_length().unwrap_or(0) > MAX_BODY_BYTES as u64 {
            return Err(too_long());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if is_good && body.len() > MAX_BODY_BYTES {
                return Err(too_long());
            }
            if !is_good && body.len() > MAX_ERROR_BYTES {
                // The library logs what it does not understand.
                body.truncate(MAX_ERROR_BYTES);
                break;
            }
        }
        let mut read = http::Response::new(without(body.freeze(), &self.key));
        *read.status_mut() = response.status();
        *read.headers_mut() = std::mem::take(response.headers_mut());
        Ok(read)
    }
}

/// What a server said, without the key, which some repeat where they refuse it: it would be logged.
fn without(body: Bytes, key: &str) -> Bytes {
    let key = key.as_bytes();
    let found = |body: &[u8]| body.windows(key.len()).position(|window| window == key);
    if key.len() < MIN_SECRET_BYTES || found(&body).is_none() {
        return body;
    }
    let mut kept = BytesMut::with_capacity(body.len());
    let mut rest = &body[..];
    while let Some(at) = found(rest) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(HIDDEN);
        rest = &rest[at + key.len()..];
    }
    kept.extend_from_slice(rest);
    kept.freeze()
}

fn next(outcome: &Result<http::Response<Bytes>, OpenAIError>, now: SystemTime) -> Next {
    match outcome {
        Ok(response) => {
            let status = response.status();
            let may_pass = status.is_server_error()
                || status == StatusCode::TOO_MANY_REQUESTS && !is_out_of_quota(response.body());
            match may_pass {
                true => Next::Retry {
                    pause: retry_after(response.headers(), now),
                },
                false => Next::Take,
            }
        }
        Err(OpenAIError::Reqwest(error)) if error.is_connect() => Next::Retry { pause: None },
        Err(_) => Next::Take,
    }
}

/// True for a 429 that no waiting cures: the account has nothing left.
fn is_out_of_quota(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"]["code"] == "insufficient_quota"
}

/// `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>, body: &'static str) -> Next {
        let mut response = http::Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, value.parse().unwrap());
        }
        // 1994-11-15 08:12:31, as in RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_887_151);
        next(&Ok(response), now)
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [200, 400, 401, 404] {
            assert_eq!(answer(status, Some("1"), ""), Next::Take, "{status}");
        }
        for status in [429, 500, 502, 503] {
            assert_eq!(
                answer(status, None, ""),
                Next::Retry { pause: None },
                "{status}"
            );
        }
        let quota = r#"{"error": {"code": "insufficient_quota"}}"#;
        assert_eq!(answer(429, Some("1"), quota), Next::Take);
    }

    #[test]
    fn a_key_that_a_server_repeats_is_hidden() {
        let said = |body: &'static str, key| without(Bytes::from_static(body.as_bytes()), key);
        let repeated = "wrong key sk-secret-1, sk-secret-1";
        assert_eq!(said(repeated, "sk-secret-1"), "wrong key ***, ***");
        assert_eq!(said("sk-secret", "sk-secret-1"), "sk-secret");
        assert_eq!(said("", "sk-secret-1"), "");
        assert_eq!(said("{\"x\": 1}", "x"), "{\"x\": 1}", "no secret");
    }

    #[test]
    fn the_server_may_name_the_pause() {
        let after = |seconds| Next::Retry {
            pause: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(answer(429, Some(" 7 "), ""), after(7));
        assert_eq!(
            answer(503, Some("Tue, 15 Nov 1994 08:12:40 GMT"), ""),
            after(9)
        );
        assert_eq!(
            answer(503, Some("Tue, 15 Nov 1994 08:00:00 GMT"), ""),
            after(0)
        );
        assert_eq!(answer(503, Some("soon"), ""), Next::Retry { pause: None });
    }
}
