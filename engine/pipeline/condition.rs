//! `if = "..."`: when a stage runs at all, in the syntax of CEL (<https://cel.dev>).
//!
//! A condition is read once, its names are bound and its types checked with the pipeline, and then
//! it has a value for every request: [`Bound::evaluate`] never fails. What it may hold is
//! [`OPERATORS`] and [`functions`]; the rules for what is absent are CEL's, made total:
//!
//! - What may be null (an optional field, what a stage gives that may be off, skipped or fail) must
//!   be asked before it is used; `==` and `!=` need no question.
//! - A part without a value (a number beyond 64 bits, an item that is not there, JSON of another
//!   type) leaves what it is in without one, but for `&&` and `||`, which hold what they can hold
//!   without it, `has`, and `orValue`. A condition without a value is false.
//! - `${NAME}` is a value, never text of the condition.

mod check;
mod environment;
mod eval;
mod facts;
mod function;
mod literal;
mod names;
mod syntax;
mod token;
mod types;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use omnizap_contract::Value;

pub use self::eval::MAX_STEPS;
pub use self::function::FunctionDoc;
use self::function::{Function, Loop};
pub(crate) use self::literal::place_of;
pub(crate) use self::names::{Names, Unknown, Variable};
use self::syntax::Expr;
pub use self::syntax::MAX_DEPTH;
pub(crate) use self::types::Type;
use super::interpolate::Environment;

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_LEN: usize = 1024;

/// The operators, loosest first, each with what it takes.
pub const OPERATORS: [(&str, &str); 8] = [
    ("a ? b : c", "b where a holds, else c"),
    ("a || b", "either; decided by one that is true"),
    ("a && b", "both; decided by one that is false"),
    (
        "== !=",
        "two values of one type, or null; numbers of both kinds",
    ),
    ("< <= > >=", "two numbers or two texts"),
    ("in", "an item of a list, a name of an object"),
    (
        "+ - * / %",
        "two numbers or two whole numbers, % only these; + also two texts or lists",
    ),
    ("! -", "not; the negative"),
];

/// The functions and loops of conditions, for the documentation.
pub fn functions() -> impl Iterator<Item = FunctionDoc> {
    let has = FunctionDoc {
        usage: "has(x)",
        doc: "whether a port, a field or an item is there and not null",
    };
    std::iter::once(has)
        .chain(Function::docs())
        .chain(Loop::docs())
}

/// Something wrong or odd in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in bytes of its text.
    pub span: Range<usize>,
    /// What.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl Mistake {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// An expression whose names are not bound yet.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    root: Expr,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.text)
    }
}

impl Condition {
    /// Reads an expression; the environment's variables in it are values.
    ///
    /// # Errors
    /// The first place where it is none.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, Mistake> {
        if text.len() > MAX_EXPRESSION_LEN {
            let message = format!("the expression is longer than {MAX_EXPRESSION_LEN} bytes");
            return Err(Mistake::at(0..text.len(), message));
        }
        Ok(Self {
            text: text.into(),
            root: syntax::parse(text, environment)?,
        })
    }

    /// The expression as written, without what its variables hold.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Binds its names and checks its types; gives what is odd about it beside.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn bind(
        &self,
        names: &mut dyn Names,
    ) -> Result<(Bound, Vec<Mistake>), Vec<Mistake>> {
        let mut root = self.root.clone();
        let warnings = check::check(&self.text, &mut root, names)?;
        let bound = Bound {
            text: self.text.clone(),
            root: Arc::new(root),
        };
        Ok((bound, warnings))
    }
}

/// An expression whose names are bound and whose types fit.
#[derive(Clone)]
pub struct Bound {
    text: Arc<str>,
    root: Arc<Expr>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bound({})", self.text)
    }
}

impl Bound {
    /// The expression as written, without what its variables hold.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds; `value` gives what a variable holds, by its number, [`None`] for null.
    /// Where it has no value, why: it counts as false then.
    ///
    /// # Errors
    /// The part without a value, for people.
    pub fn evaluate<'v>(
        &'v self,
        value: impl Fn(usize) -> Option<&'v Value>,
    ) -> Result<bool, String> {
        eval::evaluate(&self.root, &value).map_err(|fault| {
            let part = self.text.get(fault.span.clone()).unwrap_or_default();
            format!("`{part}`: {fault}")
        })
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
