//! Random conditions: what passes has a value for whatever a request brings, but for what only a
//! request can tell (a number too large, an item that is not there), and what is refused has none
//! for some request.

use std::sync::Arc;

use fastrand::Rng;
use omnizap_contract::Value;
use serde_json::json;

use super::syntax::{self, Expr};
use super::tests::{PORTS, RAN, Table};
use super::{Mistake, check, eval};

/// Conditions of one run, and requests of each.
const CONDITIONS: usize = 20_000;
const REQUESTS: usize = 4_000;
const SEED: u64 = 15;
/// Of so many that are refused one may have a value by what its parts have to do with each other.
const UNSEEN_ONE_IN: usize = 200;

/// What only the values of a request can tell.
const ONLY_AT_RUN_TIME: [&str; 7] = [
    "it is beyond 64 bits",
    "it is divided by 0",
    "the list is shorter",
    "there is no such field",
    "it is no whole number of 64 bits",
    "it is no number",
    "it takes too many steps",
];

/// What never has a value, of whatever type.
const NOTHING: &str = "(1 / 0)";

struct Maker {
    rng: Rng,
}

impl Maker {
    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.rng.usize(..of.len())]
    }

    fn flip(&mut self, one_in: usize) -> bool {
        self.rng.usize(..one_in) == 0
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.atom();
        }
        let less = depth - 1;
        match self.rng.usize(..9) {
            0 => format!("!({})", self.condition(less)),
            1 => format!("({} && {})", self.condition(less), self.condition(less)),
            2 => format!("({} || {})", self.condition(less), self.condition(less)),
            3 => {
                let [a, b, c] = [(); 3].map(|()| self.condition(less));
                format!("({a} ? {b} : {c})")
            }
            4 => {
                let (name, uses) = self.guarded();
                format!("({name} != null && {uses})")
            }
            5 => {
                let (name, uses) = self.guarded();
                format!("({name} == null || {uses})")
            }
            6 => {
                let (name, uses) = self.guarded();
                format!("(has({name}) ? {uses} : {})", self.condition(less))
            }
            7 => {
                let is = self.one(&["==", "!="]);
                format!("(gate.ran {is} true && !is_flagged)")
            }
            _ => self.atom(),
        }
    }

    /// A name that may be null, and a condition over it.
    fn guarded(&mut self) -> (String, String) {
        let name = self.one(&[
            "theme",
            "m",
            "maybe",
            "words",
            "is_flagged",
            "request.theme",
        ]);
        let uses = match name {
            "m" => format!("{} > {}", self.number(1), self.number(1)),
            "maybe" | "is_flagged" => name.to_owned(),
            "words" => format!("size({}) > 0", self.list()),
            _ => format!("{}.contains({})", self.text(1), self.text(0)),
        };
        let uses = if self.flip(3) {
            uses
        } else {
            match name {
                "m" => "m > 0.5".to_owned(),
                "words" => "'a' in words".to_owned(),
                "maybe" | "is_flagged" => format!("!{name}"),
                other => format!("{other}.startsWith('a')"),
            }
        };
        (name.to_owned(), uses)
    }

    fn atom(&mut self) -> String {
        match self.rng.usize(..11) {
            0 => self
                .one(&["b", "maybe", "maybe == true", "gate.ran", "is_flagged"])
                .to_owned(),
            1 => {
                let order = self.one(&["<", "<=", ">", ">=", "==", "!="]);
                format!("{} {order} {}", self.number(2), self.number(1))
            }
            2 => {
                let order = self.one(&["<", "==", ">=", "!="]);
                format!("{} {order} {}", self.integer(2), self.integer(1))
            }
            3 => {
                let call = self.one(&["contains", "startsWith", "endsWith"]);
                format!("{}.{call}({})", self.text(1), self.text(0))
            }
            4 => format!("{} in {}", self.text(1), self.list()),
            5 => {
                let which = self.one(&["exists", "all", "exists_one"]);
                let body = self.one(&["x == 'a'", "size(x) > 1", "x.startsWith('b')", "x > 1"]);
                format!("{}.{which}(x, {body})", self.list())
            }
            6 => {
                let body = self.one(&[
                    "t.share > 0.5",
                    "t.label == 'a'",
                    "t.mark != null && t.mark.contains('a')",
                    "t.mark.contains('a')",
                    "t.lable == 'a'",
                ]);
                format!("top.exists(t, {body})")
            }
            7 => format!("size({}) > {}", self.list(), self.integer(0)),
            8 => format!("shares[{}] > {}", self.text(0), self.number(0)),
            9 => {
                let index = self.one(&["0", "1", "5", "i"]);
                format!("top[{index}].label == {}", self.text(0))
            }
            _ => format!("{} == {}", self.text(1), self.text(0)),
        }
    }

    /// A number, or at times something else.
    fn number(&mut self, depth: usize) -> String {
        if depth > 0 && self.flip(3) {
            let operator = self.one(&["+", "-", "*", "/"]);
            return format!("({} {operator} {})", self.number(depth - 1), self.number(0));
        }
        let simple = [
            "n",
            "0.5",
            "1.0",
            "double(i)",
            "m.orValue(0.1)",
            "shares['a']",
        ];
        let odd = ["m", "i", "1", "name", "b", "request.m"];
        if self.flip(8) {
            self.one(&odd)
        } else {
            self.one(&simple)
        }
        .to_owned()
    }

    fn integer(&mut self, depth: usize) -> String {
        if depth > 0 && self.flip(3) {
            let operator = self.one(&["+", "-", "*", "/", "%"]);
            return format!(
                "({} {operator} {})",
                self.integer(depth - 1),
                self.integer(0)
            );
        }
        let simple = [
            "i",
            "0",
            "1",
            "7",
            "int(n)",
            "size(name)",
            "size(labels)",
            "-i",
        ];
        let odd = ["n", "0.5", "theme", "size(theme)", "size(b)"];
        if self.flip(10) {
            self.one(&odd)
        } else {
            self.one(&simple)
        }
        .to_owned()
    }

    fn text(&mut self, depth: usize) -> String {
        if depth > 0 && self.flip(5) {
            return format!("({} + {})", self.text(0), self.text(0));
        }
        let simple = [
            "name",
            "'a'",
            "'bb'",
            "theme.orValue('')",
            "name.lowerAscii()",
            "string(i)",
        ];
        let odd = ["theme", "n", "labels", "request.theme"];
        if self.flip(8) {
            self.one(&odd)
        } else {
            self.one(&simple)
        }
        .to_owned()
    }

    fn list(&mut self) -> String {
        let simple = [
            "labels",
            "['a', 'bb']",
            "words.orValue([])",
            "labels.filter(y, y != 'a')",
        ];
        let odd = ["words", "name", "top", "n"];
        if self.flip(8) {
            self.one(&odd)
        } else {
            self.one(&simple)
        }
        .to_owned()
    }

    fn value(&mut self, name: &str, may_be_null: bool) -> Option<Value> {
        if may_be_null && self.flip(3) {
            return None;
        }
        Some(match name {
            "theme" | "name" => Value::from(self.one(&["a", "ab", "bb", "", "A", "1"])),
            "n" | "m" => {
                let numbers = [0.0, 0.5, 0.7, 1.0, 2.5, -1.0, 1e300];
                Value::Number(numbers[self.rng.usize(..numbers.len())])
            }
            "i" => {
                let numbers = [0, 1, 2, -1, 7, i64::MAX, i64::MIN];
                Value::Integer(numbers[self.rng.usize(..numbers.len())])
            }
            "b" | "maybe" | "is_flagged" => Value::Bool(self.rng.bool()),
            "labels" | "words" => {
                let all = ["a", "bb", "c"];
                let some = all
                    .iter()
                    .take(self.rng.usize(..4))
                    .map(|text| Arc::from(*text));
                Value::from(some.collect::<Vec<Arc<str>>>())
            }
            "top" => {
                let mark = match self.rng.usize(..2) {
                    0 => json!(null),
                    _ => json!("a"),
                };
                let item = json!({"label": "a", "share": 0.7, "mark": mark});
                Value::from(json!(vec![item; self.rng.usize(..3)]))
            }
            "shares" if self.flip(3) => Value::from(json!({})),
            "shares" => Value::from(json!({"a": 0.7, "bb": 0.1})),
            _ => Value::from(json!(null)),
        })
    }

    /// The values of one request, by variable.
    fn request(&mut self) -> Vec<Option<Value>> {
        let ran = self.rng.bool();
        let mut values: Vec<_> = PORTS
            .iter()
            .map(|(name, .., may_be_null)| self.value(name, *may_be_null))
            .collect();
        // What a stage gives is there where it ran, and only there.
        let given = PORTS
            .iter()
            .position(|(name, ..)| *name == "is_flagged")
            .unwrap();
        values[given] = ran.then(|| Value::Bool(self.rng.bool()));
        values.push(Some(Value::Bool(ran)));
        assert_eq!(values.len(), RAN + 1);
        values
    }
}

