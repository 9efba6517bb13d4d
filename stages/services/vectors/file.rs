//! The partition on disk, so that a start does not look for centroids again.
//!
//! A file holds the centroids, and which list each row is in, by a hash of its key; the
//! vectors are always those of the table. So a file that is old, or of another
//! database, costs recall at worst, never a wrong cosine. It is written beside its place
//! and renamed into it, and ends with the SHA-256 of all before: what is cut off,
//! damaged or of another version is not read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::common::digest::Sha256Hex;

use super::key::{Key, hash};
use super::partition::{Centroids, Partition, Places};
use super::train::lists;
use super::view::View;

/// What a file begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"OZINDEX\x02";
const ENDING: &str = "index";
/// Widest vectors of a file that is read.
const MAX_DIM: u64 = 4096;
/// Bytes of a row in a file: the hash of its key, and its list.
const ROW_BYTES: u64 = 12;
/// Bytes beside rows and centroids, the model's name among them, with much to spare.
const REST_BYTES: u64 = 64 << 20;
const DIGEST: usize = 32;
/// Digits of the model id's hash in the name of its file.
const NAME_DIGITS: usize = 24;
/// What a file that is being written is called, before it has its name.
const UNFINISHED: &str = "unfinished-";
/// Age from which an unfinished file is one of a process that was killed.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// Where the partition of a model is.
pub(super) fn path(folder: &Path, model: &str) -> PathBuf {
    let name = Sha256Hex::of(model.as_bytes());
    folder.join(format!("{name:.NAME_DIGITS$}.{ENDING}"))
}

/// Writes the partition of a model, durably, or leaves what was there.
pub(super) fn save(
    folder: &Path,
    model: &str,
    partition: &Partition,
    view: &View,
) -> io::Result<()> {
    let centroids = partition.centroids();
    let mut bytes = MAGIC.to_vec();
    let count = centroids.len() as u64;
    let rows = view.rows();
    let places = partition.lists().enumerate().flat_map(|(list, numbers)| {
        let present = numbers.filter(|row| rows.contains(row));
        let present = present.filter_map(|row| view.row(row));
        present.map(move |row| (hash(&Key::of(row)), list as u32))
    });
    let places: Vec<_> = places.collect();
    for number in [
        model.len() as u64,
        centroids.dim as u64,
        count,
        partition.trained_rows,
        places.len() as u64,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(partition.freedom.to_le_bytes());
    bytes.extend(model.as_bytes());
    bytes.extend(centroids.vectors.iter().flat_map(|x| x.to_le_bytes()));
    for (hash, list) in places {
        bytes.extend(hash.to_le_bytes());
        bytes.extend(list.to_le_bytes());
    }
    bytes.extend(digest(&bytes));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist(path(folder, model))
        .map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The largest file that is read where a model has at most so many rows: 128 MiB for a million.
pub(super) fn most_bytes(max_rows: usize) -> u64 {
    let centroids = lists(max_rows) as u64 * MAX_DIM * size_of::<f32>() as u64;
    let rows = (max_rows as u64).saturating_mul(ROW_BYTES);
    rows.saturating_add(centroids + REST_BYTES)
}

/// The partitions of all models, of at most so many rows each; what cannot be read is told in
/// the log.
pub(super) fn load_all(folder: &Path, max_rows: usize) -> Vec<(String, Partition)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries: Vec<_> = entries.flatten().collect();
    entries.iter().for_each(remove_left_over);
    let paths = entries.iter().map(fs::DirEntry::path);
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == ENDING));
    let loaded = paths.filter_map(|path| match load(&path, most_bytes(max_rows)) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::warn!(%error, "a file of the vector index is not used: it is built anew");
            None
        }
    });
    loaded.collect()
}

/// Removes what a killed process left half written; another copy of the service may be
/// writing a younger one.
fn remove_left_over(entry: &fs::DirEntry) {
    let name = entry.file_name();
    let is_unfinished = name.to_str().is_some_and(|n| n.starts_with(UNFINISHED));
    let age = entry.metadata().and_then(|found| found.modified());
    let age = age.ok().and_then(|written| written.elapsed().ok());
    if is_unfinished && age.is_some_and(|age| age > LEFT_OVER) {
        // One that cannot be removed takes room and does nothing else.
        let _ = fs::remove_file(entry.path());
    }
}

/// The SHA-256 as a file ends with it: a byte for two digits.
fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
    let digits = Sha256Hex::of(bytes);
    let mut digest = [0; DIGEST];
    for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().as_chunks().0) {
        let [high, low] = *pair;
        *byte = value(high) << 4 | value(low);
    }
    digest
}

fn load(path: &Path, most: u64) -> io::Result<(String, Partition)> {
    if fs::metadata(path)?.len() > most {
        return Err(io::Error::other("larger than such a file can be"));
    }
    let bytes = fs::read(path)?;
    let text = bytes
        .len()
        .checked_sub(DIGEST)
        .map(|end| bytes.split_at(end));
    let (text, digest) = text.ok_or_else(|| io::Error::other("cut off"))?;
    if !text.starts_with(&MAGIC) {
        return Err(io::Error::other("of another version"));
    }
    if self::digest(text) != *digest {
        return Err(io::Error::other("damaged"));
    }
    parse(&text[MAGIC.len()..]).ok_or_else(|| io::Error::other("makes no sense"))
}

fn parse(mut text: &[u8]) -> Option<(String, Partition)> {
    let mut number = || -> Option<u64> {
        let (number, rest) = text.split_first_chunk::<8>()?;
        text = rest;
        Some(u64::from_le_bytes(*number))
    };
    let (name, dim, lists) = (number()? as usize, number()? as usize, number()? as usize);
    let (trained_rows, rows) = (number()?, number()? as usize);
    let (freedom, text) = text.split_first_chunk::<4>()?;
    let (model, text) = text.split_at_checked(name)?;
    let (vectors, places) = text.split_at_checked(dim.checked_mul(lists)?.checked_mul(4)?)?;
    let freedom = f32::from_le_bytes(*freedom);
    let is_freedom = freedom.is_finite() && freedom >= 0.0;
    if dim == 0 || lists == 0 || !is_freedom || Some(places.len()) != rows.checked_mul(12) {
        return None;
    }
    let floats = vectors.as_chunks::<4>().0.iter();
    let vectors: Vec<_> = floats.map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut known = Places::with_capacity(rows);
    for place in places.as_chunks::<12>().0 {
        let (hash, list) = place.split_first_chunk::<8>()?;
        let list = u32::from_le_bytes(*list.first_chunk::<4>()?);
        known.insert(u64::from_le_bytes(*hash), list);
    }
    let centroids = Arc::new(Centroids::new(dim, vectors));
    let mut partition = Partition::new(centroids, trained_rows, 0);
    partition.saved_rows = rows as u64;
    partition.freedom = freedom;
    partition.known = known;
    Some((String::from_utf8(model.to_vec()).ok()?, partition))
}
