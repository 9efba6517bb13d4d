//! The tree of a condition, and how it is read from its words.

use std::ops::Range;
use std::sync::Arc;

use omnizap_contract::common::names::suggestion;

use super::Mistake;
use super::function::{Function, Loop};
use super::token::{Token, TokenKind, tokens};
use crate::pipeline::interpolate::Environment;

/// How deep a condition may be nested: reading, checking and evaluating it recurse.
pub const MAX_DEPTH: usize = 100;

/// A part of a condition.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) span: Range<usize>,
    /// How many parts lie within each other below it.
    pub(super) depth: usize,
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Literal(Literal),
    /// The value of an environment variable, before it is known which type is wanted.
    Environment(Arc<str>),
    List(Vec<Expr>),
    /// A name that is not bound yet.
    Name(Arc<str>),
    /// What is bound, by its number.
    Variable(usize),
    /// What a loop goes over, by how many loops lie around it.
    Local(usize),
    Select(Box<Expr>, Arc<str>),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Choose(Box<[Expr; 3]>),
    Has(Box<Expr>),
    /// A regular expression.
    Pattern(regex::Regex),
    /// The receiver, where there is one, is the first argument.
    Call(Function, Vec<Expr>),
    Loop {
        what: Loop,
        list: Box<Expr>,
        local: Arc<str>,
        body: Box<Expr>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    pub(super) const ALL: [(&str, Self); 12] = [
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<", Self::Less),
        ("<=", Self::AtMost),
        (">", Self::Greater),
        (">=", Self::AtLeast),
        ("in", Self::In),
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("%", Self::Remainder),
    ];

    pub(super) fn symbol(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, binary)| *binary == self);
        known.map_or("", |(symbol, _)| symbol)
    }

    /// How tightly it binds: relations least, products most.
    fn level(self) -> usize {
        match self {
            Self::Add | Self::Subtract => 1,
            Self::Multiply | Self::Divide | Self::Remainder => 2,
            _ => 0,
        }
    }
}

/// The levels of [`Binary::level`].
const LEVELS: usize = 3;

/// Words of other languages for operators, and the operators.
const WORDS: [(&str, &str); 5] = [
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("is", "=="),
    ("equals", "=="),
];

