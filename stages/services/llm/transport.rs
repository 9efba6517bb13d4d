//! How a question reaches the server: bounded tries, within a deadline, and bodies
//! that are never read past a limit.
//!
//! The client library's own transport reads a body of any size, logs bodies, and tries again
//! without knowing how much time is left.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use omnizap_contract::common::backoff::Backoff;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue,
    InvalidHeaderValue, RETRY_AFTER,
};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

use super::dialect::is_about_the_form;
use super::packed::unpacked;
use super::{cause, completion};

/// Most tries of one question in one form, those apart in which the connection broke.
const MAX_TRIES: u32 = 3;
/// Longest body read, in bytes. An answer takes a few thousand.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Longest body read of an answer that says no, in bytes; the rest is left out.
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// First pause before another try where the server names none; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// The way to a server for one question.
pub(super) struct Transport<'a> {
    client: Client,
    base_url: &'a str,
    headers: HeaderMap,
    /// When the question's time is over: no pause ends later.
    deadline: Instant,
    /// True once a connection broke: it is tried again for that once.
    has_broken: bool,
    /// What became of the last try.
    last: Option<Arc<str>>,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The time ran out; what became of the try before, if there was one.
    Slow(Option<Arc<str>>),
    /// The server was not reached, or broke off, or sends what cannot be read.
    Lost(String),
}

/// What became of one try.
#[derive(Debug)]
enum Fault {
    Http(reqwest::Error),
    /// The body is packed in a way that is not known, or broken.
    Packed(io::Error),
    TooLong,
}

/// What to do with the outcome of a try.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It is the outcome of the question.
    Take,
    /// Another try can help, after the time that the server names.
    Retry { pause: Option<Duration> },
    /// The connection broke; a new one may not.
    Anew,
}

impl<'a> Transport<'a> {
    /// The way to an address, with a key, up to a point in time.
    ///
    /// # Errors
    /// The key is none that a header can hold.
    pub(super) fn new(
        client: Client,
        base_url: &'a str,
        key: &str,
        deadline: Instant,
    ) -> Result<Self, InvalidHeaderValue> {
        let mut authorization = HeaderValue::from_str(&["Bearer ", key].concat())?;
        authorization.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let plainly = HeaderValue::from_static("identity");
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (CONTENT_TYPE, json.clone()),
            (ACCEPT, json),
            (ACCEPT_ENCODING, plainly),
        ]);
        Ok(Self {
            client,
            base_url,
            headers,
            deadline,
            has_broken: false,
            last: None,
        })
    }

    /// Sends a body and reads the answer, trying again where that can help and time is left.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn post(&mut self, body: &Bytes) -> Result<Reply, Failure> {
        let mut tries = 1;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let attempt = self.attempt(body.clone());
            let attempt = tokio::time::timeout_at(self.deadline, attempt).await;
            let Ok(outcome) = attempt else {
                return Err(Failure::Slow(self.last.take()));
            };
            let next = next(&outcome, SystemTime::now());
            let outcome = outcome.map_err(|fault| self.told(fault));
            match next {
                Next::Anew if !self.has_broken => self.has_broken = true,
                Next::Take | Next::Anew => return outcome,
                Next::Retry { pause } => {
                    // Ours grows with every try, those included whose pause the server named.
                    let own = backoff.pause();
                    let pause = pause.unwrap_or(own);
                    if tries == MAX_TRIES || Instant::now() + pause >= self.deadline {
                        return outcome;
                    }
                    tokio::time::sleep(pause).await;
                    tries += 1;
                }
            }
            self.last = Some(match &outcome {
                Ok(reply) => reply.told().into(),
                Err(Failure::Lost(told)) => told.as_str().into(),
                Err(Failure::Slow(last)) => last.clone().unwrap_or_default(),
            });
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<Reply, Fault> {
        let url = [self.base_url, "/chat/completions"].concat();
        let request = self.client.post(url).headers(self.headers.clone());
        let mut response = request.body(body).send().await.map_err(Fault::Http)?;
        let is_good = response.status().is_success();
        let most = if is_good {
            MAX_BODY_BYTES
        } else {
            MAX_ERROR_BYTES
        };
        if is_good && response.content_length().unwrap_or(0) > MAX_BODY_BYTES as u64 {
            return Err(Fault::TooLong);
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // It says no, whatever more it would say.
                Err(_) if !is_good => break,
                Err(error) => return Err(Fault::Http(error)),
            }
            if body.len() > most {
                if is_good {
                    return Err(Fault::TooLong);
                }
                body.truncate(most);
                break;
            }
        }
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = body.freeze();
        let body = match unpacked(body.clone(), &headers, most) {
            Ok(plain) if is_good && plain.len() > most => return Err(Fault::TooLong),
            Ok(plain) => plain,
            Err(error) if is_good => return Err(Fault::Packed(error)),
            Err(_) => body,
        };
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    fn told(&self, fault: Fault) -> Failure {
        Failure::Lost(match fault {
            Fault::Http(error) => cause::of(error, self.base_url),
            Fault::Packed(error) => format!("{}: {error}", self.base_url),
            Fault::TooLong => format!(
                "{}: the server's answer is over the limit of {MAX_BODY_BYTES} bytes",
                self.base_url
            ),
        })
    }
}

