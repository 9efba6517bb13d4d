//! Rows in a file that grows by one whole row at a time, so that whatever ends the program leaves
//! all that was done: what is torn at its end is cut off when it is opened again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{
    BufRead, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::Value as Json;

use super::row::{self, COLUMNS, Row};

/// Longest row that is read, in bytes.
const MAX_ROW: usize = 64 << 20;

/// What every row in JSON begins with.
const FIRST_KEY: &[u8] = b"{\"path\":";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

/// A row that is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) is_ok: bool,
    /// The best one, where there is one.
    pub(super) label: Option<String>,
    at: u64,
    len: u64,
}

/// An open file of rows, which no other process writes to.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    path: PathBuf,
    form: Form,
    /// Bytes that are whole rows.
    len: u64,
    entries: Vec<Entry>,
}

impl Lines {
    /// Opens the file, and makes it where there is none. It is not read yet.
    ///
    /// # Errors
    /// One that cannot be opened, or that another process writes to.
    pub(super) fn open(path: &Path, form: Form) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        // Where the file system has no locks, nobody is kept out.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let path = path.display();
            bail!("{path} is being written by another process: wait for its end");
        }
        Ok(Self {
            len: file.metadata()?.len(),
            file,
            path: path.to_owned(),
            form,
            entries: Vec::new(),
        })
    }

    /// True where there is nothing in the file.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows that are in the file.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Leaves nothing in the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        self.cut(0)?;
        self.entries.clear();
        Ok(())
    }

    /// Reads which rows are there, and cuts off one that is torn.
    ///
    /// # Errors
    /// A file that holds anything but rows that were made with these settings.
    pub(super) fn load(&mut self, settings: &str) -> anyhow::Result<()> {
        let path = self.path.display().to_string();
        let (len, entries) = self
            .scan(settings)
            .with_context(|| format!("{path} cannot be gone on with"))?;
        if len < self.len {
            self.cut(len)?;
        }
        self.entries = entries;
        Ok(())
    }

    fn scan(&self, settings: &str) -> anyhow::Result<(u64, Vec<Entry>)> {
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(0))?;
        let (mut at, mut entries, mut record) = (0, Vec::new(), Vec::new());
        if self.form == Form::Csv {
            let header = row::header()?;
            if !next(&mut reader, self.form, &mut record)? && header.starts_with(&record) {
                return Ok((0, entries));
            }
            let expected = COLUMNS.join(",");
            ensure!(record == header, "its first line is not {expected}");
            at = header.len() as u64;
        }
        while next(&mut reader, self.form, &mut record)? {
            let number = entries.len() + 1;
            let (mut entry, made_with) = self
                .form
                .entry(&record)
                .ok_or_else(|| anyhow!("row {number} is none of `omnizap classify`"))?;
            ensure!(
                made_with == settings,
                "row {number} was made with other settings (the pipeline, its options, fields such \
                 as labels, or --omit): take the same ones, or --overwrite to begin anew"
            );
            (entry.at, entry.len) = (at, record.len() as u64);
            at += entry.len;
            entries.push(entry);
        }
        let is_ours = match self.form {
            Form::Json => record.starts_with(FIRST_KEY) || FIRST_KEY.starts_with(&record),
            Form::Csv => true,
        };
        ensure!(is_ours, "its end is no row of `omnizap classify`");
        Ok((at, entries))
    }

    /// Adds a row. It is in the file before this returns, or nothing of it is.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        let record = match self.form {
            Form::Json => row.line().into_bytes(),
            Form::Csv => row.record()?,
        };
        let header = match self.form {
            Form::Csv if self.is_empty() => row::header()?,
            _ => Vec::new(),
        };
        let (at, len) = (self.len + header.len() as u64, record.len() as u64);
        // In one piece: what ends the program then finds it whole.
        if let Err(error) = self.file.write_all(&[header, record].concat()) {
            let _ = self.file.set_len(self.len);
            let path = self.path.display();
            return Err(anyhow!(error).context(format!("cannot write {path}")));
        }
        self.len = at + len;
        self.entries.push(Entry {
            path: row.path.clone(),
            is_ok: row.fault.is_none(),
            label: row.label.clone(),
            at,
            len,
        });
        Ok(())
    }

    /// Leaves those rows only that are to be kept, in the order of their paths. At each moment the
    /// file is as before, or as it is to be.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn tidy(&mut self, keep: impl Fn(&Entry) -> bool) -> anyhow::Result<()> {
        let is_tidy = self.entries.is_sorted_by(|a, b| a.path <= b.path);
        if is_tidy && self.entries.iter().all(&keep) {
            return Ok(());
        }
        let mut kept: Vec<Entry> = self.entries.iter().filter(|it| keep(it)).cloned().collect();
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        let header = match self.form {
            Form::Json => Vec::new(),
            Form::Csv => row::header()?,
        };
        let mut len = header.len() as u64;
        replace(&self.path, |new| {
            new.write_all(&header)?;
            for entry in &mut kept {
                new.write_all(&self.bytes(entry)?)?;
                entry.at = len;
                len += entry.len;
            }
            Ok(())
        })?;
        *self = Self {
            entries: kept,
            ..Self::open(&self.path, self.form)?
        };
        Ok(())
    }

    /// The rows in the order of their paths, read one by one.
    ///
    /// # Errors
    /// Those of the file system, and of whoever takes them.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in entries {
            let row: Json = serde_json::from_slice(&self.bytes(entry)?)?;
            take(Row::read(&row).context("the file was changed meanwhile")?)?;
        }
        Ok(())
    }

    fn bytes(&self, entry: &Entry) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(entry.len)?];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(entry.at))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn cut(&mut self, len: u64) -> anyhow::Result<()> {
        let cut = self.file.set_len(len);
        cut.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.len = len;
        Ok(())
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Form {
    /// The row that a record holds, whose place is to be filled in, and its settings.
    fn entry(self, record: &[u8]) -> Option<(Entry, String)> {
        let (path, is_ok, label, settings) = match self {
            Self::Json => {
                let row: Json = serde_json::from_slice(record).ok()?;
                let text = |field: &str| row[field].as_str().map(str::to_owned);
                let is_ok = row["ok"].as_bool()?;
                (text("path")?, is_ok, text("label"), text("settings")?)
            }
            Self::Csv => {
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.has_headers(false).buffer_capacity(record.len());
                let fields = reader.from_reader(record).into_records().next()?.ok()?;
                let field = |name: &str| {
                    let column = COLUMNS.iter().position(|column| *column == name)?;
                    fields.get(column).map(str::to_owned)
                };
                let is_ok = field("ok")?.parse().ok()?;
                let label = field("label").filter(|label| !label.is_empty());
                (field("path")?, is_ok, label, field("settings")?)
            }
        };
        let entry = Entry {
            path,
            is_ok,
            label,
            at: 0,
            len: 0,
        };
        Some((entry, settings))
    }
}

/// Reads the next record with its end. False where there is none, or where what is left is torn,
/// which the record then is.
fn next(reader: &mut impl BufRead, form: Form, record: &mut Vec<u8>) -> std::io::Result<bool> {
    record.clear();
    let mut quotes = 0_usize;
    loop {
        let begun = record.len();
        let room = MAX_ROW - begun;
        reader
            .by_ref()
            .take(room as u64)
            .read_until(b'\n', record)?;
        let read = &record[begun..];
        let has_end = read.ends_with(b"\n");
        if !has_end && record.len() == MAX_ROW {
            let message = format!("a row is longer than {MAX_ROW} bytes");
            return Err(std::io::Error::new(ErrorKind::InvalidData, message));
        }
        quotes += memchr::memchr_iter(b'"', read).count();
        // A field in quotes may hold ends of lines.
        if !has_end || form == Form::Json || quotes.is_multiple_of(2) {
            return Ok(has_end);
        }
    }
}

/// Makes a file anew: at each moment it is as before, or as it is to be.
///
/// # Errors
/// Those of the file system, and of whoever writes it.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let name = path.file_name().with_context(context)?.to_string_lossy();
    // Always the same one: what was left of it by a program that was killed is taken over.
    let new = path.with_file_name(format!(".{name}.new"));
    let file = File::create(&new).with_context(context)?;
    if let Ok(before) = std::fs::metadata(path) {
        let _ = file.set_permissions(before.permissions());
    }
    let mut writer = BufWriter::new(&file);
    let written = write(&mut writer);
    let written = written.and_then(|()| Ok(writer.flush()?));
    drop(writer);
    if let Err(error) = written {
        let _ = std::fs::remove_file(&new);
        return Err(error.context(context()));
    }
    file.sync_all().with_context(context)?;
    std::fs::rename(&new, path).with_context(context)?;
    // The new name is to last too; not every file system can say so.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::row::Fault;
    use super::*;

    const SETTINGS: &str = "12";

    fn row(path: &str, is_ok: bool) -> Row {
        let fault = Fault {
            code: "x".into(),
            message: "two\nlines, and a \"quote\"".into(),
        };
        Row {
            path: path.into(),
            fault: (!is_ok).then_some(fault),
            label: is_ok.then(|| "a \"cat\"\n".into()),
            settings: SETTINGS.into(),
            ..Row::default()
        }
    }

    fn paths(lines: &Lines) -> Vec<&str> {
        lines.entries().iter().map(|entry| &*entry.path).collect()
    }

    #[test]
    fn wherever_the_file_is_torn_the_whole_rows_before_are_there() {
        let folder = tempfile::tempdir().unwrap();
        for form in [Form::Json, Form::Csv] {
            let path = folder.path().join("rows");
            let _ = std::fs::remove_file(&path);
            let mut lines = Lines::open(&path, form).unwrap();
            for (name, is_ok) in [("a\n,\"b", true), ("b", false), ("c\"", true)] {
                lines.add(&row(name, is_ok)).unwrap();
            }
            let whole = lines.entries.clone();
            drop(lines);
            let bytes = std::fs::read(&path).unwrap();
            for cut in 0..=bytes.len() {
                std::fs::write(&path, &bytes[..cut]).unwrap();
                let mut lines = Lines::open(&path, form).unwrap();
                lines.load(SETTINGS).unwrap();
                let there = whole.iter().filter(|it| it.at + it.len <= cut as u64);
                let there: Vec<_> = there.cloned().collect();
                assert_eq!(lines.entries, there, "{form:?} {cut}");
                // What is added goes on behind them.
                for entry in &whole[there.len()..] {
                    lines.add(&row(&entry.path, entry.is_ok)).unwrap();
                }
                drop(lines);
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{form:?} {cut}");
            }
        }
    }

    #[test]
    fn rows_are_put_in_order_and_some_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for form in [Form::Json, Form::Csv] {
            let path = folder.path().join(format!("{form:?}"));
            let mut lines = Lines::open(&path, form).unwrap();
            for name in ["b", "c", "a"] {
                lines.add(&row(name, name != "c")).unwrap();
            }
            lines.tidy(|entry| entry.is_ok).unwrap();
            assert_eq!(paths(&lines), ["a", "b"]);
            lines.add(&row("d", true)).unwrap();
            drop(lines);
            let mut lines = Lines::open(&path, form).unwrap();
            lines.load(SETTINGS).unwrap();
            assert_eq!(paths(&lines), ["a", "b", "d"]);
            let names = std::fs::read_dir(folder.path()).unwrap().count();
            assert!(names <= 2, "nothing is left beside it");
        }
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let other = row("a", true).line().replace("\"12\"", "\"13\"");
        for (form, text, part) in [
            (Form::Json, "hello", "its end is no row"),
            (Form::Json, "hello\n", "row 1 is none"),
            (Form::Json, "{\"path\": 1}\n", "row 1 is none"),
            (Form::Json, &other, "other settings"),
            (Form::Csv, "a,b\n1,2\n", "its first line is not path,ok,"),
            (Form::Csv, "hello", "its first line is not"),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut lines = Lines::open(&path, form).unwrap();
            let error = lines.load(SETTINGS).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(part), "{text}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let lines = Lines::open(&path, Form::Json).unwrap();
        let error = Lines::open(&path, Form::Json).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
        drop(lines);
        Lines::open(&path, Form::Json).unwrap();
    }
}