/// Reads a condition.
///
/// # Errors
/// The first place where it is none.
pub(super) fn parse(text: &str, environment: Environment<'_>) -> Result<Expr, Mistake> {
    let tokens = tokens(text, environment)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let expr = parser.expression()?;
    let token = parser.peek();
    match &token.kind {
        TokenKind::End => Ok(expr),
        TokenKind::Name { name, .. } => {
            let message = format!("expected an operator or the end before `{name}`");
            let mistake = Mistake::at(token.span.clone(), message);
            Err(match WORDS.iter().find(|(word, _)| word == name) {
                Some((_, operator)) => mistake.help(format!("write `{operator}`")),
                None => mistake,
            })
        }
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is the end, and nothing steps over it.
        &self.tokens[self.at]
    }

    fn is_at(&self, operator: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Operator(here) if here == operator)
    }

    fn accept(&mut self, operator: &str) -> bool {
        let is_here = self.is_at(operator);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, operator: &str) -> Result<Range<usize>, Mistake> {
        let span = self.peek().span.clone();
        if self.accept(operator) {
            return Ok(span);
        }
        Err(self.unexpected(&format!("`{operator}`")))
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::End => "the end".to_owned(),
            TokenKind::Name { name, .. } => format!("`{name}`"),
            TokenKind::Operator(operator) => format!("`{operator}`"),
            TokenKind::Text(_) => "a text".to_owned(),
            TokenKind::Environment(_) => "a variable".to_owned(),
            TokenKind::Integer(_) | TokenKind::Double(_) => "a number".to_owned(),
        };
        Mistake::at(
            token.span.clone(),
            format!("expected {expected}, found {found}"),
        )
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep(self.peek().span.clone()));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn expression(&mut self) -> Result<Expr, Mistake> {
        self.deeper(|parser| {
            let condition = parser.any()?;
            if !parser.accept("?") {
                return Ok(condition);
            }
            let then = parser.any()?;
            parser.expect(":")?;
            let otherwise = parser.expression()?;
            let span = condition.span.start..otherwise.span.end;
            let depth = [&condition, &then, &otherwise].map(|part| part.depth);
            let depth = depth.into_iter().max().unwrap_or_default() + 1;
            let kind = ExprKind::Choose(Box::new([condition, then, otherwise]));
            bounded(kind, span, depth)
        })
    }

    fn any(&mut self) -> Result<Expr, Mistake> {
        let parts = self.separated("||", Self::all)?;
        joined(parts, ExprKind::Any)
    }

    fn all(&mut self) -> Result<Expr, Mistake> {
        let parts = self.separated("&&", |parser| parser.binary(0))?;
        joined(parts, ExprKind::All)
    }

    fn separated(
        &mut self,
        operator: &str,
        mut read: impl FnMut(&mut Self) -> Result<Expr, Mistake>,
    ) -> Result<Vec<Expr>, Mistake> {
        let mut parts = vec![read(self)?];
        while self.accept(operator) {
            parts.push(read(self)?);
        }
        Ok(parts)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Mistake> {
        if level == LEVELS {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(binary) = self.binary_here(level) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            let span = left.span.start..right.span.end;
            let depth = left.depth.max(right.depth) + 1;
            let kind = ExprKind::Binary(binary, Box::new(left), Box::new(right));
            left = bounded(kind, span, depth)?;
        }
        Ok(left)
    }

    fn binary_here(&self, level: usize) -> Option<Binary> {
        let symbol = match &self.peek().kind {
            TokenKind::Operator(operator) => operator,
            TokenKind::Name { name, is_quoted } if !is_quoted && name == "in" => "in",
            _ => return None,
        };
        let mut known = Binary::ALL.iter();
        let (_, binary) =
            known.find(|(known, binary)| *known == symbol && binary.level() == level)?;
        Some(*binary)
    }

    fn unary(&mut self) -> Result<Expr, Mistake> {
        let start = self.peek().span.start;
        if self.is_at("!") {
            // Two of them are none, however many stand there.
            let mut is_negated = false;
            while self.accept("!") {
                is_negated = !is_negated;
            }
            let inner = self.deeper(Self::unary)?;
            let (span, depth) = (start..inner.span.end, inner.depth + 1);
            let once = bounded(ExprKind::Not(Box::new(inner)), span.clone(), depth)?;
            return if is_negated {
                Ok(once)
            } else {
                bounded(ExprKind::Not(Box::new(once)), span, depth + 1)
            };
        }
        if !self.accept("-") {
            return self.member();
        }
        if let TokenKind::Integer(digits) = self.peek().kind {
            let span = start..self.peek().span.end;
            self.at += 1;
            // One more than fits is the smallest, once it is negative.
            let number = 0_i64.checked_sub_unsigned(digits);
            let number = number.ok_or_else(|| Mistake::at(span.clone(), "not of 64 bits"))?;
            let literal = bounded(ExprKind::Literal(Literal::Integer(number)), span, 0)?;
            return self.members_of(literal);
        }
        let inner = self.deeper(Self::unary)?;
        let (span, depth) = (start..inner.span.end, inner.depth + 1);
        bounded(ExprKind::Negate(Box::new(inner)), span, depth)
    }

    fn member(&mut self) -> Result<Expr, Mistake> {
        let primary = self.primary()?;
        self.members_of(primary)
    }

    fn members_of(&mut self, mut expr: Expr) -> Result<Expr, Mistake> {
        loop {
            let start = expr.span.start;
            if self.accept("[") {
                let index = self.expression()?;
                let end = self.expect("]")?.end;
                let depth = expr.depth.max(index.depth) + 1;
                let kind = ExprKind::Index(Box::new(expr), Box::new(index));
                expr = bounded(kind, start..end, depth)?;
                continue;
            }
            if !self.accept(".") {
                return Ok(expr);
            }
            let token = self.peek().clone();
            let TokenKind::Name { name, .. } = token.kind else {
                return Err(self.unexpected("the name of a field behind `.`"));
            };
            self.at += 1;
            if self.accept("(") {
                expr = self.call(&name, token.span, Some(expr))?;
            } else {
                let depth = expr.depth + 1;
                let kind = ExprKind::Select(Box::new(expr), name.into());
                expr = bounded(kind, start..token.span.end, depth)?;
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Mistake> {
        let token = self.peek().clone();
        let span = token.span;
        let literal = |literal| bounded(ExprKind::Literal(literal), span.clone(), 0);
        match token.kind {
            TokenKind::Integer(number) => {
                self.at += 1;
                let number = i64::try_from(number);
                let number = number.map_err(|_| Mistake::at(span.clone(), "not of 64 bits"))?;
                literal(Literal::Integer(number))
            }
            TokenKind::Double(number) => {
                self.at += 1;
                literal(Literal::Double(number))
            }
            TokenKind::Text(text) => {
                self.at += 1;
                literal(Literal::Text(text.into()))
            }
            TokenKind::Environment(value) => {
                self.at += 1;
                bounded(ExprKind::Environment(value.into()), span, 0)
            }
            TokenKind::Operator("(") => {
                self.at += 1;
                let inner = self.expression()?;
                let end = self.expect(")")?.end;
                Ok(Expr {
                    span: span.start..end,
                    ..inner
                })
            }
            TokenKind::Operator("[") => {
                self.at += 1;
                let (items, end) = self.arguments("]")?;
                let depth = items.iter().map(|item| item.depth + 1).max();
                let depth = depth.unwrap_or_default();
                bounded(ExprKind::List(items), span.start..end, depth)
            }
            TokenKind::Operator("{") => {
                Err(Mistake::at(span, "a condition holds no object of its own"))
            }
            TokenKind::Name { name, is_quoted } => {
                self.at += 1;
                if self.is_at("(") && !is_quoted {
                    self.at += 1;
                    return self.call(&name, span, None);
                }
                match name.as_str() {
                    "true" if !is_quoted => literal(Literal::Bool(true)),
                    "false" if !is_quoted => literal(Literal::Bool(false)),
                    "null" if !is_quoted => literal(Literal::Null),
                    "in" if !is_quoted => {
                        let message = "expected a value before `in`";
                        let mistake = Mistake::at(span, message);
                        Err(mistake.help("a port of that name stands in backticks: `in`"))
                    }
                    "not" if matches!(self.peek().kind, TokenKind::Name { .. }) => {
                        let mistake = Mistake::at(span, "`not` is no operator");
                        Err(mistake.help("write `!`"))
                    }
                    _ => bounded(ExprKind::Name(name.into()), span, 0),
                }
            }
            TokenKind::Operator(_) | TokenKind::End => Err(self.unexpected("a value")),
        }
    }

    /// What stands between commas up to the bracket that closes, and where that ends.
    fn arguments(&mut self, close: &str) -> Result<(Vec<Expr>, usize), Mistake> {
        let mut arguments = Vec::new();
        while !self.is_at(close) {
            arguments.push(self.expression()?);
            if !self.accept(",") {
                break;
            }
        }
        let end = self.expect(close)?.end;
        Ok((arguments, end))
    }

    /// A call, its opening bracket read: a function, or a macro of CEL.
    fn call(
        &mut self,
        name: &str,
        span: Range<usize>,
        receiver: Option<Expr>,
    ) -> Result<Expr, Mistake> {
        let start = receiver.as_ref().map_or(span.start, |it| it.span.start);
        let (mut arguments, end) = self.arguments(")")?;
        let whole = start..end;
        let depth = arguments.iter().chain(&receiver).map(|part| part.depth);
        let depth = depth.max().unwrap_or_default() + 1;
        if name == "has" && receiver.is_none() {
            let [_] = arguments.as_slice() else {
                return Err(Mistake::at(whole, "`has` takes one name: has(theme)"));
            };
            let inner = arguments.remove(0);
            let is_path = matches!(
                inner.kind,
                ExprKind::Name(_) | ExprKind::Select(..) | ExprKind::Index(..)
            );
            if !is_path {
                let message = "`has` asks for a name, a field or an item: has(theme), has(j.a)";
                return Err(Mistake::at(inner.span, message));
            }
            return bounded(ExprKind::Has(Box::new(inner)), whole, depth);
        }
        if let Some(what) = Loop::named(name) {
            let Some(list) = receiver else {
                return Err(Mistake::at(
                    span,
                    format!("`{name}` goes over a list: {}", what.usage()),
                ));
            };
            let [local, body] = <[Expr; 2]>::try_from(arguments).map_err(|_| {
                let message = format!("`{name}` takes a name and a condition: list.{name}(x, ..)");
                Mistake::at(whole.clone(), message)
            })?;
            let ExprKind::Name(local) = local.kind else {
                let message = format!("the first argument of `{name}` is a name for each item");
                return Err(Mistake::at(local.span, message));
            };
            let (list, body) = (Box::new(list), Box::new(body));
            let kind = ExprKind::Loop {
                what,
                list,
                local,
                body,
            };
            return bounded(kind, whole, depth);
        }
        let Some(function) = Function::named(name) else {
            let mistake = Mistake::at(span, format!("there is no function `{name}`"));
            let names = Function::names().chain(Loop::names()).chain(["has"]);
            return Err(match suggestion(name, names) {
                Some(help) => mistake.help(help),
                None => mistake,
            });
        };
        arguments.splice(0..0, receiver);
        bounded(ExprKind::Call(function, arguments), whole, depth)
    }
}

fn too_deep(span: Range<usize>) -> Mistake {
    let message = format!("nested more than {MAX_DEPTH} deep");
    Mistake::at(span, message)
}

fn bounded(kind: ExprKind, span: Range<usize>, depth: usize) -> Result<Expr, Mistake> {
    if depth > MAX_DEPTH {
        return Err(too_deep(span));
    }
    Ok(Expr { kind, span, depth })
}

/// Parts between `&&` or `||`; one alone is itself.
fn joined(mut parts: Vec<Expr>, kind: impl FnOnce(Vec<Expr>) -> ExprKind) -> Result<Expr, Mistake> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let span = parts[0].span.start..parts[parts.len() - 1].span.end;
    let depth = parts.iter().map(|part| part.depth + 1).max();
    bounded(kind(parts), span, depth.unwrap_or_default())
}
