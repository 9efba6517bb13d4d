//! Rows as a Parquet file, one column after the other: other programs read it at once, and nothing
//! can be added to it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value as Json};

use super::row::{COLUMNS, Fault, Row};

/// Rows that are in memory at a time.
const GROUP: usize = 10_000;

/// The columns of [`COLUMNS`].
const SCHEMA: &str = "
message row {
  REQUIRED BYTE_ARRAY path (UTF8);
  REQUIRED BOOLEAN ok;
  OPTIONAL BYTE_ARRAY error_code (UTF8);
  OPTIONAL BYTE_ARRAY error (UTF8);
  OPTIONAL BYTE_ARRAY label (UTF8);
  OPTIONAL DOUBLE confidence;
  REQUIRED group labels (LIST) {
    REPEATED group list {
      REQUIRED group element {
        REQUIRED BYTE_ARRAY label (UTF8);
        REQUIRED DOUBLE score;
      }
    }
  }
  OPTIONAL BOOLEAN nsfw;
  OPTIONAL DOUBLE nsfw_score;
  OPTIONAL BYTE_ARRAY image_hash (UTF8);
  REQUIRED BYTE_ARRAY settings (UTF8);
}";

/// A file that is being written.
pub(super) struct Columns<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Vec<Row>,
}

impl<W: Write + Send> Columns<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn new(to: W) -> anyhow::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = Arc::new(WriterProperties::builder().build());
        Ok(Self {
            writer: SerializedFileWriter::new(to, schema, properties)?,
            rows: Vec::new(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn add(&mut self, row: Row) -> anyhow::Result<()> {
        self.rows.push(row);
        if self.rows.len() == GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        self.writer.close()?;
        Ok(())
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group()?;
        let to = &mut group;
        let fault = |of: fn(&Fault) -> &String| {
            let faults = rows.iter().map(move |row| row.fault.as_ref().map(of));
            faults.map(text)
        };
        // In the order of the schema.
        required::<ByteArrayType, _>(to, rows.iter().map(|row| ByteArray::from(&*row.path)))?;
        required::<BoolType, _>(to, rows.iter().map(|row| row.fault.is_none()))?;
        optional::<ByteArrayType, _>(to, fault(|fault| &fault.code))?;
        optional::<ByteArrayType, _>(to, fault(|fault| &fault.message))?;
        optional::<ByteArrayType, _>(to, rows.iter().map(|row| text(row.label.as_ref())))?;
        optional::<DoubleType, _>(to, rows.iter().map(|row| row.confidence))?;
        write_lists(to, &rows)?;
        optional::<BoolType, _>(to, rows.iter().map(|row| row.is_nsfw))?;
        optional::<DoubleType, _>(to, rows.iter().map(|row| row.nsfw_score))?;
        optional::<ByteArrayType, _>(to, rows.iter().map(|row| text(row.image_hash.as_ref())))?;
        required::<ByteArrayType, _>(to, rows.iter().map(|row| ByteArray::from(&*row.settings)))?;
        group.close()?;
        Ok(())
    }
}

type Group<'a, W> = SerializedRowGroupWriter<'a, W>;

fn text(text: Option<&String>) -> Option<ByteArray> {
    text.map(|text| ByteArray::from(text.as_str()))
}

/// The labels and their scores: where a list begins is repetition level 0, and one without an
/// element has definition level 0.
fn write_lists<W: Write + Send>(to: &mut Group<'_, W>, rows: &[Row]) -> anyhow::Result<()> {
    let (mut defined, mut repeated) = (Vec::new(), Vec::new());
    for row in rows {
        defined.extend((0..row.labels.len().max(1)).map(|_| i16::from(!row.labels.is_empty())));
        repeated.extend((0..row.labels.len().max(1)).map(|at| i16::from(at > 0)));
    }
    let all = || rows.iter().flat_map(|row| &row.labels);
    let labels: Vec<_> = all().map(|(label, _)| ByteArray::from(&**label)).collect();
    let scores: Vec<_> = all().map(|(_, score)| *score).collect();
    write::<ByteArrayType, W>(to, &labels, Some(&defined), Some(&repeated))?;
    write::<DoubleType, W>(to, &scores, Some(&defined), Some(&repeated))
}

fn required<T: DataType, W: Write + Send>(
    to: &mut Group<'_, W>,
    values: impl Iterator<Item = T::T>,
) -> anyhow::Result<()> {
    let values: Vec<T::T> = values.collect();
    write::<T, W>(to, &values, None, None)
}

fn optional<T: DataType, W: Write + Send>(
    to: &mut Group<'_, W>,
    values: impl Iterator<Item = Option<T::T>>,
) -> anyhow::Result<()> {
    let values: Vec<Option<T::T>> = values.collect();
    let defined = values.iter().map(|value| i16::from(value.is_some()));
    let defined: Vec<i16> = defined.collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    write::<T, W>(to, &values, Some(&defined), None)
}

fn write<T: DataType, W: Write + Send>(
    to: &mut Group<'_, W>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) -> anyhow::Result<()> {
    let column = to.next_column()?;
    let mut column = column.context("there are more columns than the schema has")?;
    column.typed::<T>().write_batch(values, defined, repeated)?;
    column.close()?;
    Ok(())
}

/// Reads the rows of a file, one by one.
///
/// # Errors
/// Any file but one that [`Columns`] wrote.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(Row) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields().iter().map(|field| field.name());
    ensure!(
        columns.eq(COLUMNS),
        "its columns are not {}",
        COLUMNS.join(",")
    );
    for row in reader.get_row_iter(None)? {
        let row = json(&Field::Group(row?));
        take(Row::read(&row).context("its columns are of other types")?)?;
    }
    Ok(())
}

fn json(field: &Field) -> Json {
    match field {
        Field::Bool(value) => Json::from(*value),
        Field::Double(value) => Json::from(*value),
        Field::Str(value) => Json::from(value.as_str()),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::Group(row) => {
            let fields = row.get_column_iter();
            let fields: Map<String, Json> = fields
                .map(|(name, field)| (name.clone(), json(field)))
                .collect();
            Json::Object(fields)
        }
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let mut rows = Vec::new();
        for number in 0..=GROUP {
            let labels = (0..number % 3).map(|at| (format!("label {at}"), at as f64 / 8.0));
            let is_ok = !number.is_multiple_of(5);
            let fault = Fault {
                code: "broken".into(),
                message: format!("broken at {number}"),
            };
            rows.push(Row {
                path: format!("{number:05}.png"),
                fault: (!is_ok).then_some(fault),
                label: is_ok.then(|| "a cat".into()),
                confidence: is_ok.then_some(0.1 * number as f64),
                labels: labels.collect(),
                is_nsfw: is_ok.then_some(number.is_multiple_of(2)),
                nsfw_score: is_ok.then_some(1.0 / (number as f64)),
                image_hash: None,
                settings: "12".into(),
                answer: None,
            });
        }
        let mut columns = Columns::new(File::create(&path).unwrap()).unwrap();
        for row in &rows {
            columns.add(row.clone()).unwrap();
        }
        columns.finish().unwrap();
        let mut found = Vec::new();
        read(&path, |row| {
            found.push(row);
            Ok(())
        })
        .unwrap();
        assert!(found == rows, "{:?}", found.first());
        std::fs::write(&path, "PAR1").unwrap();
        assert!(read(&path, |_| Ok(())).is_err());
    }
}
