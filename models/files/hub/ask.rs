//! Who is asked for a file, and what the answer says of it.

use std::path::PathBuf;
use std::time::Duration;

use omnizap_contract::common::digest::Sha256Hex;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, LOCATION};

use super::error::PullError;

/// The hub itself.
const HUGGING_FACE: &str = "https://huggingface.co";
/// Redirects within the hub, such as those of a renamed repository.
const MOST_REDIRECTS: usize = 5;

/// A hub and who asks.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    /// The same as it may be shown.
    shown: String,
    token: Option<String>,
    pub(super) offline: bool,
    /// How long to wait before the first new try after a break; it doubles with each.
    pub(super) patience: Duration,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret.
        f.debug_struct("Hub")
            .field("endpoint", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub at this address, without a token.
    pub fn at(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            shown: shown(endpoint),
            token: None,
            offline: false,
            patience: Duration::from_millis(500),
        }
    }

    /// The hub that the environment names: `HF_ENDPOINT`, `HF_TOKEN` (else the file that
    /// `HF_TOKEN_PATH` or `HF_HOME` holds), `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let variable = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        let token_file = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| {
            let home = variable("HF_HOME").map(PathBuf::from);
            Some(
                home.or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface")))?
                    .join("token"),
            )
        });
        let saved = || std::fs::read_to_string(token_file?).ok();
        let token = variable("HF_TOKEN")
            .or_else(saved)
            .map(|token| token.trim().to_owned());
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| !matches!(value.trim(), "0" | "false" | "no"));
        Self {
            token: token.filter(|token| !token.is_empty()),
            offline,
            ..Self::at(&variable("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.to_owned()))
        }
    }

    /// The same hub, waiting this long before the first new try after a break.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A request that says who asks.
    pub(super) fn request(
        &self,
        client: &Client,
        method: reqwest::Method,
        url: &str,
    ) -> RequestBuilder {
        let request = client.request(method, url);
        // The token is for the hub alone, not for where it redirects to.
        match &self.token {
            Some(token) if url.starts_with(&self.endpoint) => request.bearer_auth(token),
            _ => request,
        }
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> PullError {
        PullError::Unreachable {
            endpoint: self.shown.clone(),
            reason: innermost(error),
        }
    }

    /// Where a file is, as it may be shown.
    pub(super) fn told(&self, url: &str) -> String {
        match url.strip_prefix(&self.endpoint) {
            Some(path) => format!("{}{path}", self.shown),
            None => url.to_owned(),
        }
    }
}

/// An address without a user and a password in it. What is none is not repeated: it may be a token in
/// the wrong place.
fn shown(endpoint: &str) -> String {
    let url = reqwest::Url::parse(endpoint).ok();
    let Some(mut url) = url.filter(reqwest::Url::has_host) else {
        return "what HF_ENDPOINT says".to_owned();
    };
    if url.username().is_empty() && url.password().is_none() {
        return endpoint.trim_end_matches('/').to_owned();
    }
    // What has a host can be without them.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.as_str().trim_end_matches('/').to_owned()
}

/// A file on the hub.
pub(super) struct Remote {
    pub(super) name: &'static str,
    pub(super) url: String,
    /// The revision that it is of.
    pub(super) commit: String,
    /// What its content is known by; the SHA-256 for large files.
    pub(super) etag: String,
    pub(super) size: u64,
}

impl Remote {
    /// The SHA-256 of the content, where the hub says it.
    pub(super) fn sha256(&self) -> Option<Sha256Hex> {
        Sha256Hex::parse(&self.etag)
    }
}

/// Asks for files of a repository in turn, without their content: the first that is there.
pub(super) fn find(
    hub: &Hub,
    client: &Client,
    repository: &str,
    revision: &str,
    files: &[&'static str],
) -> Result<Remote, PullError> {
    for name in files {
        let url = format!("{}/{repository}/resolve/{revision}/{name}", hub.endpoint);
        let answer = ask(hub, client, &url)?;
        match answer.status() {
            StatusCode::NOT_FOUND => continue,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(PullError::Forbidden {
                    repository: repository.to_owned(),
                    status: answer.status().as_u16(),
                });
            }
            status if status.is_success() || status.is_redirection() => {
                return describe(hub, name, url, answer.headers());
            }
            status => {
                return Err(PullError::BadAnswer {
                    url: hub.told(&url),
                    what: status.to_string(),
                });
            }
        }
    }
    Err(PullError::NotFound {
        repository: repository.to_owned(),
        files: files.join(", "),
        endpoint: hub.shown.clone(),
    })
}

/// The headers of a file, followed through redirects that are the hub's own.
fn ask(hub: &Hub, client: &Client, url: &str) -> Result<Response, PullError> {
    let mut url = url.to_owned();
    for _ in 0..MOST_REDIRECTS {
        let answer = hub
            .request(client, reqwest::Method::HEAD, &url)
            .send()
            .map_err(|error| hub.unreachable(&error))?;
        let elsewhere = header(answer.headers(), LOCATION.as_str())
            .filter(|_| answer.status().is_redirection());
        match elsewhere {
            // A redirect to the content itself carries the content's description.
            Some(to) if header(answer.headers(), "x-linked-etag").is_none() => {
                let base = answer.url().clone();
                let to = base.join(&to).map_err(|_| PullError::BadAnswer {
                    url: hub.told(&url),
                    what: format!("a redirect to '{to}'"),
                })?;
                url = to.to_string();
            }
            _ => return Ok(answer),
        }
    }
    Err(PullError::BadAnswer {
        url: hub.told(&url),
        what: format!("more than {MOST_REDIRECTS} redirects"),
    })
}

fn describe(
    hub: &Hub,
    name: &'static str,
    url: String,
    headers: &HeaderMap,
) -> Result<Remote, PullError> {
    let missing = |what: &str| PullError::BadAnswer {
        url: hub.told(&url),
        what: format!("without {what}"),
    };
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, ETAG.as_str()));
    let etag = etag.ok_or_else(|| missing("an ETag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    let size =
        header(headers, "x-linked-size").or_else(|| header(headers, CONTENT_LENGTH.as_str()));
    let size = size
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| missing("a size"))?;
    let commit = header(headers, "x-repo-commit").unwrap_or_else(|| "main".to_owned());
    // Both become names of files.
    let harmless = |text: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !text.is_empty() && text.len() <= 128 && text.chars().all(known)
    };
    if !harmless(&etag) || !harmless(&commit) {
        return Err(missing("a usable ETag and revision"));
    }
    Ok(Remote {
        name,
        url,
        commit,
        etag,
        size,
    })
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The reason at the bottom of an error: the outer ones only say that a request failed.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_who_asks() {
        for (endpoint, expected) in [
            ("https://hub.example", "https://hub.example"),
            ("https://hub.example/hf/", "https://hub.example/hf"),
            ("https://me:secret@hub.example/hf", "https://hub.example/hf"),
            ("https://secret@hub.example", "https://hub.example"),
            ("secret", "what HF_ENDPOINT says"),
            ("me:secret@hub", "what HF_ENDPOINT says"),
        ] {
            let hub = Hub::at(endpoint);
            assert_eq!(hub.shown, expected);
            let url = format!("{}/a/b", hub.endpoint);
            assert_eq!(hub.told(&url), format!("{expected}/a/b"));
            assert!(!format!("{hub:?}").contains("secret"), "{hub:?}");
        }
        let elsewhere = "https://files.example/x";
        assert_eq!(Hub::at("https://hub.example").told(elsewhere), elsewhere);
    }
}
