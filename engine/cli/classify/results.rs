//! A file of results: rows that are added one by one, and the form in which they are left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;

use super::columns::{self, Columns};
use super::lines::{Entry, Form, Lines, replace};
use super::row::Row;
use crate::cli::Failure;

/// How a file of results is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line, with the whole answer
    Jsonl,
    /// Comma-separated values, as spreadsheets read them
    Csv,
    /// Apache Parquet, as data frames read it
    Parquet,
}

/// What is done with a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It is left alone, and nothing is done.
    Refuse,
    /// It is gone on with; where there is none, one is begun.
    Resume {
        /// Rows of files that could not be classified are dropped, so that they are tried again.
        retries: bool,
    },
    /// Another takes its place.
    Overwrite,
}

/// A file of results.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    format: Format,
    /// The rows, in a file of their own where nothing can be added to that of the results.
    lines: Lines,
}

impl Format {
    /// The one that the ending of a file stands for.
    ///
    /// # Errors
    /// [`Failure::Usage`] for other endings.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Failure::Usage(anyhow!(
                "{}: expected a name that ends in .jsonl, .csv or .parquet, or --format \
                 with one of these",
                path.display()
            ))),
        }
    }

    /// How rows are written that are added one by one.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Csv => Form::Csv,
            Self::Jsonl | Self::Parquet => Form::Json,
        }
    }
}

impl Results {
    /// Opens a file of results for rows that are made with these settings.
    ///
    /// # Errors
    /// [`Failure::Usage`] where something is there that is to be left alone, or that is not gone on
    /// with; a file that cannot be written.
    pub(super) fn open(
        path: &Path,
        format: Format,
        before: Before,
        settings: &str,
    ) -> Result<Self, Failure> {
        // What a link leads to is written, and the link stays.
        let linked = path.is_symlink().then(|| path.canonicalize().ok());
        let path = linked.flatten().unwrap_or_else(|| path.to_owned());
        let there = std::fs::metadata(&path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return Err(Failure::Usage(anyhow!(
                "{} is no file that rows can be added to: name another, or - for standard output",
                path.display()
            )));
        }
        let is_done = there.is_some_and(|there| there.len() > 0);
        let rows = match format {
            Format::Jsonl | Format::Csv => path.clone(),
            Format::Parquet => part_of(&path),
        };
        let is_begun = std::fs::metadata(&rows).is_ok_and(|rows| rows.len() > 0);
        if before == Before::Refuse && (is_done || is_begun) {
            let (there, what) = if is_begun && rows != path {
                (&rows, "is there, of a run that did not end")
            } else {
                (&path, "is there already")
            };
            return Err(Failure::Usage(anyhow!(
                "{} {what}: --resume goes on with it, --overwrite begins anew, or name another \
                 file",
                there.display()
            )));
        }
        let mut lines = Lines::open(&rows, format.form())?;
        match before {
            Before::Refuse => {}
            Before::Overwrite => {
                lines.clear()?;
                if rows != path && is_done {
                    let removed = std::fs::remove_file(&path);
                    removed.with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
            Before::Resume { retries } => {
                if rows != path && is_done && lines.is_empty() {
                    drop(lines);
                    take_apart(&path, &rows)?;
                    lines = Lines::open(&rows, format.form())?;
                }
                lines.load(settings).map_err(Failure::Usage)?;
                if retries {
                    lines.tidy(|entry| entry.is_ok)?;
                }
            }
        }
        Ok(Self {
            path,
            format,
            lines,
        })
    }

    /// The rows that are there.
    pub(super) fn entries(&self) -> &[Entry] {
        self.lines.entries()
    }

    /// True where rows hold the whole answer.
    pub(super) fn keeps_answers(&self) -> bool {
        self.format == Format::Jsonl
    }

    /// Adds a row, which is in the file before this returns.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        self.lines.add(row)
    }

    /// Waits until what is there is on the disk. More may be added by another run.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn pause(&self) -> anyhow::Result<()> {
        self.lines.sync()
    }

    /// Leaves all rows in the order of their paths, on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if self.format != Format::Parquet {
            self.lines.tidy(|_| true)?;
            return self.lines.sync();
        }
        replace(&self.path, |file| {
            let mut columns = Columns::new(file)?;
            self.lines.each(|row| columns.add(row))?;
            columns.finish()
        })?;
        // Last: until then the rows are what a run goes on with.
        let rows = part_of(&self.path);
        std::fs::remove_file(&rows).with_context(|| format!("cannot remove {}", rows.display()))
    }
}

/// Where the rows are that become a file as a whole.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Makes the rows of a file that is whole into one to which rows can be added.
fn take_apart(path: &Path, rows: &Path) -> Result<(), Failure> {
    use std::io::Write as _;
    replace(rows, |file| {
        let context = || format!("{} cannot be gone on with", path.display());
        columns::read(path, |row| Ok(file.write_all(row.line().as_bytes())?)).with_context(context)
    })
    .map_err(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str) -> Row {
        Row {
            path: path.into(),
            settings: "12".into(),
            ..Row::default()
        }
    }

    fn open(path: &Path, before: Before) -> Result<Results, String> {
        let format = Format::of(path).map_err(said)?;
        Results::open(path, format, before, "12").map_err(said)
    }

    fn said(failure: Failure) -> String {
        match failure {
            Failure::Usage(error) => format!("usage: {error:#}"),
            Failure::Config(error) | Failure::Work(error) => format!("{error:#}"),
        }
    }

    const RESUME: Before = Before::Resume { retries: false };

    #[test]
    fn what_is_there_is_never_overwritten_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        for ending in ["jsonl", "csv", "parquet"] {
            let path = folder.path().join(format!("a.{ending}"));
            std::fs::write(&path, "").unwrap();
            let mut results = open(&path, Before::Refuse).unwrap();
            results.add(&row("b")).unwrap();
            drop(results);
            let error = open(&path, Before::Refuse).unwrap_err();
            assert!(error.contains("--resume goes on with it"), "{error}");
            let mut results = open(&path, RESUME).unwrap();
            results.add(&row("a")).unwrap();
            results.finish().unwrap();
            let error = open(&path, Before::Refuse).unwrap_err();
            assert!(error.contains("is there already"), "{error}");
            // Also one that is whole is gone on with.
            let mut results = open(&path, RESUME).unwrap();
            let paths: Vec<_> = results.entries().iter().map(|it| &*it.path).collect();
            assert_eq!(paths, ["a", "b"]);
            results.add(&row("aa")).unwrap();
            results.finish().unwrap();
            let results = open(&path, RESUME).unwrap();
            let paths: Vec<_> = results.entries().iter().map(|it| &*it.path).collect();
            assert_eq!(paths, ["a", "aa", "b"]);
            drop(results);
            let results = open(&path, Before::Overwrite).unwrap();
            assert!(results.entries().is_empty());
        }
    }

    #[test]
    fn the_ending_says_the_format() {
        let format = |name: &str| Format::of(Path::new(name)).map_err(said);
        assert_eq!(format("a.b.NDJSON"), Ok(Format::Jsonl));
        assert!(
            format("results.json")
                .unwrap_err()
                .contains(".jsonl, .csv or .parquet")
        );
        let folder = tempfile::tempdir().unwrap();
        let error = Results::open(folder.path(), Format::Csv, RESUME, "12").map_err(said);
        assert!(error.unwrap_err().contains("is no file"));
    }
}
