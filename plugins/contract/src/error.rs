//! Errors, sorted by what a client may do about them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What went wrong, as far as a client must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is not well-formed: 400.
    Malformed,
    /// The request is over a limit of size: 413.
    TooLarge,
    /// The request is of a type that is not served: 415.
    UnsupportedType,
    /// The request is well-formed and its content is wrong: 422.
    Invalid,
    /// Too much is in flight; the same request may pass later: 429.
    Busy,
    /// A bug or an unforeseen fault of ours: 500.
    Internal,
    /// Something that we need is away; the same request may pass later: 503.
    Unavailable,
    /// The time for the request ran out: 504.
    Deadline,
}

impl ErrorKind {
    /// The HTTP status that answers such an error.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 413,
            Self::UnsupportedType => 415,
            Self::Invalid => 422,
            Self::Busy => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Deadline => 504,
        }
    }

    /// A stable word for programs, used where an [`Error`] has no code of its own.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_request",
            Self::TooLarge => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::Invalid => "invalid_value",
            Self::Busy => "busy",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline_exceeded",
        }
    }

    /// True where the request is at fault: the same one never passes.
    #[must_use]
    pub const fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::Malformed | Self::TooLarge | Self::UnsupportedType | Self::Invalid
        )
    }

    /// True where trying again can help: [`Busy`](Self::Busy) and [`Unavailable`](Self::Unavailable).
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

/// An error of a stage. Its message goes to clients: it names the field and the
/// way out, and never holds a path, a query or a secret. What only the operator
/// may see goes into the source, which is logged.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message for clients, in lower case.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            code: Cow::Borrowed(kind.code()),
            message: message.into(),
            retry_after: None,
            source: None,
        }
    }

    /// An error of ours: clients read that something failed, the log reads what.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, "an internal error occurred").with_source(source)
    }

    /// An error of how stages are set up together, which no request can mend: clients read that
    /// something is away, the log reads what is wrong.
    #[must_use]
    pub fn misconfigured(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let message = "the pipeline is set up wrongly; the log of the service says how";
        Self::new(ErrorKind::Unavailable, message)
            .with_code("misconfigured")
            .with_source(source)
    }

    /// The same error with a code of its own, in `snake_case`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// The same error with the time after which trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same error with its cause, for the log only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a client may do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text for people, safe to show to clients.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When trying again makes sense, if known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
