//! The value of a condition, in bounded time, for whatever values its variables have.
//!
//! Everything has a value or a [`Fault`]: what overflows, what is not there, what is of another type
//! than its operator takes. `&&` and `||` hold what they can hold without the part that has none
//! (Kleene's logic, as CEL's specification has it), and a condition without a value is false.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;
use std::sync::Arc;

use omnizap_contract::{Scores, Value};
use serde_json::Value as Json;

use super::function::{Function, Loop};
use super::syntax::{Binary, Expr, ExprKind, Literal};

/// Most steps of one evaluation: a loop within a loop over what a client sent ends here.
pub const MAX_STEPS: usize = 200_000;
/// How many bytes of a text are looked at in one step.
const BYTES_PER_STEP: usize = 16;
/// How much longer a regular expression looks at a text than a comparison does.
const MATCH_FACTOR: usize = 8;
/// The bytes of all steps.
const MAX_BYTES: usize = MAX_STEPS * BYTES_PER_STEP;

/// Why a part has no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(super) what: &'static str,
    pub(super) span: Range<usize>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// A text on the way, cheap to hold twice.
#[derive(Clone, Debug)]
enum Str<'v> {
    Of(&'v str),
    Own(Rc<str>),
}

impl From<String> for Str<'_> {
    fn from(text: String) -> Self {
        Self::Own(text.into())
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Of(text) => text,
            Self::Own(text) => text,
        }
    }
}

