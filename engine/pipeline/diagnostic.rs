//! What is wrong with a pipeline file: where, what was expected, what is nearest.

mod excerpt;
mod source;

use std::fmt;
use std::ops::Range;

use omnizap_contract::common::names::suggestion;

pub(crate) use self::excerpt::quoted;
pub(super) use self::excerpt::{MAX_QUOTED, shortened};
use self::excerpt::{excerpt, without_texts};
pub(super) use self::source::SAVE_AS_UTF8;
pub use self::source::{BUILTIN, Place, SourceText};

/// Most characters of a message, and of the way out.
const MAX_MESSAGE: usize = 2000;

/// Most mistakes that are told of at once; of the rest it is told how many they are.
const MAX_MISTAKES: usize = 256;

/// One mistake in a file.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    source: SourceText,
    span: Range<usize>,
    message: String,
    help: Option<String>,
    shown: Shown,
}

/// What is shown of the line that a mistake is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    All,
    /// All but what is in quotes: whether that is a secret is not known.
    WithoutTexts,
    /// Nothing: it holds a secret.
    Nothing,
}

/// What a key may hold of which nothing is known but its name, and which is not shown then.
const SECRET_WORDS: [&str; 6] = ["key", "token", "secret", "pass", "credential", "auth"];

impl Diagnostic {
    /// A mistake at a span of bytes. The message is in lower case and says what
    /// was found and what was expected; one that is far too long loses its middle.
    #[must_use]
    pub fn new(source: &SourceText, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            source: source.clone(),
            span,
            message: shortened(&message.into(), MAX_MESSAGE).into_owned(),
            help: None,
            shown: Shown::All,
        }
    }

    /// The same mistake, whose line is shown without its texts: for one that is not about them, in
    /// a file of which it is not known what is secret.
    #[must_use]
    pub(super) fn without_texts(mut self) -> Self {
        self.shown = Shown::WithoutTexts;
        self
    }

    /// The same mistake, whose line is not shown where one of its keys is called as secrets are:
    /// for a file of which it is not known what is secret.
    #[must_use]
    pub(super) fn without_likely_secrets(mut self) -> Self {
        let parts: Vec<&str> = self.line().0.split('=').collect();
        let keys = parts.split_last().map_or(&[][..], |(_, keys)| keys);
        let is_likely = keys.iter().any(|before| {
            let key = before.trim_end().trim_end_matches(['"', '\'']);
            let mut words = key.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
            let key = words.next().unwrap_or_default().to_lowercase();
            SECRET_WORDS.iter().any(|word| key.contains(word))
        });
        if is_likely {
            self.shown = Shown::Nothing;
        }
        self
    }

    /// The same mistake, whose line is not shown where one of these places is a part of it: they
    /// hold secrets.
    pub(super) fn conceal(&mut self, secrets: &[Range<usize>]) {
        let text = &self.source.text;
        let start = self.span.start.min(text.len());
        let before = text.get(..start).and_then(|text| text.rfind('\n'));
        let from = before.map_or(0, |newline| newline + 1);
        let behind = text.get(start..).and_then(|text| text.find('\n'));
        let to = behind.map_or(text.len(), |newline| start + newline);
        let is_secret = |secret: &Range<usize>| secret.start <= to && secret.end >= from;
        if secrets.iter().any(is_secret) {
            self.shown = Shown::Nothing;
        }
    }

    /// The same mistake with a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(&help.into(), MAX_MESSAGE).into_owned());
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

    /// What is wrong, in a line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line of its first character, and the bytes of it that are marked.
    fn line(&self) -> (&str, Range<usize>) {
        let (_, text, part) = self.source.part(self.span.start);
        let start = self.source.floor(self.span.start) - part;
        let end = self.source.floor(self.span.end).saturating_sub(part);
        let from = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[from..].lines().next().unwrap_or_default();
        let within = |at: usize| at.saturating_sub(from).min(line.len());
        (line, within(start)..within(end.max(start)))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = self.place();
        write!(f, "{file}:{line}:{column}: {}", self.message)?;
        let gutter = line.to_string().len();
        let (text, marked) = self.line();
        let excerpt = match self.shown {
            Shown::All => Some(excerpt(text, marked)),
            Shown::WithoutTexts => {
                let before = without_texts(&text[..marked.start]);
                let rest = without_texts(&text[marked.end..]);
                let line = [&*before, &text[marked.clone()], &*rest].concat();
                let start = before.len();
                Some(excerpt(&line, start..start + marked.len()))
            }
            Shown::Nothing => None,
        };
        if let Some(shown) = excerpt {
            write!(f, "\n{line} | {}", shown.line)?;
            write!(f, "\n{:gutter$} | {}", "", shown.carets)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = {help}", "")?;
        }
        Ok(())
    }
}

/// The mistakes that were found, in the order of the files and their lines.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    told: Vec<Diagnostic>,
    /// How many more there are.
    untold: usize,
}

impl Diagnostics {
    /// Adds a mistake; the same one twice is one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.told.len() == MAX_MISTAKES {
            self.untold += 1;
            return;
        }
        let is_same = |other: &Diagnostic| {
            other.span == diagnostic.span
                && other.message == diagnostic.message
                && other.source.name == diagnostic.source.name
        };
        if !self.told.iter().any(is_same) {
            self.told.push(diagnostic);
        }
    }

    /// Shows no line of that file, or of what it extends, of which one of these places is a part:
    /// they hold secrets.
    pub(super) fn conceal(&mut self, source: &SourceText, secrets: &[Range<usize>]) {
        let of_file = self.told.iter_mut();
        for diagnostic in of_file.filter(|it| it.source.name == source.name) {
            diagnostic.conceal(secrets);
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        self.untold += other.untold;
        for diagnostic in other.told {
            self.push(diagnostic);
        }
    }

    /// True where nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.told.len() + self.untold
    }

    /// The mistakes, by position within each file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<_> = self.told.iter().collect();
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
        if self.untold > 0 {
            writeln!(f, "and {} more\n", self.untold)?;
        }
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.len())
    }
}

impl std::error::Error for Diagnostics {}
