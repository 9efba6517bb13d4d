//! Fetching published weights from the Hugging Face hub, or a mirror that speaks its HTTP.
//!
//! A file is asked for at `ENDPOINT/OWNER/NAME/resolve/REVISION/FILE`, the weights at `main`, what
//! belongs beside them at the revision that these are of. The answer's headers, or those of its
//! redirect, say that revision and the SHA-256 of the file's bytes. It is fetched into
//! `blobs/HASH.incomplete`, resumed where it stopped, checked, and only then renamed and linked into
//! `snapshots/REVISION`, as the Python tools lay it out. The weights come last, so that a model whose
//! weights are there is whole.

mod ask;
mod download;
mod error;
mod place;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::blocking::Client;

use crate::files::cache::Cache;
use crate::preset::{Preset, Weights};
use crate::tls;
use ask::find;
use place::{complete, create_folder, link, write_atomically};

pub use ask::Hub;
pub use download::Progress;
pub use error::PullError;

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
    tls::use_ring();
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
