//! Types checked, null among them.

mod null;
mod operators;

use std::ops::Range;
use std::sync::Arc;

use omnizap_contract::common::names::suggestion;

use self::null::Matters;
use super::Mistake;
use super::environment::value_of;
use super::facts::{Fact, follows, path};
use super::function::Loop;
use super::names::{self, Names};
use super::syntax::{Expr, ExprKind, Literal};
use super::types::Type;

/// Binds and checks a condition in place; gives what is odd about it.
///
/// # Errors
/// Every mistake.
pub(super) fn check(
    text: &str,
    root: &mut Expr,
    names: &mut dyn Names,
) -> Result<Vec<Mistake>, Vec<Mistake>> {
    let mistakes = names::bind(root, names);
    let mut checker = Checker {
        text,
        names,
        locals: Vec::new(),
        facts: Vec::new(),
        mistakes,
        warnings: Vec::new(),
        matters: Matters {
            if_true: true,
            if_false: false,
        },
    };
    let ty = checker.condition(root);
    if !matches!(ty, Type::Bool | Type::Any) {
        let message = format!("the condition gives {ty}, expected true or false");
        checker
            .mistakes
            .push(Mistake::at(root.span.clone(), message));
    }
    if checker.mistakes.is_empty() {
        Ok(checker.warnings)
    } else {
        Err(checker.mistakes)
    }
}

struct Checker<'n> {
    text: &'n str,
    names: &'n dyn Names,
    locals: Vec<Type>,
    facts: Vec<Fact>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    matters: Matters,
}

