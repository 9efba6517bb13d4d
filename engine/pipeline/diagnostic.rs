//! What is wrong with a pipeline file: where, what was expected, what is nearest.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The name and text of a file, so that a byte offset can be shown to a person.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// What to call the file in messages.
    pub name: Arc<str>,
    /// All of it.
    pub text: Arc<str>,
}

impl SourceText {
    /// A text under a name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.floor(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// One mistake in a file.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    source: SourceText,
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a span of bytes. The message is in lower case and says what
    /// was found and what was expected.
    #[must_use]
    pub fn new(source: &SourceText, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            source: source.clone(),
            span,
            message: message.into(),
            help: None,
        }
    }

    /// The same mistake with a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same mistake with the nearest of the valid names, or all of them.
    #[must_use]
    pub fn nearest<'a>(self, given: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        match suggestion(given, valid) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Line and column of its first character, from 1.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        self.source.position(self.span.start)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position();
        writeln!(f, "{}:{line}:{column}: {}", self.source.name, self.message)?;
        let text = self.source.text.lines().nth(line - 1).unwrap_or_default();
        let gutter = line.to_string().len();
        writeln!(f, "{line} | {text}")?;
        let start = self.source.floor(self.span.start);
        let end = self.source.floor(self.span.end).max(start);
        let marked = self.source.text[start..end]
            .lines()
            .next()
            .unwrap_or_default();
        let carets = "^".repeat(marked.chars().count().max(1));
        write!(
            f,
            "{:gutter$} | {:indent$}{carets}",
            "",
            "",
            indent = column - 1
        )?;
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = {help}", "")?;
        }
        Ok(())
    }
}

/// Every mistake that was found, in the order of the files and their lines.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// True where nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The mistakes, by position within each file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|diagnostic| (diagnostic.source.name.clone(), diagnostic.span.start));
        sorted.into_iter()
    }

    /// `Ok` where nothing is wrong, else this list.
    ///
    /// # Errors
    /// The list itself.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.iter() {
            writeln!(f, "{diagnostic}\n")?;
        }
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.len())
    }
}

impl std::error::Error for Diagnostics {}

/// Similarity (Jaro-Winkler) from which a name counts as a misspelling of another.
const NEAR: f64 = 0.72;

/// The valid name that was probably meant.
#[must_use]
pub fn nearest<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    valid
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// "did you mean" for a near miss, "expected one of" for anything else.
#[must_use]
pub fn suggestion<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut names: Vec<_> = valid.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match nearest(given, names.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if names.is_empty() => None,
        None => Some(format!("expected one of: {}", names.join(", "))),
    }
}
