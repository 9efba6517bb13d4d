//! Fetching published weights from the Hugging Face hub, or a mirror that speaks its HTTP.
//!
//! A file is asked for at `ENDPOINT/OWNER/NAME/resolve/REVISION/FILE`, the weights at `main`, what
//! belongs beside them at the revision that these are of. The answer's headers, or those of its
//! redirect, say that revision and the SHA-256 of the file's bytes. It is fetched into
//! `blobs/HASH.incomplete`, resumed where it stopped, checked, and only then renamed and linked into
//! `snapshots/REVISION`, as the Python tools lay it out. The weights come last, so that a model whose
//! weights are there is whole.

mod download;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, LOCATION};

use crate::cache::Cache;
use crate::preset::{Preset, Weights};

/// The hub itself.
const HUGGING_FACE: &str = "https://huggingface.co";
/// Redirects within the hub, such as those of a renamed repository.
const MOST_REDIRECTS: usize = 5;

/// Why weights could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The hub does not answer.
    #[error(
        "cannot reach {endpoint}: {reason}; work offline by giving a checkpoint's path, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The innermost reason.
        reason: String,
    },
    /// `HF_HUB_OFFLINE` forbids it.
    #[error("HF_HUB_OFFLINE is set, so nothing is fetched; unset it or give a checkpoint's path")]
    Offline,
    /// The repository wants a token, or its licence accepted.
    #[error(
        "{repository} needs permission ({status}); accept its licence on the hub and set HF_TOKEN"
    )]
    Forbidden {
        /// The repository.
        repository: String,
        /// The HTTP status.
        status: u16,
    },
    /// None of the files that could hold the weights, or a file that belongs beside them, is in the
    /// repository.
    #[error("{repository} has none of {files}; is {endpoint} a complete mirror?")]
    NotFound {
        /// The repository.
        repository: String,
        /// The files, comma separated.
        files: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The hub answers, but not as the hub should.
    #[error("{url} answered {what}; try again later")]
    BadAnswer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The connection broke again and again. What has arrived is kept for the next try.
    #[error(
        "the connection broke at {done} of {total} bytes and {tries} new tries brought nothing ({reason}); pull again to resume"
    )]
    Interrupted {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
        /// Tries without progress.
        tries: u32,
        /// What broke the last.
        reason: String,
    },
    /// The bytes that arrived are not the published ones. They have been removed.
    #[error(
        "{file} is not what was published: SHA-256 is {found}, expected {expected}; it was removed, pull again"
    )]
    WrongChecksum {
        /// The file.
        file: String,
        /// The hash of what arrived.
        found: String,
        /// The published hash.
        expected: String,
    },
    /// A file could not be written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// How far a download is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file.
    pub file: &'a str,
    /// Bytes that are on disk.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// A hub and who asks.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    offline: bool,
    /// How long to wait before the first new try after a break; it doubles with each.
    patience: Duration,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret.
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub at this address, without a token.
    pub fn at(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
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

    fn request(&self, client: &Client, method: reqwest::Method, url: &str) -> RequestBuilder {
        let request = client.request(method, url);
        // The token is for the hub alone, not for where it redirects to.
        match &self.token {
            Some(token) if url.starts_with(&self.endpoint) => request.bearer_auth(token),
            _ => request,
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> PullError {
        PullError::Unreachable {
            endpoint: self.endpoint.clone(),
            reason: innermost(error),
        }
    }
}

/// A file on the hub.
struct Remote {
    name: &'static str,
    url: String,
    /// The revision that it is of.
    commit: String,
    /// What its content is known by; the SHA-256 for large files.
    etag: String,
    size: u64,
}

impl Remote {
    /// The SHA-256 of the content in hexadecimal, where the hub says it.
    fn sha256(&self) -> Option<&str> {
        let hash = self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        hash.then_some(&self.etag)
    }
}

/// Fetches weights and what belongs beside them into the cache: the checkpoint's path. What is there
/// already is not fetched again, what has been begun is gone on with.
///
/// Show [`Preset::licence`] and [`Weights::out_of_scope`] to the user before. Blocks; not for async threads.
///
/// # Errors
/// [`PullError`]; nothing is ever left in the cache under its final name that is not complete and
/// checked.
pub fn pull(
    hub: &Hub,
    cache: &Cache,
    preset: &Preset,
    weights: &Weights,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, PullError> {
    if hub.offline {
        return Err(PullError::Offline);
    }
    tracing::debug!(
        model = preset.name,
        tag = weights.tag,
        repository = weights.repository,
        "pulling"
    );
    let client = Client::builder()
        .user_agent(concat!("omnizap/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| hub.unreachable(&error))?;
    let main = find(hub, &client, weights.repository, "main", weights.files)?;
    let beside = weights
        .beside
        .iter()
        .map(|name| find(hub, &client, weights.repository, &main.commit, &[name]))
        .collect::<Result<Vec<_>, _>>()?;

    let repository = cache.repository(weights);
    let snapshot = repository.join("snapshots").join(&main.commit);
    for remote in beside.iter().chain([&main]) {
        let blob = repository.join("blobs").join(&remote.etag);
        if !complete(&blob, remote) {
            download::download(hub, remote, &blob, progress)?;
        }
        create_folder(&snapshot)?;
        link(
            &blob,
            Path::new("../../blobs").join(&remote.etag).as_path(),
            &snapshot.join(remote.name),
        )?;
    }
    let refs = repository.join("refs");
    create_folder(&refs)?;
    write_atomically(&refs.join("main"), main.commit.as_bytes())?;
    Ok(snapshot.join(main.name))
}

fn complete(blob: &Path, remote: &Remote) -> bool {
    blob.metadata()
        .is_ok_and(|metadata| metadata.len() == remote.size)
}

/// Asks for files of a repository in turn, without their content: the first that is there.
fn find(
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
                return describe(name, url, answer.headers());
            }
            status => {
                return Err(PullError::BadAnswer {
                    url,
                    what: status.to_string(),
                });
            }
        }
    }
    Err(PullError::NotFound {
        repository: repository.to_owned(),
        files: files.join(", "),
        endpoint: hub.endpoint.clone(),
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
                    url: url.clone(),
                    what: format!("a redirect to '{to}'"),
                })?;
                url = to.to_string();
            }
            _ => return Ok(answer),
        }
    }
    Err(PullError::BadAnswer {
        url,
        what: format!("more than {MOST_REDIRECTS} redirects"),
    })
}