/// Binds an expression, whether its types fit or not.
fn forced(text: &str) -> Result<(Expr, Vec<Mistake>), Mistake> {
    let mut root = syntax::parse(text, &|_| None)?;
    let mistakes = check::check(text, &mut root, &mut Table::new()).err();
    Ok((root, mistakes.unwrap_or_default()))
}

/// The first of some requests for which an expression has no value, and why.
fn first_fault(maker: &mut Maker, root: &Expr) -> Option<String> {
    (0..REQUESTS).find_map(|_| {
        let values = maker.request();
        let given = eval::evaluate(root, &|index| values[index].as_ref());
        given.err().map(|fault| fault.what.to_owned())
    })
}

#[test]
fn what_passes_has_a_value_and_what_is_refused_has_none_for_some_request() {
    let mut maker = Maker {
        rng: Rng::with_seed(SEED),
    };
    let (mut passed, mut refused, mut for_no_reason) = (0, 0, Vec::new());
    for _ in 0..CONDITIONS {
        let text = maker.condition(2);
        let (root, mistakes) =
            forced(&text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
        let Some(mistake) = mistakes.first() else {
            passed += 1;
            for _ in 0..8 {
                let values = maker.request();
                if let Err(fault) = eval::evaluate(&root, &|index| values[index].as_ref()) {
                    let is_allowed = ONLY_AT_RUN_TIME.contains(&fault.what);
                    assert!(is_allowed, "{text} passes: {fault} with {values:?}");
                }
            }
            continue;
        };
        refused += 1;
        // `==` of two types has a value, which is always the same. Two kinds of numbers are refused
        // as CEL refuses them, and have a value all the same, since those of JSON may be either.
        if ["never", "found one of each"]
            .iter()
            .any(|it| mistake.message.contains(it))
        {
            continue;
        }
        if first_fault(&mut maker, &root).is_some() {
            continue;
        }
        // It has a value all the same: then nothing ever asks for the part that is refused.
        let mut without = text.clone();
        without.replace_range(mistake.span.clone(), NOTHING);
        let (root, _) = forced(&without).unwrap();
        if first_fault(&mut maker, &root).is_some() {
            for_no_reason.push(format!("{text}: {mistake:?}"));
        }
    }
    // That two parts are never true together, no type tells.
    assert!(
        for_no_reason.len() * UNSEEN_ONE_IN <= refused,
        "{} of {refused}: {for_no_reason:#?}",
        for_no_reason.len()
    );
    // Both sides are tried.
    assert!(passed > CONDITIONS / 4, "{passed} passed");
    assert!(refused > CONDITIONS / 8, "{refused} were refused");
}