impl Reply {
    /// Its status and what it says beside.
    pub(super) fn told(&self) -> String {
        let told = format!("{} {}", self.status, completion::reason(&self.body));
        told.trim_end().to_owned()
    }
}

fn next(outcome: &Result<Reply, Fault>, now: SystemTime) -> Next {
    match outcome {
        Ok(reply) if may_pass(reply) => Next::Retry {
            pause: pause(&reply.headers, now),
        },
        Err(Fault::Http(error)) if error.is_connect() => Next::Retry { pause: None },
        Err(Fault::Http(error)) if !error.is_builder() => Next::Anew,
        Ok(_) | Err(_) => Next::Take,
    }
}

/// True for a refusal that the same question may not get a second time.
fn may_pass(reply: &Reply) -> bool {
    let status = reply.status;
    if status.is_success() || status.is_redirection() {
        return false;
    }
    // Some servers say so themselves.
    match text_of(&reply.headers, "x-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ if status == StatusCode::TOO_MANY_REQUESTS => !is_out_of_quota(&reply.body),
        _ if status.is_server_error() => !is_about_the_form(status, &reply.body),
        _ => matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT),
    }
}

/// True for a 429 that no waiting cures: the account has nothing left.
fn is_out_of_quota(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"]["code"] == "insufficient_quota"
}

/// The pause that a server names: in milliseconds, as `OpenAI` does, or by `Retry-After` as seconds
/// or as a date (RFC 9110, section 10.2.3).
fn pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |value: &str| value.parse::<f64>().ok();
    let millis = text_of(headers, "retry-after-ms").and_then(number);
    if let Some(millis) = millis {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let value = text_of(headers, RETRY_AFTER.as_str())?;
    if let Some(seconds) = number(value) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_with(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Next {
        let headers = headers.iter().map(|(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::from_static(body.as_bytes()),
        };
        // 1994-11-15 08:12:31, as in RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_887_151);
        next(&Ok(reply), now)
    }

    fn answer(status: u16, retry_after: Option<&str>, body: &'static str) -> Next {
        let headers: Vec<_> = retry_after
            .map(|value| ("retry-after", value))
            .into_iter()
            .collect();
        answer_with(status, &headers, body)
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [200, 302, 400, 401, 404] {
            assert_eq!(answer(status, Some("1"), ""), Next::Take, "{status}");
        }
        for status in [408, 409, 429, 500, 502, 503] {
            assert_eq!(
                answer(status, None, ""),
                Next::Retry { pause: None },
                "{status}"
            );
        }
        let quota = r#"{"error": {"code": "insufficient_quota"}}"#;
        assert_eq!(answer(429, Some("1"), quota), Next::Take);
        assert_eq!(answer(500, None, "failed to parse grammar"), Next::Take);
        // It will be no more implemented the next time.
        let next = answer(501, None, r#"{"error": "not implemented"}"#);
        assert_eq!(next, Next::Take);
    }

    #[test]
    fn the_server_may_say_whether_to_try_again() {
        let retry = Next::Retry { pause: None };
        assert_eq!(answer_with(424, &[("x-should-retry", "true")], ""), retry);
        assert_eq!(
            answer_with(500, &[("x-should-retry", "false")], ""),
            Next::Take
        );
        assert_eq!(
            answer_with(200, &[("x-should-retry", "true")], ""),
            Next::Take
        );
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
        let none = Next::Retry { pause: None };
        for odd in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(answer(503, Some(odd), ""), none, "{odd}");
        }
        let both = [("retry-after", "9"), ("retry-after-ms", "2000")];
        assert_eq!(answer_with(429, &both, ""), after(2));
    }
}
