//! Odd pictures: the rare, the broken and the hostile, each read both ways or refused with the
//! reason, as `tests/fixtures/make_odd_images.py` wrote down.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Json, check, compat, decode, default, folder};

/// Their folder, and in it a table for each format: `FORMAT.json`.
fn odd() -> PathBuf {
    folder().join("odd")
}

/// The names of the files there: of tables, and of pictures.
fn names() -> (BTreeSet<String>, BTreeSet<String>) {
    let entries = std::fs::read_dir(odd()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.partition(|name| name.ends_with(".json"))
}

fn table(name: &str) -> serde_json::Map<String, Json> {
    let text = std::fs::read_to_string(odd().join(name)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What becomes of a file one way, against what is to become of it.
fn compare(
    what: &str,
    decoder: &crate::Decoder,
    bytes: &[u8],
    expected: &Json,
) -> Result<(), String> {
    let room = decoder.room(bytes);
    match (decode(decoder, bytes.to_vec()), &expected["code"]) {
        (Ok(picture), Json::Null) => {
            let room = room.map_err(|error| format!("{what}: room refuses it: {error}"))?;
            let bytes = picture.pixels.len() as u64;
            if room < bytes {
                return Err(format!("{what}: {room} bytes of room for {bytes}"));
            }
            check(what, &picture, expected)
        }
        (Ok(picture), _) => {
            let (width, height) = (picture.width, picture.height);
            Err(format!("{what}: is read, {width}x{height}, not {expected}"))
        }
        (Err(error), _) => {
            let status = error.kind().status();
            if expected["code"] == error.code() && expected["status"] == status {
                return Ok(());
            }
            let code = error.code();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            Err(format!(
                "{what}: {status} {code}, not {expected}: {error} ({cause})"
            ))
        }
    }
}

#[test]
fn every_odd_picture_is_read_or_refused_as_written_down() {
    let (tables, pictures) = names();
    assert!(!tables.is_empty(), "the tables are there");
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for of in &tables {
        for (name, expected) in table(of) {
            let Ok(bytes) = std::fs::read(odd().join(&name)) else {
                faults.push(format!("{of} names {name}, which is not there"));
                continue;
            };
            for (way, decoder) in [("compat", compat()), ("default", default())] {
                let what = format!("{name}, {way}");
                faults.extend(compare(&what, &decoder, &bytes, &expected[way]).err());
            }
            if !named.insert(name.clone()) {
                faults.push(format!("{name} is named by two tables"));
            }
        }
    }
    let unnamed = pictures.difference(&named);
    faults.extend(unnamed.map(|name| format!("{name} is named by no table")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
