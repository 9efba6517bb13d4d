//! The types that operators and functions take and give.

use std::ops::Range;
use std::sync::Arc;

use regex::RegexBuilder;

use super::Checker;
use super::null::Matters;
use crate::pipeline::condition::function::Function;
use crate::pipeline::condition::syntax::{Binary, Expr, ExprKind, Literal};
use crate::pipeline::condition::types::Type;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 18;

impl Checker<'_> {
    pub(super) fn binary(
        &mut self,
        binary: Binary,
        left: &mut Expr,
        right: &mut Expr,
        span: &Range<usize>,
    ) -> Type {
        let symbol = binary.symbol();
        if matches!(binary, Binary::Equal | Binary::Unequal) {
            let outer = self.matters;
            // Of a comparison that is compared either outcome may count.
            self.matters = Matters {
                if_true: true,
                if_false: true,
            };
            let (a, b) = self.pair(left, right, |checker, expr, wanted| {
                checker.environment(expr, wanted);
                checker.expr(expr)
            });
            self.matters = outer;
            for (expr, ty, other) in [(&*left, &a, &b), (&*right, &b, &a)] {
                if let (Type::Opaque(port), false) = (ty.not_null(), *other == Type::Null) {
                    return self.opaque(expr, *port);
                }
            }
            let is_object = |ty: &Type| matches!(ty.not_null(), Type::Map(_) | Type::Object(_));
            if is_object(&a) && is_object(&b) {
                return self.wrong(span, "two objects are not compared: compare their fields");
            }
            if !a.can_equal(&b) {
                let help = self
                    .literal_help(left, &b)
                    .or_else(|| self.literal_help(right, &a));
                let (a, b) = (a.not_null(), b.not_null());
                let message = format!("{a} never equals {b}");
                return self.wrong_with(span, message, help);
            }
            let is_null_true = binary == Binary::Unequal;
            self.warn_of_null(left, &b, symbol, is_null_true);
            self.warn_of_null(right, &a, symbol, is_null_true);
            return Type::Bool;
        }
        if binary == Binary::In {
            return self.is_in(left, right, span);
        }
        let (a, b) = self.pair(left, right, Self::present);
        let is_order = binary.is_order();
        let given = |ty: &Type| if is_order { Type::Bool } else { ty.clone() };
        match (&a, &b) {
            (Type::Any, other) | (other, Type::Any)
                if other.is_number() || *other == Type::Any || *other == Type::Text =>
            {
                if is_order {
                    Type::Bool
                } else {
                    Type::Any
                }
            }
            (Type::Int, Type::Int) => given(&a),
            (Type::Double, Type::Double) if binary != Binary::Remainder => given(&a),
            (a, b) if a.is_number() && b.is_number() && is_order => Type::Bool,
            (Type::Int, Type::Double) | (Type::Double, Type::Int)
                if binary != Binary::Remainder =>
            {
                let message =
                    format!("`{symbol}` takes two numbers or two whole numbers, found one of each");
                let whole = if a == Type::Int { &*left } else { &*right };
                let help = match &whole.kind {
                    ExprKind::Literal(Literal::Integer(number)) if !self.is_filled(whole) => {
                        format!("write `{number}.0`")
                    }
                    _ => match self.written(whole) {
                        Some(name) => format!("write `double({name})`"),
                        None => "make the whole one a number with double(..)".to_owned(),
                    },
                };
                self.wrong_with(span, message, Some(help))
            }
            (Type::Text, Type::Text) if is_order || binary == Binary::Add => given(&a),
            (Type::List(_), Type::List(_)) if binary == Binary::Add => a.joined(&b),
            _ => {
                let what = match binary {
                    Binary::Add => "two numbers, texts or lists",
                    Binary::Remainder => "two whole numbers",
                    _ if is_order => "two numbers or texts",
                    _ => "two numbers",
                };
                let help = self
                    .literal_help(left, &b)
                    .or_else(|| self.literal_help(right, &a));
                let message = format!("`{symbol}` takes {what}, found {a} and {b}");
                self.wrong_with(span, message, help)
            }
        }
    }

    pub(super) fn is_in(&mut self, left: &mut Expr, right: &mut Expr, span: &Range<usize>) -> Type {
        let wanted = |ty: &Type| Type::List(Arc::new(ty.not_null().clone()));
        let (item, list) = if matches!(right.kind, ExprKind::Environment(_)) {
            let item = self.any(left);
            let list = self.present(right, &wanted(&item));
            (item, list)
        } else {
            if let ExprKind::List(items) = &mut right.kind
                && items
                    .iter()
                    .any(|it| matches!(it.kind, ExprKind::Environment(_)))
            {
                let item = self.any(left);
                for each in items {
                    self.environment(each, item.not_null());
                }
            }
            let list = self.present(right, &Type::Any);
            let of = match &list {
                Type::List(item) => (**item).clone(),
                Type::Map(_) | Type::Object(_) => Type::Text,
                _ => Type::Any,
            };
            self.environment(left, &of);
            (self.expr(left), list)
        };
        let of = match &list {
            Type::List(of) => (**of).clone(),
            Type::Map(_) | Type::Object(_) => Type::Text,
            Type::Any => Type::Any,
            Type::Text => {
                let help = self
                    .written(right)
                    .map(|text| format!("write `{text}.contains(..)`"));
                return self.wrong_with(
                    span,
                    "`in` looks into a list or an object, found a text".into(),
                    help,
                );
            }
            other => {
                let message = format!("`in` looks into a list or an object, found {other}");
                return self.wrong(span, message);
            }
        };
        if let Type::Opaque(port) = item.not_null() {
            return self.opaque(left, *port);
        }
        if !item.can_equal(&of) {
            let message = format!("{} is never in a list of such: {}", item.not_null(), of);
            return self.wrong_with(span, message, self.literal_help(left, &of));
        }
        self.warn_of_null(left, &of, "in", false);
        Type::Bool
    }

    /// The types of two parts; where one is a variable of the environment, the other says what it
    /// is to be.
    pub(super) fn pair(
        &mut self,
        left: &mut Expr,
        right: &mut Expr,
        mut check: impl FnMut(&mut Self, &mut Expr, &Type) -> Type,
    ) -> (Type, Type) {
        if matches!(left.kind, ExprKind::Environment(_)) {
            let b = check(self, right, &Type::Any);
            let a = check(self, left, b.not_null());
            return (a, b);
        }
        let a = check(self, left, &Type::Any);
        let b = check(self, right, a.not_null());
        (a, b)
    }

    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &mut [Expr],
        span: &Range<usize>,
    ) -> Type {
        let name = function.name();
        let count = match function {
            Function::Contains
            | Function::StartsWith
            | Function::EndsWith
            | Function::Matches
            | Function::OrValue => 2,
            _ => 1,
        };
        if arguments.len() != count {
            let usage = function.usage();
            let message = format!("`{name}` is written {usage}");
            return self.wrong(span, message);
        }
        if function == Function::OrValue {
            let (value, default) = arguments.split_at_mut(1);
            let ty = self.any(&mut value[0]);
            if let Type::Opaque(port) = ty.not_null() {
                return self.opaque(&value[0], *port);
            }
            self.environment(&mut default[0], ty.not_null());
            let mut default_ty = self.expr(&mut default[0]);
            // A whole number stands for a number.
            if let (Type::Double, ExprKind::Literal(literal)) =
                (ty.not_null(), &mut default[0].kind)
                && let Literal::Integer(number) = literal
            {
                *literal = Literal::Double(*number as f64);
                default_ty = Type::Double;
            }
            let value = ty.not_null().clone();
            if value == Type::Null {
                return default_ty;
            }
            if !value.can_equal(&default_ty) {
                let message = format!("`orValue` gives one type, found {value} and {default_ty}");
                return self.wrong(span, message);
            }
            return value.joined(&default_ty);
        }
        let texts = matches!(
            function,
            Function::Contains
                | Function::StartsWith
                | Function::EndsWith
                | Function::Matches
                | Function::LowerAscii
                | Function::UpperAscii
        );
        let mut types = Vec::with_capacity(count);
        for argument in arguments.iter_mut() {
            let wanted = if texts || function == Function::Size {
                Type::Text
            } else {
                Type::Any
            };
            types.push(self.present(argument, &wanted));
        }
        if texts {
            for (argument, ty) in arguments.iter().zip(&types) {
                if !matches!(ty, Type::Text | Type::Any) {
                    let help = match ty {
                        Type::List(_) if function == Function::Contains => self
                            .written(argument)
                            .map(|list| format!("write `.. in {list}`")),
                        _ => None,
                    };
                    let message = format!("`{name}` takes texts, found {ty}");
                    let span = argument.span.clone();
                    return self.wrong_with(&span, message, help);
                }
            }
            if function == Function::Matches {
                return self.pattern(&mut arguments[1]);
            }
        }
        let ty = &types[0];
        let (is_fine, expected, given) = match function {
            Function::Size => (
                matches!(
                    ty,
                    Type::Text | Type::List(_) | Type::Map(_) | Type::Object(_)
                ),
                "a text, a list or an object",
                Type::Int,
            ),
            Function::Int => (
                ty.is_number() || *ty == Type::Text,
                "a number or a text",
                Type::Int,
            ),
            Function::Double => (
                ty.is_number() || *ty == Type::Text,
                "a number or a text",
                Type::Double,
            ),
            Function::Text => (
                ty.is_number() || matches!(ty, Type::Text | Type::Bool),
                "a number, a bool or a text",
                Type::Text,
            ),
            Function::LowerAscii | Function::UpperAscii => (true, "", Type::Text),
            _ => (true, "", Type::Bool),
        };
        if is_fine || *ty == Type::Any {
            return given;
        }
        self.wrong(span, format!("`{name}` takes {expected}, found {ty}"))
    }

    pub(super) fn pattern(&mut self, pattern: &mut Expr) -> Type {
        let ExprKind::Literal(Literal::Text(text)) = &pattern.kind else {
            let message = "the pattern of `matches` is a text in quotes";
            return self.wrong(&pattern.span, message);
        };
        match regex(text) {
            Ok(regex) => {
                pattern.kind = ExprKind::Pattern(regex);
                Type::Bool
            }
            Err(error) => {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default().trim();
                let last = last.strip_prefix("error: ").unwrap_or(last);
                let message = format!("not a regular expression: {last}");
                self.wrong(&pattern.span, message)
            }
        }
    }

    /// What to write where a number or a bool stands in quotes, or the other way round.
    pub(super) fn literal_help(&self, expr: &Expr, wanted: &Type) -> Option<String> {
        if self.is_filled(expr) {
            return None;
        }
        let wanted = wanted.not_null();
        match &expr.kind {
            ExprKind::Literal(Literal::Text(text)) => {
                let fits = match wanted {
                    Type::Bool => matches!(&**text, "true" | "false"),
                    ty if ty.is_number() => text.parse::<f64>().is_ok(),
                    _ => false,
                };
                fits.then(|| format!("write `{text}` without quotes"))
            }
            ExprKind::Literal(Literal::Integer(number)) if *wanted == Type::Text => {
                Some(format!("write `'{number}'` for a text"))
            }
            _ => None,
        }
    }
}

impl Binary {
    fn is_order(self) -> bool {
        matches!(
            self,
            Self::Less | Self::AtMost | Self::Greater | Self::AtLeast
        )
    }
}

/// A regular expression within bounds.
fn regex(pattern: &str) -> Result<regex::Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX).build()
}
