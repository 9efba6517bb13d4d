//! Names bound to what they stand for.

use std::sync::Arc;

use super::Mistake;
use super::syntax::{Expr, ExprKind};
use super::types::Type;

/// What a name in a condition stands for.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// The type of its values, without null.
    pub(crate) ty: Type,
    /// Why it may be null in a request that goes well, if it may.
    pub(crate) null_because: Option<String>,
    /// Why it may be null in any request, if it may.
    pub(crate) absent_because: Option<String>,
    /// The stages that give it whenever they run.
    pub(crate) given_by: Vec<usize>,
    /// How a condition asks whether the first of them ran.
    pub(crate) asked_as: Option<String>,
    /// Set where it says whether a stage ran: which.
    pub(crate) ran: Option<usize>,
    /// Whether a stage gives it, not the request.
    pub(crate) is_of_stage: bool,
}

/// A name that stands for nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unknown {
    /// What is wrong.
    pub(crate) message: String,
    /// The way out.
    pub(crate) help: Option<String>,
}

/// What the names of a condition stand for.
pub(crate) trait Names {
    /// The variable of a port's name.
    fn port(&mut self, name: &str) -> Result<usize, Unknown>;
    /// The variable of a producer's port, `ran` among them; `None` where no producer has that name.
    fn of(&mut self, producer: &str, member: &str) -> Option<Result<usize, Unknown>>;
    /// What is known of a variable.
    fn variable(&self, index: usize) -> &Variable;
}

/// Binds the names of a condition in place; gives those that stand for nothing.
pub(super) fn bind(root: &mut Expr, names: &mut dyn Names) -> Vec<Mistake> {
    let mut binder = Binder {
        names,
        locals: Vec::new(),
        mistakes: Vec::new(),
    };
    binder.bind(root);
    binder.mistakes
}

struct Binder<'n> {
    names: &'n mut dyn Names,
    /// The names of the loops around, outermost first.
    locals: Vec<Arc<str>>,
    mistakes: Vec<Mistake>,
}

impl Binder<'_> {
    fn bind(&mut self, expr: &mut Expr) {
        if self.is_of_producer(expr) {
            return;
        }
        match &mut expr.kind {
            ExprKind::Literal(_)
            | ExprKind::Environment(_)
            | ExprKind::Pattern(_)
            | ExprKind::Variable(_)
            | ExprKind::Local(_) => {}
            ExprKind::Name(name) => {
                let local = self.locals.iter().rposition(|local| local == name);
                let bound = match local {
                    Some(local) => Ok(ExprKind::Local(local)),
                    None => self.names.port(name).map(ExprKind::Variable),
                };
                match bound {
                    Ok(kind) => expr.kind = kind,
                    Err(unknown) => self.report(expr, unknown),
                }
            }
            ExprKind::List(parts)
            | ExprKind::All(parts)
            | ExprKind::Any(parts)
            | ExprKind::Call(_, parts) => parts.iter_mut().for_each(|part| self.bind(part)),
            ExprKind::Select(inner, _)
            | ExprKind::Not(inner)
            | ExprKind::Negate(inner)
            | ExprKind::Has(inner) => self.bind(inner),
            ExprKind::Index(left, right) | ExprKind::Binary(_, left, right) => {
                self.bind(left);
                self.bind(right);
            }
            ExprKind::Choose(parts) => parts.iter_mut().for_each(|part| self.bind(part)),
            ExprKind::Loop {
                list, local, body, ..
            } => {
                self.bind(list);
                self.locals.push(local.clone());
                self.bind(body);
                self.locals.pop();
            }
        }
    }

    /// Binds `producer.port`, where that is what stands there.
    fn is_of_producer(&mut self, expr: &mut Expr) -> bool {
        let ExprKind::Select(of, field) = &expr.kind else {
            return false;
        };
        let ExprKind::Name(producer) = &of.kind else {
            return false;
        };
        if self.locals.contains(producer) {
            return false;
        }
        match self.names.of(producer, field) {
            Some(Ok(variable)) => expr.kind = ExprKind::Variable(variable),
            // A port may have the name of a stage.
            Some(Err(unknown)) if self.names.port(producer).is_err() => {
                self.report(expr, unknown);
            }
            Some(Err(_)) | None => return false,
        }
        true
    }

    fn report(&mut self, expr: &Expr, unknown: Unknown) {
        let mistake = Mistake::at(expr.span.clone(), unknown.message);
        self.mistakes.push(match unknown.help {
            Some(help) => mistake.help(help),
            None => mistake,
        });
    }
}
