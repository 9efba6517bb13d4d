//! Pictures whose label is known: from a folder per class, or from a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::cli::picture::{is_picture, kinds};

/// Most pictures of one evaluation.
const MAX_SAMPLES: usize = 1_000_000;

/// A picture and the label it should get.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) path: PathBuf,
    pub(super) label: Arc<str>,
}

/// `DIR/CLASS/picture.png`, at any depth below the class, in the order of their names.
///
/// # Errors
/// A folder that cannot be read, or without a picture in any folder of a class.
pub(super) fn from_folders(folder: &Path) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for class in entries(folder)? {
        let name = class.file_name().unwrap_or_default().to_string_lossy();
        if !class.is_dir() || name.starts_with('.') {
            continue;
        }
        let label: Arc<str> = name.replace('_', " ").trim().into();
        add(&class, &label, &mut samples)?;
    }
    if samples.is_empty() {
        bail!(
            "no pictures in {}: expected {}/CLASS/*.png (or {}), or --labels FILE",
            folder.display(),
            folder.display(),
            kinds()
        );
    }
    Ok(samples)
}

fn add(folder: &Path, label: &Arc<str>, samples: &mut Vec<Sample>) -> anyhow::Result<()> {
    for path in entries(folder)? {
        // A link to a folder may lead back up.
        if path.is_dir() && !path.is_symlink() {
            add(&path, label, samples)?;
        } else if path.is_file() && is_picture(&path) {
            push(samples, path, label.clone())?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("cannot read the folder {}", folder.display());
    let mut paths = std::fs::read_dir(folder)
        .with_context(context)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(context)?;
    paths.sort();
    Ok(paths)
}

/// Lines of `file,label`, files relative to `folder`.
///
/// # Errors
/// A table that cannot be read, a line that is not a file and a label, a file that is not there:
/// with the number of the line.
pub(super) fn from_table(folder: &Path, table: &Path) -> anyhow::Result<Vec<Sample>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(table)
        .with_context(|| format!("cannot read {}", table.display()))?;
    let mut samples = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("{}", table.display()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("{}:{line}", table.display());
        if record.len() != 2 {
            bail!(
                "{place}: expected 2 columns, FILE,LABEL, found {}",
                record.len()
            );
        }
        if number == 0 && record[1].eq_ignore_ascii_case("label") {
            continue;
        }
        if record[1].is_empty() {
            bail!("{place}: the label is empty");
        }
        let path = folder.join(&record[0]);
        if !path.is_file() {
            bail!("{place}: there is no file {}", path.display());
        }
        push(&mut samples, path, record[1].into())?;
    }
    if samples.is_empty() {
        bail!("{}: no line names a picture", table.display());
    }
    Ok(samples)
}

fn push(samples: &mut Vec<Sample>, path: PathBuf, label: Arc<str>) -> anyhow::Result<()> {
    if samples.len() == MAX_SAMPLES {
        bail!("more than {MAX_SAMPLES} pictures");
    }
    samples.push(Sample { path, label });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::folder_of;

    #[test]
    fn folders_are_classes() {
        let folder = folder_of(&[
            "red_cat/b.PNG",
            "red_cat/deep/a.jpg",
            "dog/x.webp",
            "dog/notes.txt",
            "top.png",
        ]);
        let samples = from_folders(folder.path()).unwrap();
        let found: Vec<_> = samples
            .iter()
            .map(|sample| {
                (
                    &*sample.label,
                    sample.path.file_name().unwrap().to_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("dog", "x.webp"),
                ("red cat", "b.PNG"),
                ("red cat", "a.jpg")
            ]
        );
        let error = from_folders(&folder.path().join("dog")).unwrap_err();
        assert!(error.to_string().contains("CLASS"), "{error}");
    }

    #[test]
    fn a_table_names_files_and_labels() {
        let folder = folder_of(&["a.png", "b, c.png"]);
        let table = folder.path().join("truth.csv");
        std::fs::write(&table, "file,label\na.png,a cat\n\"b, c.png\", dog \n").unwrap();
        let samples = from_table(folder.path(), &table).unwrap();
        let labels: Vec<_> = samples.iter().map(|sample| &*sample.label).collect();
        assert_eq!(labels, ["a cat", "dog"]);
        for (text, part) in [
            ("a.png,cat\nnone.png,dog\n", ":2: there is no file"),
            ("a.png\n", ":1: expected 2 columns"),
            ("a.png,\n", ":1: the label is empty"),
            ("file,label\n", "no line"),
        ] {
            std::fs::write(&table, text).unwrap();
            let error = from_table(folder.path(), &table).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
