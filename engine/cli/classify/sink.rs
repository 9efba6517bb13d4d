//! Where rows go.

use anyhow::anyhow;

use super::lines::Form;
use super::results::{Before, Format, Results};
use super::row::{self, Row};
use super::{ClassifyArgs, print_answer};
use crate::cli::request::is_standard_input;
use crate::cli::{Failure, output};

/// Where rows go.
#[derive(Debug)]
pub(super) enum Sink {
    File(Box<Results>),
    /// Standard output, for programs.
    Rows(Form),
    /// Standard output, as of single files.
    Answers,
}

impl Sink {
    /// The one that the command line says, for rows that are made with these settings.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what contradicts itself; those of [`Results::open`].
    pub(super) fn of(args: &ClassifyArgs, settings: &str) -> Result<Self, Failure> {
        let usage = |message: &str| Err(Failure::Usage(anyhow!("{message}")));
        let Some(out) = &args.out else {
            return Ok(Self::Answers);
        };
        if is_standard_input(out) {
            return match args.format {
                _ if args.resume || args.overwrite => {
                    usage("--resume and --overwrite need a file, --out FILE")
                }
                Some(Format::Parquet) => usage("parquet needs a file, --out FILE.parquet"),
                format => Ok(Self::Rows(format.unwrap_or(Format::Jsonl).form())),
            };
        }
        let format = args.format.map_or_else(|| Format::of(out), Ok)?;
        let before = match (args.resume, args.overwrite) {
            (true, _) => Before::Resume {
                retries: args.retry_failed,
            },
            (false, true) => Before::Overwrite,
            (false, false) => Before::Refuse,
        };
        let results = Results::open(out, format, before, settings)?;
        Ok(Self::File(Box::new(results)))
    }

    /// Writes what comes before the first row.
    ///
    /// # Errors
    /// None that is known of.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        if let Self::Rows(Form::Csv) = self {
            out!("{}", String::from_utf8_lossy(&row::header()?));
        }
        Ok(())
    }

    /// True where rows hold the whole answer.
    pub(super) fn keeps_answers(&self) -> bool {
        match self {
            Self::File(results) => results.keeps_answers(),
            Self::Rows(form) => *form == Form::Json,
            Self::Answers => true,
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&mut self, row: &Row, args: &ClassifyArgs) -> anyhow::Result<()> {
        match (self, &row.fault, &row.answer) {
            (Self::File(results), _, _) => results.add(row)?,
            (Self::Rows(Form::Json), _, _) => out!("{}", row.line()),
            (Self::Rows(Form::Csv), _, _) => out!("{}", String::from_utf8_lossy(&row.record()?)),
            (Self::Answers, Some(fault), _) => {
                errln!(
                    "error: {}: {}",
                    output::on_one_line(&row.path),
                    fault.message
                )
            }
            (Self::Answers, None, Some(answer)) => print_answer(&row.path, answer, args.json),
            (Self::Answers, None, None) => {}
        }
        Ok(())
    }
}
