//! What is wrong with a pipeline file: where, what was expected, what is nearest.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use omnizap_contract::common::names::suggestion;

/// The name and text of a file, so that a byte offset can be shown to a person; behind it the texts
/// of what the file extends.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// What to call the file in messages.
    pub name: Arc<str>,
    /// All of it, and all of the others.
    pub text: Arc<str>,
    /// Name and first byte of each of the others.
    others: Arc<[(Arc<str>, usize)]>,
}

/// What begins the name of a text that the program brings.
pub const BUILTIN: &str = "builtin:";

/// A place in a text, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'s> {
    /// The file's name.
    pub file: &'s Arc<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl SourceText {
    /// A text under a name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            others: Arc::default(),
        }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Of the file system.
    pub fn read(path: &std::path::Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Ok(Self::new(path.display().to_string(), text))
    }

    /// Puts another text behind these; its first byte.
    pub(super) fn append(&mut self, other: &Self) -> usize {
        // One byte between them: the end of a text is a place of its own.
        let start = self.text.len() + 1;
        self.text = [&*self.text, "\n", &*other.text].concat().into();
        let others = self.others.iter().cloned();
        self.others = others.chain([(other.name.clone(), start)]).collect();
        start
    }

    /// The names of the texts, in their order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.name).chain(self.others.iter().map(|(name, _)| name))
    }

    /// The files behind the first text: what it extends.
    pub fn bases(&self) -> impl Iterator<Item = PathBuf> {
        let names = self.others.iter().map(|(name, _)| name);
        let files = names.filter(|name| !name.starts_with(BUILTIN));
        files.map(|name| PathBuf::from(&**name))
    }

    /// The name of the text that an offset is in.
    #[must_use]
    pub fn file_of(&self, offset: usize) -> &Arc<str> {
        self.part(offset).0
    }

    /// The place of an offset.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place<'_> {
        let (file, text, start) = self.part(offset);
        let before = &text[..self.floor(offset) - start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The name, the text and the first byte of the text that an offset is in.
    fn part(&self, offset: usize) -> (&Arc<str>, &str, usize) {
        let offset = offset.min(self.text.len());
        let parts = self.others.iter().map(|(name, start)| (name, *start));
        let parts: Vec<_> = std::iter::once((&self.name, 0)).chain(parts).collect();
        let after = parts.partition_point(|(_, start)| *start <= offset);
        let (name, start) = parts[after.saturating_sub(1)];
        let end = parts
            .get(after)
            .map_or(self.text.len(), |(_, start)| *start);
        (name, &self.text[start..end], start)
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

    /// The place of its first character.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        self.source.place(self.span.start)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = self.place();
        writeln!(f, "{file}:{line}:{column}: {}", self.message)?;
        let (_, text, _) = self.source.part(self.span.start);
        let text = text.lines().nth(line - 1).unwrap_or_default();
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
    /// Adds a mistake; the same one twice is one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let is_same = |other: &Diagnostic| {
            other.span == diagnostic.span
                && other.message == diagnostic.message
                && other.source.name == diagnostic.source.name
        };
        if !self.0.iter().any(is_same) {
            self.0.push(diagnostic);
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        for diagnostic in other.0 {
            self.push(diagnostic);
        }
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
