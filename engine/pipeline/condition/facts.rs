//! What is known wherever a part of a condition counts: what was asked before.

use std::sync::Arc;

use super::names::Names;
use super::syntax::{Binary, Expr, ExprKind, Literal};

/// Something that is true wherever a part of the condition counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// What the path leads to is not null.
    Known(Path),
    /// The stage ran.
    Ran(usize),
}

/// A variable or a loop's name, and the fields behind it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) is_local: bool,
    pub(super) root: usize,
    pub(super) fields: Vec<Arc<str>>,
}

/// The path that a part is, if it is one.
pub(super) fn path(expr: &Expr) -> Option<Path> {
    match &expr.kind {
        ExprKind::Variable(root) | ExprKind::Local(root) => Some(Path {
            is_local: matches!(expr.kind, ExprKind::Local(_)),
            root: *root,
            fields: Vec::new(),
        }),
        ExprKind::Select(of, field) => {
            let mut path = path(of)?;
            path.fields.push(field.clone());
            Some(path)
        }
        ExprKind::Index(of, index) => {
            let mut path = path(of)?;
            path.fields.push(match &index.kind {
                ExprKind::Literal(Literal::Text(name)) => name.clone(),
                ExprKind::Literal(Literal::Integer(index)) => format!("[{index}]").into(),
                _ => return None,
            });
            Some(path)
        }
        _ => None,
    }
}

/// What is known where a part is `holds`.
pub(super) fn follows(expr: &Expr, holds: bool, names: &dyn Names) -> Vec<Fact> {
    let known = |expr: &Expr| path(expr).map(Fact::Known).into_iter().collect::<Vec<_>>();
    let is_null = |expr: &Expr| matches!(expr.kind, ExprKind::Literal(Literal::Null));
    match &expr.kind {
        ExprKind::Not(inner) => follows(inner, !holds, names),
        ExprKind::All(parts) | ExprKind::Any(parts) => {
            let each = parts.iter().map(|part| follows(part, holds, names));
            let is_all = matches!(expr.kind, ExprKind::All(_));
            if is_all == holds {
                return each.flatten().collect();
            }
            // One of them is so, and it is not known which.
            let common = each.reduce(|a, b| a.into_iter().filter(|it| b.contains(it)).collect());
            common.unwrap_or_default()
        }
        ExprKind::Has(inner) if holds => {
            let mut facts = known(inner);
            let mut at = &**inner;
            while let ExprKind::Select(of, _) | ExprKind::Index(of, _) = &at.kind {
                facts.extend(known(of));
                at = of;
            }
            facts
        }
        ExprKind::Variable(index) if holds => {
            // A bool that is used as it is was asked before: it tells nothing of itself.
            let ran = names.variable(*index).ran;
            ran.map(Fact::Ran).into_iter().collect()
        }
        ExprKind::Binary(Binary::Equal, left, right) => match (is_null(left), is_null(right)) {
            (true, false) if !holds => known(right),
            (false, true) if !holds => known(left),
            // What equals a value is one.
            (false, false) if holds => {
                if is_value(right) {
                    equal_to(left, right, names)
                } else if is_value(left) {
                    equal_to(right, left, names)
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        },
        ExprKind::Binary(Binary::Unequal, left, right) => match (is_null(left), is_null(right)) {
            (true, false) if holds => known(right),
            (false, true) if holds => known(left),
            (false, false) if !holds => {
                if matches!(right.kind, ExprKind::Literal(_)) {
                    equal_to(left, right, names)
                } else if matches!(left.kind, ExprKind::Literal(_)) {
                    equal_to(right, left, names)
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        },
        ExprKind::Binary(Binary::In, left, right) if holds => match &right.kind {
            ExprKind::List(items) if items.iter().all(|item| is_value(item) && !is_null(item)) => {
                known(left)
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What is known of a part that equals a value.
fn equal_to(expr: &Expr, value: &Expr, names: &dyn Names) -> Vec<Fact> {
    match &value.kind {
        ExprKind::Literal(Literal::Bool(bool)) => {
            let mut facts = follows(expr, *bool, names);
            facts.extend(path(expr).map(Fact::Known));
            facts
        }
        _ => path(expr).map(Fact::Known).into_iter().collect(),
    }
}

/// True for what is written out: it has a value.
fn is_value(expr: &Expr) -> bool {
    matches!(
        expr.kind,
        ExprKind::Literal(_) | ExprKind::List(_) | ExprKind::Environment(_)
    )
}