/// A value on the way.
#[derive(Clone, Debug)]
enum Val<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Str<'v>),
    Texts(&'v [Arc<str>]),
    Scores(&'v Scores),
    List(Rc<[Val<'v>]>),
    /// A list or an object.
    Json(&'v Json),
    /// Pixels and the like, which are there.
    Opaque,
}

impl<'v> Val<'v> {
    fn of(value: &'v Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(Str::Of(text)),
            Value::TextList(list) => Self::Texts(list),
            Value::Number(number) => Self::Double(*number),
            Value::Integer(integer) => Self::Int(*integer),
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Json(json) => Self::of_json(json),
            Value::Scores(scores) => Self::Scores(scores),
            _ => Self::Opaque,
        }
    }

    fn of_json(json: &'v Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(bool) => Self::Bool(*bool),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Int(integer),
                (None, number) => Self::Double(number.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Str::Of(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
        }
    }

    /// The items of a list.
    fn items(&self) -> Option<Items<'_, 'v>> {
        match self {
            Self::Texts(texts) => Some(Items::Texts(texts)),
            Self::List(list) => Some(Items::List(list)),
            Self::Json(Json::Array(items)) => Some(Items::Json(items)),
            _ => None,
        }
    }

    /// How many members an object has.
    fn count_of_names(&self) -> Option<usize> {
        match self {
            Self::Json(Json::Object(members)) => Some(members.len()),
            Self::Scores(scores) => Some(scores.len()),
            _ => None,
        }
    }

    /// The names of an object.
    fn names(&self) -> Option<Vec<Val<'v>>> {
        match *self {
            Self::Json(Json::Object(members)) => {
                let names = members.keys();
                Some(names.map(|name| Self::Text(Str::Of(name))).collect())
            }
            Self::Scores(scores) => {
                let names = scores.iter().map(|score| &*score.label);
                Some(names.map(|name| Self::Text(Str::Of(name))).collect())
            }
            _ => None,
        }
    }

    /// The member of an object.
    fn member(&self, name: &str) -> Result<Val<'v>, &'static str> {
        let found = match *self {
            Self::Json(Json::Object(members)) => members.get(name).map(Self::of_json),
            Self::Scores(scores) => {
                let mut scores = scores.iter();
                let found = scores.find(|score| *score.label == *name);
                found.map(|score| Self::Double(score.probability))
            }
            Self::Null => return Err("null has no fields"),
            _ => return Err("it is no object"),
        };
        found.ok_or("there is no such field")
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => **a == **b,
            (Self::Json(Json::Object(a)), Self::Json(Json::Object(b))) => {
                a.len() == b.len()
                    && a.iter().all(|(name, member)| {
                        let other = b.get(name);
                        other.is_some_and(|it| Self::of_json(member).equals(&Self::of_json(it)))
                    })
            }
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            _ => match (self.items(), other.items()) {
                (Some(a), Some(b)) => {
                    a.len() == b.len()
                        && (0..a.len()).all(|index| match (a.get(index), b.get(index)) {
                            (Some(a), Some(b)) => a.equals(&b),
                            _ => false,
                        })
                }
                _ => false,
            },
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Int(a), Self::Double(b)) => compare_mixed(*a, *b),
            (Self::Double(a), Self::Int(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
            (Self::Text(a), Self::Text(b)) => Some((**a).cmp(&**b)),
            _ => None,
        }
    }
}

/// The order of a whole number and another one, exact beyond what `f64` holds.
fn compare_mixed(integer: i64, number: f64) -> Option<Ordering> {
    /// 2 to the power of 63: above all whole numbers.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.is_nan() {
        return None;
    }
    if number >= LIMIT {
        return Some(Ordering::Less);
    }
    if number < -LIMIT {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds of i64")]
    let whole = number.trunc() as i64;
    let fraction = number - number.trunc();
    Some(integer.cmp(&whole).then(0.0.partial_cmp(&fraction)?))
}

enum Items<'i, 'v> {
    Texts(&'v [Arc<str>]),
    List(&'i [Val<'v>]),
    Json(&'v [Json]),
}

impl<'v> Items<'_, 'v> {
    fn len(&self) -> usize {
        match self {
            Self::Texts(items) => items.len(),
            Self::List(items) => items.len(),
            Self::Json(items) => items.len(),
        }
    }

    fn get(&self, index: usize) -> Option<Val<'v>> {
        match self {
            Self::Texts(items) => items.get(index).map(|text| Val::Text(Str::Of(text))),
            Self::List(items) => items.get(index).cloned(),
            Self::Json(items) => items.get(index).map(Val::of_json),
        }
    }
}

/// Evaluates a condition that is bound; `value` gives what a variable holds, [`None`] for null.
pub(super) fn evaluate<'v>(
    root: &'v Expr,
    value: &dyn Fn(usize) -> Option<&'v Value>,
) -> Result<bool, Fault> {
    let mut run = Run {
        value,
        locals: Vec::new(),
        steps: 0,
    };
    run.bool(root)
}

struct Run<'r, 'v> {
    value: &'r dyn Fn(usize) -> Option<&'v Value>,
    locals: Vec<Val<'v>>,
    steps: usize,
}

type Given<T> = Result<T, Fault>;

fn fault<T>(expr: &Expr, what: &'static str) -> Given<T> {
    Err(Fault {
        what,
        span: expr.span.clone(),
    })
}

impl<'v> Run<'_, 'v> {
    fn steps(&mut self, expr: &Expr, bytes: usize) -> Given<()> {
        self.steps += 1 + bytes / BYTES_PER_STEP;
        if self.steps > MAX_STEPS {
            return fault(expr, "it takes too many steps");
        }
        Ok(())
    }

    fn bool(&mut self, expr: &'v Expr) -> Given<bool> {
        match self.eval(expr)? {
            Val::Bool(bool) => Ok(bool),
            Val::Null => fault(expr, "it is null, not true or false"),
            _ => fault(expr, "it is neither true nor false"),
        }
    }

    fn text(&mut self, expr: &'v Expr) -> Given<Str<'v>> {
        match self.eval(expr)? {
            Val::Text(text) => Ok(text),
            Val::Null => fault(expr, "it is null, not a text"),
            _ => fault(expr, "it is no text"),
        }
    }

    /// A text made of another one.
    fn changed(
        &mut self,
        expr: &'v Expr,
        of: &'v Expr,
        change: fn(&str) -> String,
    ) -> Given<Str<'v>> {
        let text = self.text(of)?;
        self.steps(expr, text.len())?;
        Ok(Str::from(change(&text)))
    }

    /// A value that may be spelt by a text.
    fn spelt(&mut self, expr: &'v Expr, of: &'v Expr) -> Given<Val<'v>> {
        let value = self.eval(of)?;
        if let Val::Text(text) = &value {
            self.steps(expr, text.len())?;
        }
        Ok(value)
    }

    fn eval(&mut self, expr: &'v Expr) -> Given<Val<'v>> {
        self.steps(expr, 0)?;
        Ok(match &expr.kind {
            ExprKind::Literal(literal) => match literal {
                Literal::Null => Val::Null,
                Literal::Bool(bool) => Val::Bool(*bool),
                Literal::Integer(integer) => Val::Int(*integer),
                Literal::Double(number) => Val::Double(*number),
                Literal::Text(text) => Val::Text(Str::Of(text)),
            },
            ExprKind::Environment(text) => Val::Text(Str::Of(text)),
            ExprKind::List(items) => {
                let items = items.iter().map(|item| self.eval(item));
                Val::List(items.collect::<Given<Vec<_>>>()?.into())
            }
            ExprKind::Variable(index) => (self.value)(*index).map_or(Val::Null, Val::of),
            ExprKind::Local(index) => match self.locals.get(*index) {
                Some(local) => local.clone(),
                None => return fault(expr, "it is not bound"),
            },
            ExprKind::Name(_) | ExprKind::Pattern(_) => return fault(expr, "it is no value"),
            ExprKind::Select(of, field) => {
                let of = self.eval(of)?;
                self.steps(expr, lookup_cost(&of))?;
                match of.member(field) {
                    Ok(member) => member,
                    Err(what) => return fault(expr, what),
                }
            }
            ExprKind::Index(of, index) => {
                let of = self.eval(of)?;
                let index = self.eval(index)?;
                self.steps(expr, lookup_cost(&of))?;
                match indexed(&of, &index) {
                    Ok(item) => item,
                    Err(what) => return fault(expr, what),
                }
            }
            ExprKind::Not(inner) => Val::Bool(!self.bool(inner)?),
            ExprKind::Negate(inner) => match self.eval(inner)? {
                Val::Int(integer) => match integer.checked_neg() {
                    Some(integer) => Val::Int(integer),
                    None => return fault(expr, OVERFLOW),
                },
                Val::Double(number) => Val::Double(-number),
                _ => return fault(expr, "it is no number"),
            },
            ExprKind::Binary(binary, left, right) => self.binary(expr, *binary, left, right)?,
            ExprKind::All(parts) => Val::Bool(self.decide(parts.iter(), false)?),
            ExprKind::Any(parts) => Val::Bool(self.decide(parts.iter(), true)?),
            ExprKind::Choose(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if self.bool(condition)? {
                    then
                } else {
                    otherwise
                };
                self.eval(chosen)?
            }
            ExprKind::Has(inner) => Val::Bool(match self.eval(inner) {
                Ok(value) => !matches!(value, Val::Null),
                Err(_) if self.steps > MAX_STEPS => return fault(expr, "it takes too many steps"),
                Err(_) => false,
            }),
            ExprKind::Call(function, arguments) => self.call(expr, *function, arguments)?,
            ExprKind::Loop {
                what, list, body, ..
            } => self.run_loop(expr, *what, list, body)?,
        })
    }

    /// `&&` and `||`: one part that is `decisive` decides, whatever has no value.
    fn decide(&mut self, parts: impl Iterator<Item = &'v Expr>, decisive: bool) -> Given<bool> {
        let mut failed = None;
        for part in parts {
            match self.bool(part) {
                Ok(bool) if bool == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(fault) => {
                    failed.get_or_insert(fault);
                }
            }
        }
        failed.map_or(Ok(!decisive), Err)
    }

    fn binary(
        &mut self,
        expr: &'v Expr,
        binary: Binary,
        left: &'v Expr,
        right: &'v Expr,
    ) -> Given<Val<'v>> {
        let a = self.eval(left)?;
        let b = self.eval(right)?;
        match binary {
            Binary::Equal => return Ok(Val::Bool(self.equal(expr, &a, &b)?)),
            Binary::Unequal => return Ok(Val::Bool(!self.equal(expr, &a, &b)?)),
            Binary::In => return self.is_in(expr, &a, &b),
            _ => {}
        }
        if let Some(is) = is_ordered(binary) {
            return match (a.compare(&b), a, b) {
                (Some(order), ..) => Ok(Val::Bool(is(order))),
                // What is no number is neither less nor more than one.
                (None, Val::Double(_), Val::Double(_) | Val::Int(_))
                | (None, Val::Int(_), Val::Double(_)) => Ok(Val::Bool(false)),
                _ => fault(expr, "these have no order"),
            };
        }
        let given = match (a, b) {
            (Val::Int(a), Val::Int(b)) => return integers(expr, binary, a, b),
            (Val::Double(a), Val::Double(b)) => numbers(binary, a, b),
            (Val::Int(a), Val::Double(b)) => numbers(binary, a as f64, b),
            (Val::Double(a), Val::Int(b)) => numbers(binary, a, b as f64),
            (Val::Text(a), Val::Text(b)) if binary == Binary::Add => {
                self.steps(expr, a.len() + b.len())?;
                Some(Val::Text(Str::from([&*a, &*b].concat())))
            }
            (a, b) if binary == Binary::Add => {
                let lists = a.items().zip(b.items());
                match lists {
                    Some((a, b)) => {
                        self.steps(expr, (a.len() + b.len()) * BYTES_PER_STEP)?;
                        let all = (0..a.len()).filter_map(|index| a.get(index));
                        let more = (0..b.len()).filter_map(|index| b.get(index));
                        Some(Val::List(all.chain(more).collect()))
                    }
                    None => None,
                }
            }
            _ => None,
        };
        given.map_or_else(|| fault(expr, "its operator does not take these"), Ok)
    }

    fn equal(&mut self, expr: &'v Expr, a: &Val<'v>, b: &Val<'v>) -> Given<bool> {
        let is_deep = |val: &Val<'_>| matches!(val, Val::Json(_) | Val::List(_) | Val::Texts(_));
        let bytes = match (a, b) {
            (Val::Text(a), Val::Text(b)) => a.len().min(b.len()),
            (a, b) if is_deep(a) && is_deep(b) => cost(a, MAX_BYTES) + cost(b, MAX_BYTES),
            _ => 0,
        };
        self.steps(expr, bytes)?;
        Ok(a.equals(b))
    }

    fn is_in(&mut self, expr: &'v Expr, item: &Val<'v>, list: &Val<'v>) -> Given<Val<'v>> {
        if let Some(items) = list.items() {
            for index in 0..items.len() {
                if let Some(other) = items.get(index)
                    && self.equal(expr, item, &other)?
                {
                    return Ok(Val::Bool(true));
                }
            }
            return Ok(Val::Bool(false));
        }
        match (item, list) {
            (Val::Text(name), Val::Json(Json::Object(_)) | Val::Scores(_)) => {
                self.steps(expr, lookup_cost(list))?;
                Ok(Val::Bool(list.member(name).is_ok()))
            }
            (_, Val::Json(Json::Object(_)) | Val::Scores(_)) => Ok(Val::Bool(false)),
            (_, Val::Null) => fault(expr, "null has no items"),
            _ => fault(expr, "it has no items"),
        }
    }

    fn call(
        &mut self,
        expr: &'v Expr,
        function: Function,
        arguments: &'v [Expr],
    ) -> Given<Val<'v>> {
        let [first, rest @ ..] = arguments else {
            return fault(expr, "it takes something");
        };
        if function == Function::OrValue {
            return match (self.eval(first), rest) {
                (Ok(Val::Null) | Err(_), [default]) if self.steps <= MAX_STEPS => {
                    self.eval(default)
                }
                (given, _) => given,
            };
        }
        let texts = |run: &mut Self, part: &'v Expr| -> Given<(Str<'v>, Str<'v>)> {
            let (text, part) = (run.text(first)?, run.text(part)?);
            run.steps(expr, text.len() + part.len())?;
            Ok((text, part))
        };
        Ok(match (function, rest) {
            (Function::Contains, [part]) => {
                let (text, part) = texts(self, part)?;
                Val::Bool(text.contains(&*part))
            }
            (Function::StartsWith, [part]) => {
                let (text, part) = texts(self, part)?;
                Val::Bool(text.starts_with(&*part))
            }
            (Function::EndsWith, [part]) => {
                let (text, part) = texts(self, part)?;
                Val::Bool(text.ends_with(&*part))
            }
            (Function::Matches, [pattern]) => {
                let text = self.text(first)?;
                self.steps(expr, text.len() * MATCH_FACTOR)?;
                let ExprKind::Pattern(pattern) = &pattern.kind else {
                    return fault(pattern, "it is no regular expression");
                };
                Val::Bool(pattern.is_match(&text))
            }
            (Function::LowerAscii, []) => {
                Val::Text(self.changed(expr, first, str::to_ascii_lowercase)?)
            }
            (Function::UpperAscii, []) => {
                Val::Text(self.changed(expr, first, str::to_ascii_uppercase)?)
            }
            (Function::Size, []) => {
                let of = self.eval(first)?;
                if let Val::Text(text) = &of {
                    self.steps(expr, text.len())?;
                }
                match size(&of) {
                    Some(size) => Val::Int(i64::try_from(size).unwrap_or(i64::MAX)),
                    None => return fault(expr, "it has no size"),
                }
            }
            (Function::Int, []) => match to_integer(&self.spelt(expr, first)?) {
                Some(integer) => Val::Int(integer),
                None => return fault(expr, "it is no whole number of 64 bits"),
            },
            (Function::Double, []) => match to_number(&self.spelt(expr, first)?) {
                Some(number) => Val::Double(number),
                None => return fault(expr, "it is no number"),
            },
            (Function::Text, []) => match self.eval(first)? {
                text @ Val::Text(_) => text,
                Val::Bool(bool) => Val::Text(Str::from(bool.to_string())),
                Val::Int(integer) => Val::Text(Str::from(integer.to_string())),
                Val::Double(number) => Val::Text(Str::from(number.to_string())),
                _ => return fault(expr, "it cannot be a text"),
            },
            _ => return fault(expr, "it takes something else"),
        })
    }

    fn run_loop(
        &mut self,
        expr: &'v Expr,
        what: Loop,
        list: &'v Expr,
        body: &'v Expr,
    ) -> Given<Val<'v>> {
        let list = self.eval(list)?;
        if let Some(count) = list.count_of_names() {
            self.steps(expr, count * BYTES_PER_STEP)?;
        }
        let names = list.names();
        let items = match &names {
            Some(names) => Items::List(names),
            None => match list.items() {
                Some(items) => items,
                None => return fault(expr, "it has no items"),
            },
        };
        let mut kept = Vec::new();
        let (mut holding, mut failed) = (0_usize, None);
        for index in 0..items.len() {
            let Some(item) = items.get(index) else {
                break;
            };
            self.locals.push(item);
            let given = match what {
                Loop::Map => self.eval(body).map(Some),
                _ => self.bool(body).map(|bool| bool.then_some(Val::Null)),
            };
            let item = self.locals.pop();
            if self.steps > MAX_STEPS {
                return fault(expr, "it takes too many steps");
            }
            match (what, given) {
                (Loop::Exists, Ok(Some(_))) => return Ok(Val::Bool(true)),
                (Loop::All, Ok(None)) => return Ok(Val::Bool(false)),
                (Loop::Map, Ok(value)) => kept.extend(value),
                (Loop::Filter, Ok(Some(_))) => kept.extend(item),
                (_, Ok(value)) => holding += usize::from(value.is_some()),
                (_, Err(fault)) => {
                    failed.get_or_insert(fault);
                }
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        Ok(match what {
            Loop::All => Val::Bool(true),
            Loop::Exists => Val::Bool(false),
            Loop::ExistsOne => Val::Bool(holding == 1),
            Loop::Filter | Loop::Map => Val::List(kept.into()),
        })
    }
}