impl Checker<'_> {
    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>) -> Type {
        self.mistakes.push(Mistake::at(span.clone(), message));
        // What follows from a mistake is none of its own.
        Type::Any
    }

    fn wrong_with(&mut self, span: &Range<usize>, message: String, help: Option<String>) -> Type {
        let mistake = Mistake::at(span.clone(), message);
        self.mistakes.push(match help {
            Some(help) => mistake.help(help),
            None => mistake,
        });
        Type::Any
    }

    /// True where a variable of the environment is a part: what it holds is not shown.
    fn is_filled(&self, expr: &Expr) -> bool {
        self.text[expr.span.clone()].contains("${")
    }

    /// A path as it is written.
    fn written(&self, expr: &Expr) -> Option<String> {
        let is_path = path(expr).is_some() || matches!(expr.kind, ExprKind::Name(_));
        is_path.then(|| self.text[expr.span.clone()].to_owned())
    }

    /// The type of a part of which nothing is expected.
    fn any(&mut self, expr: &mut Expr) -> Type {
        self.environment(expr, &Type::Any);
        self.expr(expr)
    }

    /// The type of a part that is to be true or false.
    fn condition(&mut self, expr: &mut Expr) -> Type {
        self.environment(expr, &Type::Bool);
        let ty = self.expr(expr);
        if *ty.not_null() == Type::Bool && ty.is_nullable() {
            let help = self
                .written(expr)
                .map(|name| format!("write `{name} == true`"));
            return self.may_be_null(expr, help, None);
        }
        ty
    }

    fn bool(&mut self, expr: &mut Expr, operator: &str) {
        let ty = self.condition(expr);
        if !matches!(ty, Type::Bool | Type::Any) {
            let span = expr.span.clone();
            self.wrong(
                &span,
                format!("`{operator}` wants true or false, found {ty}"),
            );
        }
    }

    /// The type of a part that has to be there.
    fn present(&mut self, expr: &mut Expr, wanted: &Type) -> Type {
        self.environment(expr, wanted);
        let ty = self.expr(expr);
        if ty.is_nullable() {
            self.may_be_null(expr, None, None);
            // What else is wrong is told too.
            return match ty.not_null() {
                Type::Null => Type::Any,
                there => there.clone(),
            };
        }
        ty
    }

    fn expr(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span.clone();
        match &mut expr.kind {
            ExprKind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Integer(_) => Type::Int,
                Literal::Double(_) => Type::Double,
                Literal::Text(_) => Type::Text,
            },
            ExprKind::Environment(_) => Type::Any,
            ExprKind::Pattern(_) => Type::Text,
            ExprKind::List(items) => self.list(items),
            ExprKind::Name(_) | ExprKind::Variable(_) | ExprKind::Local(_) => self.name(expr),
            ExprKind::Select(..) => self.select(expr),
            ExprKind::Index(of, index) => {
                let ty = self.present(of, &Type::Any);
                let wanted = match ty {
                    Type::List(_) => Type::Int,
                    Type::Any => Type::Any,
                    _ => Type::Text,
                };
                let by = self.present(index, &wanted);
                let ty = self.indexed(&ty, &by, index);
                self.narrowed(expr, ty)
            }
            ExprKind::Not(inner) => {
                self.environment(inner, &Type::Bool);
                let outer = self.matters;
                self.matters = Matters {
                    if_true: outer.if_false,
                    if_false: outer.if_true,
                };
                let ty = self.expr(inner);
                self.matters = outer;
                if *ty.not_null() == Type::Bool && ty.is_nullable() {
                    // A gate stays shut: null is not the same as false.
                    let help = self.written(inner);
                    let help = help.map(|name| format!("write `{name} == false`"));
                    self.may_be_null(inner, help, Some("true"));
                } else if !matches!(ty, Type::Bool | Type::Any) {
                    let span = inner.span.clone();
                    self.wrong(&span, format!("`!` wants true or false, found {ty}"));
                }
                Type::Bool
            }
            ExprKind::Negate(inner) => {
                let ty = self.present(inner, &Type::Double);
                if !ty.is_number() && ty != Type::Any {
                    return self.wrong(&span, format!("`-` wants a number, found {ty}"));
                }
                ty
            }
            ExprKind::Binary(binary, left, right) => self.binary(*binary, left, right, &span),
            ExprKind::All(_) | ExprKind::Any(_) => {
                let before = self.facts.len();
                let is_all = matches!(expr.kind, ExprKind::All(_));
                let (ExprKind::All(parts) | ExprKind::Any(parts)) = &mut expr.kind else {
                    return Type::Bool;
                };
                for index in 0..parts.len() {
                    // A part counts only where none of the others decides.
                    for (other, part) in parts.iter().enumerate() {
                        if other != index {
                            self.facts.extend(follows(part, is_all, self.names));
                        }
                    }
                    self.bool(&mut parts[index], if is_all { "&&" } else { "||" });
                    self.facts.truncate(before);
                }
                Type::Bool
            }
            ExprKind::Choose(parts) => {
                let [condition, then, otherwise] = &mut **parts;
                let is_false =
                    |part: &Expr| matches!(part.kind, ExprKind::Literal(Literal::Bool(false)));
                let outer = self.matters;
                self.matters = Matters {
                    if_true: !is_false(then) || outer.if_false,
                    if_false: !is_false(otherwise) || outer.if_false,
                };
                self.bool(condition, "?");
                self.matters = outer;
                let branch = |checker: &mut Self, part: &mut Expr, holds: bool| {
                    let before = checker.facts.len();
                    let facts = follows(condition, holds, checker.names);
                    checker.facts.extend(facts);
                    let ty = checker.any(part);
                    checker.facts.truncate(before);
                    ty
                };
                // A variable is of the type of the other side.
                let (a, b) = if matches!(then.kind, ExprKind::Environment(_)) {
                    let b = branch(self, otherwise, false);
                    self.environment(then, b.not_null());
                    (branch(self, then, true), b)
                } else {
                    let a = branch(self, then, true);
                    self.environment(otherwise, a.not_null());
                    let b = branch(self, otherwise, false);
                    (a, b)
                };
                if !(a.can_equal(&b) || a.is_nullable() || b.is_nullable()) {
                    let message = format!("both sides of `:` are of one type, found {a} and {b}");
                    return self.wrong(&span, message);
                }
                a.joined(&b)
            }
            ExprKind::Has(inner) => {
                self.asked(inner);
                Type::Bool
            }
            ExprKind::Call(function, arguments) => self.call(*function, arguments, &span),
            ExprKind::Loop {
                what, list, body, ..
            } => {
                let ty = self.present(list, &Type::Any);
                let item = match &ty {
                    Type::List(item) if **item == Type::Never => Type::Any,
                    Type::List(item) => (**item).clone(),
                    Type::Map(_) | Type::Object(_) => Type::Text,
                    Type::Any => Type::Any,
                    other => {
                        let name = what.name();
                        let message =
                            format!("`{name}` goes over a list or an object, found {other}");
                        self.wrong(&list.span, message)
                    }
                };
                let at = self.locals.len();
                self.locals.push(item.clone());
                let given = if *what == Loop::Map {
                    self.any(body)
                } else {
                    self.bool(body, what.name());
                    Type::Bool
                };
                self.locals.truncate(at);
                match what {
                    Loop::Map => Type::List(Arc::new(given)),
                    Loop::Filter => Type::List(Arc::new(item)),
                    _ => Type::Bool,
                }
            }
        }
    }

    /// The type of a list that is written out: its items are there, and of one type.
    fn list(&mut self, items: &mut [Expr]) -> Type {
        let is_variable = |item: &Expr| matches!(item.kind, ExprKind::Environment(_));
        let mut ty: Option<Type> = None;
        for item in items.iter_mut().filter(|item| !is_variable(item)) {
            let this = match item.kind {
                ExprKind::Literal(Literal::Null) => Type::Null,
                _ => self.present(item, &Type::Any),
            };
            if let Some(ty) = &ty
                && !ty.can_equal(&this)
            {
                let span = item.span.clone();
                self.wrong(
                    &span,
                    format!("the items of a list are of one type, found {ty} and {this}"),
                );
                continue;
            }
            ty = Some(ty.map_or(this.clone(), |ty| ty.joined(&this)));
        }
        // Variables are of the type of the others, else texts.
        let of_variables = ty.clone().unwrap_or(Type::Text);
        for item in items.iter_mut().filter(|item| is_variable(item)) {
            self.environment(item, &of_variables);
            let this = self.expr(item);
            ty = Some(ty.map_or(this.clone(), |ty| ty.joined(&this)));
        }
        Type::List(Arc::new(ty.unwrap_or(Type::Never)))
    }

    /// A field of a value.
    fn select(&mut self, expr: &mut Expr) -> Type {
        let ExprKind::Select(of, field) = &mut expr.kind else {
            return Type::Any;
        };
        let field = field.clone();
        let ty = self.present(of, &Type::Any);
        let ty = self.member(&ty, &field, &expr.span);
        self.narrowed(expr, ty)
    }

    fn member(&mut self, ty: &Type, field: &str, span: &Range<usize>) -> Type {
        match ty {
            Type::Any => Type::Any,
            Type::Map(member) => (**member).clone(),
            Type::Object(members) => {
                if let Some((_, ty)) = members.iter().find(|(name, _)| name == field) {
                    return ty.clone();
                }
                let names = members.iter().map(|(name, _)| name.as_str());
                let help = suggestion(field, names);
                self.wrong_with(span, format!("there is no field `{field}` in it"), help)
            }
            other => self.wrong(span, format!("{other} has no field `{field}`")),
        }
    }

    fn indexed(&mut self, of: &Type, by: &Type, index: &Expr) -> Type {
        match (of, by) {
            (Type::Any, Type::Int | Type::Double | Type::Text | Type::Any) => Type::Any,
            (Type::List(item), Type::Int | Type::Any) if **item == Type::Never => Type::Any,
            (Type::List(item), Type::Int | Type::Any) => (**item).clone(),
            (Type::Map(member), Type::Text | Type::Any) => (**member).clone(),
            (Type::Object(members), Type::Text) => match &index.kind {
                ExprKind::Literal(Literal::Text(name)) if self.is_filled(index) => {
                    let known = members.iter().find(|(known, _)| *known == **name);
                    match known {
                        Some((_, ty)) => ty.clone(),
                        None => self.wrong(&index.span, "there is no such field in it"),
                    }
                }
                ExprKind::Literal(Literal::Text(name)) => self.member(of, name, &index.span),
                _ => Type::Any,
            },
            (Type::Object(_), Type::Any) => Type::Any,
            (Type::List(_), by) => {
                let message = format!("the items of a list have numbers, found {by}");
                self.wrong(&index.span, message)
            }
            (Type::Map(_) | Type::Object(_), by) => {
                let message = format!("the members of an object have names, found {by}");
                self.wrong(&index.span, message)
            }
            (Type::Any, by) => {
                let message = format!("expected a number or a name, found {by}");
                self.wrong(&index.span, message)
            }
            (of, _) => self.wrong(&index.span, format!("{of} has no items")),
        }
    }

    /// The type of what `has` asks for: it may be null, and so may what it is a field of.
    fn asked(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span.clone();
        match &mut expr.kind {
            ExprKind::Select(of, field) => {
                let field = field.clone();
                let ty = self.asked(of).not_null().clone();
                self.member(&ty, &field, &span)
            }
            ExprKind::Index(of, index) => {
                let ty = self.asked(of).not_null().clone();
                let by = self.present(index, &Type::Any);
                self.indexed(&ty, &by, index)
            }
            _ => self.any(expr),
        }
    }

    fn opaque(&mut self, expr: &Expr, port: omnizap_contract::PortType) -> Type {
        let name = self.written(expr).unwrap_or_default();
        let message = format!("`{name}` is {port}: a condition cannot look into it");
        let help = format!("it can ask whether it is there: has({name})");
        self.wrong_with(&expr.span, message, Some(help))
    }

    /// Makes a variable of the environment a literal of the type that is wanted.
    fn environment(&mut self, expr: &mut Expr, wanted: &Type) {
        let ExprKind::Environment(value) = &expr.kind else {
            return;
        };
        match value_of(expr, value, wanted) {
            Some(kind) => expr.kind = kind,
            None => {
                // Its value may be a secret.
                let span = expr.span.clone();
                let message = format!("the value of this variable is not {}", wanted.not_null());
                self.wrong(&span, message);
            }
        }
    }
}
