//! What commands say: answers on standard output, all else on standard error.
//!
//! Either may have nobody who reads it (`omnizap graph | head`), or no room. A command that changes
//! something goes on all the same, and never panics: what cannot be written to standard output is
//! remembered until the end, which tells it, and what cannot be written to standard error is lost.
//!
//! Colours and bars are for terminals that take them, and for people who want them: [`takes_colours`],
//! [`bar`]. A [`Table`] has its columns under each other, or tabs between its cells for programs.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget};
use unicode_width::UnicodeWidthStr as _;

/// Why standard output took no more: from then on nothing is written to it.
static FAULT: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output, with a new line.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!($($text)*), "\n")
    };
}

/// Prints to standard output.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!($($text)*), "")
    };
}

/// Prints to standard error, with a new line.
macro_rules! errln {
    ($($text:tt)*) => {
        $crate::cli::output::tell(format_args!($($text)*), "\n")
    };
}

/// Prints to standard error.
macro_rules! err {
    ($($text:tt)*) => {
        $crate::cli::output::tell(format_args!($($text)*), "")
    };
}

pub(super) fn print(text: fmt::Arguments<'_>, end: &str) {
    if is_closed() {
        return;
    }
    let text = format!("{text}{end}");
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        let _ = FAULT.set(error);
    }
}

pub(super) fn tell(text: fmt::Arguments<'_>, end: &str) {
    // In one piece, so that another process does not write into the middle of it.
    let text = format!("{text}{end}");
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// True once nobody takes what is printed: long work for nothing else may end.
pub(super) fn is_closed() -> bool {
    FAULT.get().is_some()
}

/// The end of a command that ended so. Whoever closed the pipe has had enough, and that is all; a
/// disk that is full is told, or a file without its end would pass for the answer.
pub(super) fn ended(code: ExitCode) -> ExitCode {
    flush();
    match FAULT.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            errln!("error: standard output could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Gives what was printed to whoever reads it now, also where no line ended.
pub(super) fn flush() {
    if !is_closed()
        && let Err(error) = io::stdout().flush()
    {
        let _ = FAULT.set(error);
    }
}

/// True where colours are wanted (<https://no-color.org>) and the stream takes them.
pub(super) fn takes_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && may_colour()
}

/// False where nobody wants colours, whatever they are written to.
pub(super) fn may_colour() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_unwanted && !is_dumb()
}

/// True for a terminal that knows no escape sequences.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|kind| kind == "dumb")
}

/// A bar on standard error, where that is a terminal on which it can move.
pub(super) fn bar(bar: ProgressBar) -> ProgressBar {
    if is_dumb() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// A table: heads, rows, and the columns that stand to the right, as numbers do.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
    right: [bool; N],
}

impl<const N: usize> Table<N> {
    /// One without rows. A head that begins with `>` is of a column that stands to the right.
    pub(super) fn new(heads: [&str; N]) -> Self {
        let right = heads.map(|head| head.starts_with('>'));
        let heads = heads.map(|head| head.trim_start_matches('>').to_owned());
        Self {
            rows: vec![heads],
            right,
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: [String; N]) {
        self.rows.push(row.map(|cell| on_one_line(&cell)));
    }

    /// Its lines; where `plain`, with a tab between two cells and nothing else.
    pub(super) fn lines(&self, plain: bool) -> Vec<String> {
        if plain {
            return self.rows.iter().map(|row| row.join("\t")).collect();
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |row: &[String; N]| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.width());
                let (before, behind) = if self.right[column] {
                    (gap.as_str(), "")
                } else {
                    ("", gap.as_str())
                };
                let space = if column == 0 { "" } else { "  " };
                line.push_str(&[space, before, cell.as_str(), behind].concat());
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints them.
    pub(super) fn print(&self, plain: bool) {
        for line in self.lines(plain) {
            outln!("{line}");
        }
    }
}

/// A text that begins no line of its own and moves no cursor: names may come from elsewhere.
pub(super) fn on_one_line(text: &str) -> String {
    let is_blank = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    text.replace(is_blank, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_for_people_or_for_programs() {
        let mut table = Table::new(["NAME", ">N", "WHERE"]);
        table.add(["a".into(), "10".into(), "/x".into()]);
        table.add(["bätter".into(), "7".into(), "b\tc\u{1b}[2J\nd".into()]);
        let lines = table.lines(false);
        let expected = [
            "NAME     N  WHERE",
            "a       10  /x",
            "bätter   7  b c [2J d",
        ];
        assert_eq!(lines, expected);
        let plain = table.lines(true);
        let expected = ["NAME\tN\tWHERE", "a\t10\t/x", "bätter\t7\tb c [2J d"];
        assert_eq!(plain, expected);
    }

    #[test]
    fn what_is_no_terminal_takes_no_colours() {
        let file = tempfile::tempfile().unwrap();
        assert!(!takes_colours(&file));
    }
}