const OVERFLOW: &str = "it is beyond 64 bits";

/// What an order must be, where the operator asks for one.
fn is_ordered(binary: Binary) -> Option<fn(Ordering) -> bool> {
    Some(match binary {
        Binary::Less => Ordering::is_lt,
        Binary::AtMost => Ordering::is_le,
        Binary::Greater => Ordering::is_gt,
        Binary::AtLeast => Ordering::is_ge,
        _ => return None,
    })
}

fn integers<'v>(expr: &Expr, binary: Binary, a: i64, b: i64) -> Given<Val<'v>> {
    let given = match binary {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder => a.checked_rem(b),
        _ => None,
    };
    match given {
        Some(integer) => Ok(Val::Int(integer)),
        None if b == 0 => fault(expr, "it is divided by 0"),
        None => fault(expr, OVERFLOW),
    }
}

fn numbers<'v>(binary: Binary, a: f64, b: f64) -> Option<Val<'v>> {
    Some(Val::Double(match binary {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        _ => return None,
    }))
}

fn indexed<'v>(of: &Val<'v>, index: &Val<'v>) -> Result<Val<'v>, &'static str> {
    if let Val::Text(name) = index {
        return of.member(name);
    }
    let Some(items) = of.items() else {
        return Err("it has no items");
    };
    let index = match index {
        Val::Int(index) => usize::try_from(*index).ok(),
        Val::Double(_) => to_integer(index)
            .filter(|whole| {
                compare_mixed(*whole, to_number(index).unwrap_or(f64::NAN)) == Some(Ordering::Equal)
            })
            .and_then(|whole| usize::try_from(whole).ok()),
        _ => return Err("an item has a number"),
    };
    index
        .and_then(|index| items.get(index))
        .ok_or("the list is shorter")
}

