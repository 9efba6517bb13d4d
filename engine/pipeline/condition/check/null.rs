//! What may be null where it must not be, and where a condition would hold with null.

use std::fmt::Write as _;

use super::Checker;
use crate::pipeline::condition::Mistake;
use crate::pipeline::condition::facts::{Fact, path};
use crate::pipeline::condition::syntax::{Expr, ExprKind};
use crate::pipeline::condition::types::Type;

/// Which outcome of the part that is looked at can make the whole condition hold.
#[derive(Clone, Copy)]
pub(super) struct Matters {
    pub(super) if_true: bool,
    pub(super) if_false: bool,
}

impl Checker<'_> {
    /// Reports a part that may be null where it must not be.
    pub(super) fn may_be_null(
        &mut self,
        expr: &Expr,
        help: Option<String>,
        default: Option<&'static str>,
    ) -> Type {
        let Some(name) = self.written(expr) else {
            return self.wrong(&expr.span, "this may be null: ask first, with `!= null &&`");
        };
        let variable = path(expr).filter(|path| !path.is_local && path.fields.is_empty());
        let variable = variable.map(|path| self.names.variable(path.root).clone());
        let because = variable.as_ref().and_then(|it| it.null_because.clone());
        let because = because.map_or(String::new(), |because| format!(": {because}"));
        let of_stage = variable.as_ref().filter(|variable| variable.is_of_stage);
        if let Some(variable) = of_stage {
            // A default would answer for a stage that did not: a gate stays shut by asking first.
            let ask = match &variable.asked_as {
                Some(ran) => format!("`{ran} && ..`, or `{name} != null && ..`"),
                None => format!("`{name} != null && ..`"),
            };
            let help = format!("begin the whole condition with {ask}");
            return self.wrong_with(
                &expr.span,
                format!("`{name}` may be null{because}"),
                Some(help),
            );
        }
        let by_type = variable.map(|variable| match variable.ty {
            Type::Bool => Some("false"),
            Type::Int => Some("0"),
            Type::Double => Some("0.0"),
            Type::List(_) => Some("[]"),
            Type::Text => Some("''"),
            // There is none to write.
            _ => None,
        });
        let default = default.or(by_type.unwrap_or(Some("..")));
        let mut ask = format!("ask first: `{name} != null && ..`");
        if let Some(default) = default {
            let _ = write!(ask, ", or give a default: `{name}.orValue({default})`");
        }
        let help = help.map_or(ask.clone(), |help| format!("{help}, or {ask}"));
        self.wrong_with(
            &expr.span,
            format!("`{name}` may be null{because}"),
            Some(help),
        )
    }

    /// The type of a name; what is bound to nothing was reported.
    pub(super) fn name(&self, expr: &Expr) -> Type {
        let ty = match expr.kind {
            ExprKind::Local(local) => self.locals.get(local).cloned().unwrap_or(Type::Any),
            ExprKind::Variable(variable) => {
                let variable = self.names.variable(variable);
                let ran = |fact: &Fact| match fact {
                    Fact::Ran(stage) => variable.given_by.contains(stage),
                    Fact::Known(_) => false,
                };
                match &variable.null_because {
                    Some(_) if !self.facts.iter().any(ran) => variable.ty.clone().or_null(),
                    _ => variable.ty.clone(),
                }
            }
            _ => Type::Any,
        };
        self.narrowed(expr, ty)
    }

    /// The type of a part, without null where it is known to be there.
    pub(super) fn narrowed(&self, expr: &Expr, ty: Type) -> Type {
        let Some(path) = path(expr) else {
            return ty;
        };
        if ty.is_nullable() && self.facts.contains(&Fact::Known(path)) {
            return ty.not_null().clone();
        }
        ty
    }

    /// A comparison that lets a condition hold where a stage gave nothing: a gate that is meant to be
    /// shut then stands open. `is_null_true` says what null makes of the comparison.
    pub(super) fn warn_of_null(
        &mut self,
        expr: &Expr,
        other: &Type,
        operator: &str,
        is_null_true: bool,
    ) {
        let opens = if is_null_true {
            self.matters.if_true
        } else {
            self.matters.if_false
        };
        let (true, Some(path), Some(name)) = (opens, path(expr), self.written(expr)) else {
            return;
        };
        if path.is_local || other.is_nullable() {
            return;
        }
        let variable = self.names.variable(path.root);
        let is_asked = self.facts.iter().any(|fact| match fact {
            Fact::Known(known) => known.root == path.root && !known.is_local,
            Fact::Ran(stage) => variable.given_by.contains(stage),
        });
        let absent = variable.absent_because.as_ref();
        let Some(because) = absent.filter(|_| variable.is_of_stage && !is_asked) else {
            return;
        };
        let message = format!(
            "`{name}` may be null, and with `{operator}` the condition can hold then: {because}"
        );
        let help = format!("write `{name} != null && ..` where it is not to hold then");
        self.warnings
            .push(Mistake::at(expr.span.clone(), message).help(help));
    }
}
