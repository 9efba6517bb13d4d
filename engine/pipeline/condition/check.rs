//! Types checked, null among them.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use omnizap_contract::common::names::suggestion;
use regex::RegexBuilder;

use super::Mistake;
use super::environment::value_of;
use super::facts::{Fact, follows, path};
use super::function::{Function, Loop};
use super::names::{self, Names};
use super::syntax::{Binary, Expr, ExprKind, Literal};
use super::types::Type;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 18;

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

/// Which outcome of the part that is looked at can make the whole condition hold.
#[derive(Clone, Copy)]
struct Matters {
    if_true: bool,
    if_false: bool,
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

    /// Reports a part that may be null where it must not be.
    fn may_be_null(
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

    /// The type of a name; what is bound to nothing was reported.
    fn name(&self, expr: &Expr) -> Type {
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
    fn narrowed(&self, expr: &Expr, ty: Type) -> Type {
        let Some(path) = path(expr) else {
            return ty;
        };
        if ty.is_nullable() && self.facts.contains(&Fact::Known(path)) {
            return ty.not_null().clone();
        }
        ty
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

    fn binary(
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

    fn is_in(&mut self, left: &mut Expr, right: &mut Expr, span: &Range<usize>) -> Type {
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
    fn pair(
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

    fn call(&mut self, function: Function, arguments: &mut [Expr], span: &Range<usize>) -> Type {
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

    fn pattern(&mut self, pattern: &mut Expr) -> Type {
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

    fn opaque(&mut self, expr: &Expr, port: omnizap_contract::PortType) -> Type {
        let name = self.written(expr).unwrap_or_default();
        let message = format!("`{name}` is {port}: a condition cannot look into it");
        let help = format!("it can ask whether it is there: has({name})");
        self.wrong_with(&expr.span, message, Some(help))
    }

    /// A comparison that lets a condition hold where a stage gave nothing: a gate that is meant to be
    /// shut then stands open. `is_null_true` says what null makes of the comparison.
    fn warn_of_null(&mut self, expr: &Expr, other: &Type, operator: &str, is_null_true: bool) {
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

    /// What to write where a number or a bool stands in quotes, or the other way round.
    fn literal_help(&self, expr: &Expr, wanted: &Type) -> Option<String> {
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