fn size(of: &Val<'_>) -> Option<usize> {
    match of {
        Val::Text(text) => Some(text.chars().count()),
        Val::Json(Json::Object(members)) => Some(members.len()),
        Val::Scores(scores) => Some(scores.len()),
        other => other.items().map(|items| items.len()),
    }
}

/// How many bytes are looked at to compare a value, about, up to a bound.
fn cost(of: &Val<'_>, bound: usize) -> usize {
    match of {
        Val::Text(text) => text.len(),
        Val::Json(json) => weight(json, bound),
        Val::Texts(texts) => texts.iter().map(|text| text.len() + BYTES_PER_STEP).sum(),
        Val::List(items) => {
            let mut sum = 0_usize;
            for item in items.iter() {
                if sum >= bound {
                    break;
                }
                sum = sum.saturating_add(BYTES_PER_STEP + cost(item, bound));
            }
            sum
        }
        _ => 0,
    }
}

/// How many bytes are looked at to find a member.
fn lookup_cost(of: &Val<'_>) -> usize {
    match of {
        Val::Scores(scores) => scores.len() * BYTES_PER_STEP,
        _ => 0,
    }
}

/// What [`cost`] is of JSON.
fn weight(json: &Json, bound: usize) -> usize {
    let mut sum = BYTES_PER_STEP;
    let mut add = |more: usize| {
        sum = sum.saturating_add(more);
        sum < bound
    };
    match json {
        Json::String(text) => {
            add(text.len());
        }
        Json::Array(items) => {
            let mut items = items.iter();
            while items.next().is_some_and(|item| add(weight(item, bound))) {}
        }
        Json::Object(members) => {
            let mut members = members.iter();
            while members
                .next()
                .is_some_and(|(name, it)| add(name.len() + weight(it, bound)))
            {}
        }
        _ => {}
    }
    sum
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is beyond i64 is left out"
)]
fn to_integer(value: &Val<'_>) -> Option<i64> {
    match value {
        Val::Int(integer) => Some(*integer),
        Val::Double(number) => {
            let whole = number.trunc();
            let is_within = compare_mixed(i64::MIN, whole)? != Ordering::Greater
                && compare_mixed(i64::MAX, whole)? != Ordering::Less;
            is_within.then_some(whole as i64)
        }
        Val::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn to_number(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Int(integer) => Some(*integer as f64),
        Val::Double(number) => Some(*number),
        Val::Text(text) => {
            let number = text.trim().parse::<f64>().ok();
            number.filter(|number| number.is_finite())
        }
        _ => None,
    }
}
