//! Variables of the environment in a condition: values of the type that is wanted.

use std::sync::Arc;

use omnizap_contract::option::parse_bool;

use super::syntax::{Expr, ExprKind, Literal};
use super::types::Type;

/// What a variable's value stands for where that type is wanted; [`None`] where it spells none.
///
/// Where nothing is known of the other side it is a number or a bool if it is written as JSON writes
/// one, else a text: `0123` is a text.
pub(super) fn value_of(expr: &Expr, value: &Arc<str>, wanted: &Type) -> Option<ExprKind> {
    let trimmed = value.trim();
    let whole = || trimmed.parse().ok().map(Literal::Integer);
    let number = || {
        let number = trimmed.parse::<f64>().ok()?;
        number.is_finite().then_some(Literal::Double(number))
    };
    let literal = match wanted.not_null() {
        Type::Text => Some(Literal::Text(value.clone())),
        Type::Int => whole().or_else(number),
        Type::Double => number(),
        Type::Bool => parse_bool(trimmed).map(Literal::Bool),
        Type::List(item) => return list_of(expr, value, item),
        _ => match serde_json::from_str(trimmed) {
            Ok(serde_json::Value::Bool(bool)) => Some(Literal::Bool(bool)),
            Ok(serde_json::Value::Number(_)) => whole().or_else(number),
            _ => Some(Literal::Text(value.clone())),
        },
    };
    literal.map(ExprKind::Literal)
}

/// A list between commas.
fn list_of(expr: &Expr, value: &str, item: &Type) -> Option<ExprKind> {
    let texts = value.split(',').map(str::trim);
    let texts = texts.filter(|text| !text.is_empty());
    let items = texts.map(|text| {
        let kind = value_of(expr, &text.into(), item)?;
        Some(Expr {
            kind,
            ..expr.clone()
        })
    });
    items.collect::<Option<Vec<_>>>().map(ExprKind::List)
}