fn describe(name: &'static str, url: String, headers: &HeaderMap) -> Result<Remote, PullError> {
    let missing = |what: &str| PullError::BadAnswer {
        url: url.clone(),
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

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Links `path` to a blob; where links are not to be had it becomes a copy.
fn link(blob: &Path, relative: &Path, path: &Path) -> Result<(), PullError> {
    if std::fs::canonicalize(path)
        .is_ok_and(|there| std::fs::canonicalize(blob).is_ok_and(|blob| blob == there))
    {
        return Ok(());
    }
    let io = |source| PullError::Io {
        action: "link",
        path: path.to_owned(),
        source,
    };
    let scratch = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = std::fs::remove_file(&scratch);
    #[cfg(unix)]
    std::os::unix::fs::symlink(relative, &scratch).map_err(io)?;
    #[cfg(not(unix))]
    {
        let _ = relative;
        std::fs::copy(blob, &scratch).map_err(io)?;
    }
    std::fs::rename(&scratch, path).map_err(io)
}

fn write_atomically(path: &Path, content: &[u8]) -> Result<(), PullError> {
    let io = |source| PullError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, content).map_err(io)?;
    file.persist(path)
        .map(drop)
        .map_err(|error| io(error.error))
}

fn create_folder(folder: &Path) -> Result<(), PullError> {
    std::fs::create_dir_all(folder).map_err(|source| PullError::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })
}

/// The reason at the bottom of an error: the outer ones only say that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
