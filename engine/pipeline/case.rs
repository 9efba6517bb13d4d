//! A test inside a pipeline file, a `[[test]]`, as it was read: what is asked, what stages give
//! instead of running, what is expected. Whether it fits the file's stages and fields is found out
//! with the rest of the file, by [`super::graph`]; [`super::trial`] tries it.

mod path;
mod value;
mod wanted;

use omnizap_contract::ErrorKind;
use serde_json::Value as Json;
use toml::Spanned;

pub use self::path::AnswerPath;
pub(super) use self::value::value_of;
pub use self::wanted::{Check, Wanted};

/// Most tests of a file.
pub const MAX_CASES: usize = 256;

/// The status of an answer that is no error.
pub(super) const ANSWERED: u16 = 200;

/// Everything that an error may be.
pub(super) const ERRORS: [ErrorKind; 8] = [
    ErrorKind::Malformed,
    ErrorKind::TooLarge,
    ErrorKind::UnsupportedType,
    ErrorKind::Invalid,
    ErrorKind::Busy,
    ErrorKind::Internal,
    ErrorKind::Unavailable,
    ErrorKind::Deadline,
];

/// The fields of the answer to a request that failed, as far as a test can know them.
pub(super) const ERROR_FIELDS: [&str; 3] = ["detail", "code", "stage"];

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, unlike those of the others of its file.
    pub name: Spanned<String>,
    /// The file for the one field of the request that takes a file.
    pub picture: Option<Spanned<String>>,
    /// Fields of the request by name, and what an upload says of itself.
    pub request: Vec<(Spanned<String>, Spanned<Json>)>,
    /// Stages that are not run.
    pub mocks: Vec<Mock>,
    /// What has to come of it.
    pub expect: Expect,
}

/// A stage that is not run, and what takes its place.
#[derive(Clone, Debug)]
pub struct Mock {
    /// The stage's name.
    pub stage: Spanned<String>,
    /// What takes its place.
    pub gives: Gives,
}

/// What takes the place of a stage that is not run.
#[derive(Clone, Debug)]
pub enum Gives {
    /// These values at these outputs; none at the others.
    Outputs(Vec<(Spanned<String>, Spanned<Json>)>),
    /// An error.
    Error(ErrorKind),
}

/// What has to come of a test.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// The status of the answer; without it, and without an error, that of an answer.
    pub status: Option<Spanned<u16>>,
    /// The code of the error that the request has to fail with.
    pub error: Option<Spanned<String>>,
    /// Stages that have to run.
    pub ran: Vec<Spanned<String>>,
    /// Stages that have to be skipped, or off, each with a part of the reason.
    pub skipped: Vec<(Spanned<String>, Option<String>)>,
    /// What has to be where in the answer.
    pub answer: Vec<Wanted>,
}

impl Expect {
    /// True where the request has to fail.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        let status = self.status.as_ref().map(|status| *status.get_ref());
        self.error.is_some() || status.is_some_and(|status| status != ANSWERED)
    }
}
