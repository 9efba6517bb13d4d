//! One file over a connection that may break: resumed where it stopped, checked when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use omnizap_contract::common::backoff::Backoff;
use omnizap_contract::common::digest::Sha256Hex;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_RANGE, RANGE};

use super::ask::{Hub, Remote, header, innermost};
use super::error::PullError;
use super::place::{complete, create_folder};

/// Tries in a row that may bring nothing.
const MOST_TRIES: u32 = 5;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of one request. A bound on its size bounds its time, so that a stalled connection is
/// noticed, without a limit on the whole download's.
const PIECE: u64 = 32 << 20;
/// The longest that one request may take: 32 MiB at 110 KiB a second.
const LONGEST_PIECE: Duration = Duration::from_secs(300);

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

/// Fetches a file to `blob`.
pub(super) fn download(
    hub: &Hub,
    remote: &Remote,
    blob: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    let incomplete = blob.with_file_name(format!("{}.incomplete", remote.etag));
    create_folder(blob.parent().unwrap_or(Path::new(".")))?;
    let io = |action| {
        let path = incomplete.clone();
        move |source| PullError::Io {
            action,
            path,
            source,
        }
    };
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(&incomplete)
        .map_err(io("write"))?;
    // Another pull of the same file goes first; what it has fetched is not fetched again.
    file.lock().map_err(io("lock"))?;
    if complete(blob, remote) {
        return Ok(());
    }
    fetch(hub, remote, &mut file, progress)?;
    file.sync_all().map_err(io("write"))?;
    if let Some(expected) = remote.sha256() {
        let found = File::open(&incomplete)
            .and_then(Sha256Hex::of_reader)
            .map_err(io("read"))?;
        if found != expected {
            // Kept, it would be resumed for ever.
            std::fs::remove_file(&incomplete).map_err(io("remove"))?;
            return Err(PullError::WrongChecksum {
                file: remote.name.to_owned(),
                found: found.to_string(),
                expected: remote.etag.clone(),
            });
        }
    }
    std::fs::rename(&incomplete, blob).map_err(io("rename"))
}

/// Appends to the file until it is whole, beginning anew after each break.
fn fetch(
    hub: &Hub,
    remote: &Remote,
    file: &mut File,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    let client = Client::builder()
        .user_agent(concat!("omnizap/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .timeout(LONGEST_PIECE)
        .build()
        .map_err(|error| hub.unreachable(&error))?;
    let io = |source| PullError::Io {
        action: "write",
        path: remote.name.into(),
        source,
    };
    let mut done = file.seek(SeekFrom::End(0)).map_err(io)?;
    if done > remote.size {
        file.set_len(0).map_err(io)?;
        done = 0;
    }
    let first_pause = Backoff::new(hub.patience, LONGEST_WAIT);
    let (mut tries, mut backoff) = (0, first_pause.clone());
    while done < remote.size {
        progress(Progress {
            file: remote.name,
            done,
            total: remote.size,
        });
        let before = done;
        match piece(hub, &client, remote, file, &mut done, progress) {
            Ok(()) => {}
            Err(Break::Final(error)) => return Err(error),
            Err(Break::Retry(reason)) => {
                tries += 1;
                if done > before {
                    (tries, backoff) = (0, first_pause.clone());
                }
                if tries >= MOST_TRIES {
                    return Err(PullError::Interrupted {
                        done,
                        total: remote.size,
                        tries,
                        reason,
                    });
                }
                tracing::warn!(file = remote.name, done, total = remote.size, %reason, "connection broke, resuming");
                std::thread::sleep(backoff.pause());
            }
        }
    }
    progress(Progress {
        file: remote.name,
        done,
        total: remote.size,
    });
    Ok(())
}

/// Why a piece ended early.
enum Break {
    /// Another try may help.
    Retry(String),
    /// It will not.
    Final(PullError),
}

/// Fetches the next piece, counting what arrives in `done`.
fn piece(
    hub: &Hub,
    client: &Client,
    remote: &Remote,
    file: &mut File,
    done: &mut u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Break> {
    let last = (*done + PIECE).min(remote.size) - 1;
    let mut answer = hub
        .request(client, reqwest::Method::GET, &remote.url)
        .header(RANGE, format!("bytes={done}-{last}"))
        .send()
        .map_err(|error| Break::Retry(innermost(&error)))?;
    let io = |source| {
        Break::Final(PullError::Io {
            action: "write",
            path: remote.name.into(),
            source,
        })
    };
    match answer.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&answer, *done) => {}
        // The server knows no ranges: from the beginning.
        StatusCode::OK => {
            file.set_len(0).map_err(io)?;
            *done = 0;
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Break::Retry(status.to_string()));
        }
        status => {
            return Err(Break::Final(PullError::BadAnswer {
                url: hub.told(&remote.url),
                what: format!("{status} to a request for bytes {done} to {last}"),
            }));
        }
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = answer
            .read(&mut buffer)
            .map_err(|error| Break::Retry(innermost(&error)))?;
        if read == 0 {
            return Ok(());
        }
        if *done + read as u64 > remote.size {
            return Err(Break::Final(PullError::BadAnswer {
                url: remote.url.clone(),
                what: format!("more than the {} bytes that it announced", remote.size),
            }));
        }
        file.write_all(&buffer[..read]).map_err(io)?;
        *done += read as u64;
        progress(Progress {
            file: remote.name,
            done: *done,
            total: remote.size,
        });
    }
}

/// Whether a partial answer begins where it was asked to.
fn starts_at(answer: &Response, offset: u64) -> bool {
    header(answer.headers(), CONTENT_RANGE.as_str()).and_then(|range| {
        range
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .trim()
            .parse::<u64>()
            .ok()
    }) == Some(offset)
}
