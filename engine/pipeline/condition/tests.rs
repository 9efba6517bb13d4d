use std::sync::Arc;

use omnizap_contract::{JsonShape, PortType, Value};
use serde_json::json;

use super::{Bound, Condition, Mistake, Names, Type, Unknown, Variable};

const TOP: &str = r#"[{"label": "text", "share": "number", "mark": "text?"}]"#;

/// Ports by name: the type, the shape, and whether they may be null.
pub(super) const PORTS: [(&str, PortType, &str, bool); 14] = [
    ("theme", PortType::Text, "\"any\"", true),
    ("name", PortType::Text, "\"any\"", false),
    ("n", PortType::Number, "\"any\"", false),
    ("m", PortType::Number, "\"any\"", true),
    ("i", PortType::Integer, "\"any\"", false),
    ("b", PortType::Bool, "\"any\"", false),
    ("maybe", PortType::Bool, "\"any\"", true),
    ("labels", PortType::TextList, "\"any\"", false),
    ("words", PortType::TextList, "\"any\"", true),
    ("j", PortType::Json, "\"any\"", true),
    ("top", PortType::Json, TOP, false),
    ("shares", PortType::Json, r#"{"*": "number"}"#, false),
    ("image", PortType::Image, "\"any\"", true),
    ("is_flagged", PortType::Bool, "\"any\"", true),
];
/// The variable behind the ports: whether the stage that gives `is_flagged` ran.
pub(super) const RAN: usize = PORTS.len();

pub(super) struct Table(Vec<Variable>);

impl Table {
    pub(super) fn new() -> Self {
        let ports = PORTS.iter().map(|(name, ty, shape, is_nullable)| {
            let shape: JsonShape = shape.parse().unwrap();
            Variable {
                ty: Type::of_port(*ty, &shape),
                null_because: is_nullable.then(|| "it may be left out".to_owned()),
                absent_because: is_nullable.then(|| "it may be left out".to_owned()),
                given_by: if *name == "is_flagged" {
                    vec![7]
                } else {
                    vec![]
                },
                asked_as: (*name == "is_flagged").then(|| "gate.ran".to_owned()),
                ran: None,
                is_of_stage: *name == "is_flagged",
            }
        });
        let ran = Variable {
            ty: Type::Bool,
            null_because: None,
            absent_because: None,
            given_by: Vec::new(),
            asked_as: None,
            ran: Some(7),
            is_of_stage: true,
        };
        Self(ports.chain([ran]).collect())
    }
}

impl Names for Table {
    fn port(&mut self, name: &str) -> Result<usize, Unknown> {
        let known = PORTS.iter().position(|(known, ..)| *known == name);
        known.ok_or_else(|| Unknown {
            message: format!("refers to `{name}`, which nothing before it gives"),
            help: None,
        })
    }

    fn of(&mut self, producer: &str, member: &str) -> Option<Result<usize, Unknown>> {
        match (producer, member) {
            ("gate", "ran") => Some(Ok(RAN)),
            ("request" | "gate", port) => Some(self.port(port)),
            _ => None,
        }
    }

    fn variable(&self, index: usize) -> &Variable {
        &self.0[index]
    }
}

fn bind(text: &str) -> Result<(Bound, Vec<Mistake>), Vec<Mistake>> {
    let environment = |name: &str| match name {
        "LIMIT" => Some("0.5".to_owned()),
        "COUNT" => Some("3".to_owned()),
        "KEY" => Some("it's || true".to_owned()),
        "DIGITS" => Some("12345".to_owned()),
        "LIST" => Some("cat, dog".to_owned()),
        _ => None,
    };
    let condition = Condition::parse(text, &environment).map_err(|mistake| vec![mistake])?;
    condition.bind(&mut Table::new())
}

/// What a condition gives where the ports that are not named are null.
fn evaluate(text: &str, values: &[(&str, Value)]) -> Result<bool, String> {
    let (bound, _) = bind(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
    bound.evaluate(|index| {
        let (name, ..) = PORTS.get(index)?;
        let known = values.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value)
    })
}

#[track_caller]
fn holds(text: &str, values: &[(&str, Value)], expected: bool) {
    assert_eq!(evaluate(text, values), Ok(expected), "{text}");
}

/// Without a value, which counts as false.
#[track_caller]
fn has_none(text: &str, values: &[(&str, Value)]) {
    assert!(evaluate(text, values).is_err(), "{text}");
}

#[track_caller]
fn refused(text: &str, place: &str, said: &str) {
    let mistakes = bind(text).map(|_| ()).unwrap_err();
    let shown: Vec<_> = mistakes
        .iter()
        .map(|mistake| format!("{} / {:?}", mistake.message, mistake.help))
        .collect();
    let shown = shown.join("\n");
    assert_eq!(&text[mistakes[0].span.clone()], place, "{text}: {shown}");
    assert!(shown.contains(said), "{text}: {shown}");
}

#[test]
fn what_may_be_null_must_be_asked() {
    for (text, place) in [
        ("theme.startsWith('a')", "theme"),
        ("m > 0.5", "m"),
        ("m < 1.0", "m"),
        ("maybe", "maybe"),
        ("!maybe", "maybe"),
        ("size(words) > 1", "words"),
        ("'a' in words", "words"),
        ("words.exists(t, t == 'a')", "words"),
        ("b ? theme.contains('a') : true", "theme"),
        ("theme != null || theme.contains('a')", "theme"),
        ("theme == null && theme.contains('a')", "theme"),
        ("!(theme != null) && theme.contains('a')", "theme"),
        ("(theme != null || b) && theme.contains('a')", "theme"),
        ("top.exists(t, t.mark.startsWith('x'))", "t.mark"),
        ("!is_flagged", "is_flagged"),
        ("gate.ran || !is_flagged", "is_flagged"),
        ("!gate.ran && !is_flagged", "is_flagged"),
        ("request.theme.contains('a')", "request.theme"),
        ("theme + 'a' == 'ba'", "theme"),
    ] {
        refused(text, place, "may be null");
    }
    for text in [
        "theme != null && theme.startsWith('a')",
        "has(theme) && theme.startsWith('a')",
        "theme == null || theme.startsWith('a')",
        "!has(theme) || theme.startsWith('a')",
        "!(theme == null) && theme.startsWith('a')",
        "theme == null ? false : theme.startsWith('a')",
        "theme != null ? theme.startsWith('a') : b",
        "theme == 'animals' && theme.startsWith('a')",
        "theme in ['a', 'b'] && theme.startsWith('a')",
        "b && theme != null && (n > 1.0 || theme.contains('a'))",
        "theme.orValue('').startsWith('a')",
        "m.orValue(0) > 0.5",
        "maybe == true",
        "maybe.orValue(false)",
        "gate.ran && !is_flagged",
        "gate.ran == true && !is_flagged",
        "is_flagged == false",
        "theme == 'animals'",
        "theme != 'animals'",
        "top.exists(t, t.mark != null && t.mark.startsWith('x'))",
        "words != null && words.exists(t, t == 'a')",
        "j.a == 1",
        "has(j.a) && j.a > 1",
        "has(image)",
        "image != null",
    ] {
        assert!(bind(text).is_ok(), "{text}: {:?}", bind(text).err());
    }
}

#[test]
fn the_fix_stands_beside_it() {
    refused("theme.startsWith('a')", "theme", "theme.orValue('')");
    refused("theme.startsWith('a')", "theme", "theme != null &&");
    refused("maybe", "maybe", "maybe == true");
    refused("maybe", "maybe", "maybe.orValue(false)");
    // What is pasted in keeps a gate shut.
    refused("!maybe", "maybe", "maybe == false");
    refused("!maybe", "maybe", "maybe.orValue(true)");
    refused("m > 1.0", "m", "it may be left out");
    // No default that could be pasted answers for a stage.
    refused(
        "!is_flagged",
        "is_flagged",
        "begin the whole condition with",
    );
    let said = format!("{:?}", bind("!(is_flagged && b)").err());
    assert!(
        !said.contains("orValue") && !said.contains("== true"),
        "{said}"
    );
}

#[test]
fn a_gate_over_what_may_be_absent_is_pointed_out() {
    let (_, warnings) = bind("is_flagged != true").unwrap();
    assert!(warnings[0].message.contains("may be null"), "{warnings:?}");
    for text in [
        "!(is_flagged == true)",
        "!(is_flagged in [true])",
        "is_flagged == true ? false : true",
        "(is_flagged == true) == false",
        "(b && is_flagged != true) || b",
    ] {
        assert_eq!(bind(text).unwrap().1.len(), 1, "{text}");
    }
    for text in [
        "gate.ran && is_flagged != true",
        "is_flagged != null && !(is_flagged == true)",
        "!(is_flagged != false)",
        "is_flagged == false ? true : false",
        "is_flagged in [false]",
    ] {
        assert_eq!(bind(text).unwrap().1, [], "{text}");
    }
    assert!(bind("is_flagged == false").unwrap().1.is_empty());
    assert!(bind("theme != 'a'").unwrap().1.is_empty());
}

#[test]
fn types_are_checked_whatever_a_sample_would_give() {
    for (text, place, said) in [
        ("theme == 'a' && n.startsWith('x')", "n", "takes texts"),
        ("theme == 'a' && n > 'x'", "n > 'x'", "two numbers or texts"),
        (
            "n >= 0.5 ? true : 'no'",
            "n >= 0.5 ? true : 'no'",
            "one type",
        ),
        ("n", "n", "expected true or false"),
        ("1 + 1", "1 + 1", "expected true or false"),
        ("name", "name", "expected true or false"),
        ("n == 'a'", "n == 'a'", "never equals"),
        ("n == '0.5'", "n == '0.5'", "without quotes"),
        ("b == 'true'", "b == 'true'", "without quotes"),
        ("n / 2 > 1.0", "n / 2", "write `2.0`"),
        ("n % 2.0 == 0.0", "n % 2.0", "two whole numbers"),
        ("i + n > 1", "i + n", "double(i)"),
        (
            "top[0].lable == 'cat'",
            "top[0].lable",
            "did you mean `label`?",
        ),
        ("top.label == 'cat'", "top.label", "has no field"),
        ("top['a'] == 1", "'a'", "have numbers"),
        ("shares[0] > 1", "0", "have names"),
        ("'a' in name", "'a' in name", "contains"),
        ("1 in labels", "1 in labels", "never in"),
        ("labels.contains('a')", "labels", "in labels"),
        ("image.width > 1", "image", "may be null"),
        ("image == image", "image", "has(image)"),
        ("name.matches(theme)", "theme", "null"),
        ("name.matches(name)", "name", "in quotes"),
        ("name.matches('(')", "'('", "regular expression"),
        ("size(n) == 1", "size(n)", "takes a text"),
        (
            "name.startsWith()",
            "name.startsWith()",
            "text.startsWith(part)",
        ),
        ("frob(n)", "frob", "there is no function"),
        (
            "name.startWith('a')",
            "startWith",
            "did you mean `startsWith`?",
        ),
        ("txt == 'a'", "txt", "nothing before it gives"),
        ("labels.exists(l, l == 1)", "l == 1", "never equals"),
        ("['a', 1] == labels", "1", "of one type"),
        ("[theme] == labels", "theme", "may be null"),
        ("labels.exists(l, x == 1)", "x", "nothing before it gives"),
        ("n && b", "n", "wants true or false"),
        (
            "timestamp('x') == null",
            "timestamp",
            "there is no function",
        ),
        ("type(n) == double", "type", "there is no function"),
        ("has(1)", "1", "asks for a name"),
        ("-name == 'a'", "-name", "wants a number"),
    ] {
        refused(text, place, said);
    }
}

#[test]
fn what_is_no_expression_is_named_with_its_place() {
    for (text, place, said) in [
        ("theme = \"a\"", "=", "`==`"),
        ("b and b", "and", "`&&`"),
        ("b or b", "or", "`||`"),
        ("not b", "not", "`!`"),
        ("n <= ", "", "expected a value, found the end"),
        ("(b", "", "expected `)`"),
        ("b)", ")", "expected an operator or the end"),
        ("", "", "expected a value"),
        ("labels.exists(1, true)", "1", "a name for each item"),
        ("{'a': 1}.a == 1", "{", "no object"),
    ] {
        refused(text, place, said);
    }
    let deep = format!("{}b{}", "(".repeat(101), ")".repeat(101));
    let mistakes = bind(&deep).map(|_| ()).unwrap_err();
    assert!(
        mistakes[0].message.contains("nested more than"),
        "{mistakes:?}"
    );
    let fine = format!("{}b{}", "(".repeat(90), ")".repeat(90));
    assert!(bind(&fine).is_ok());
    assert!(bind(&format!("{}b", "!".repeat(1000))).is_ok());
    assert!(bind(&vec!["b"; 120].join(" && ")).is_ok());
    let _ = bind(&vec!["1"; 400].join("+"));
    let _ = bind(&format!("j{}", ".a".repeat(500)));
    assert!(bind(&"!".repeat(super::MAX_EXPRESSION_LEN + 1)).is_err());
}

fn text(text: &str) -> Value {
    Value::from(text)
}

#[test]
fn everything_has_a_value_or_counts_as_false() {
    let n = |number: f64| ("n", Value::Number(number));
    let i = |integer: i64| ("i", Value::Integer(integer));
    has_none("i + 1 > 0", &[i(i64::MAX)]);
    has_none("-i < 0", &[i(i64::MIN)]);
    has_none("i * i > 0", &[i(i64::MAX)]);
    has_none("1 / i > 0", &[i(0)]);
    has_none("i % 0 == 0", &[i(1)]);
    has_none("i / -1 > 0", &[i(i64::MIN)]);
    holds("i + 1 > 0", &[i(1)], true);
    holds("i == -9223372036854775808", &[i(i64::MIN)], true);
    let j = |json| ("j", Value::from(json));
    has_none("has(j.a) && j.a > 1", &[j(json!({"a": "x"}))]);
    holds("has(j.a) && j.a > 1", &[j(json!({}))], false);
    holds("has(j.a) && j.a > 1", &[], false);
    holds("has(j.a) && j.a > 1", &[j(json!({"a": 2}))], true);
    has_none("j.a == 1", &[]);
    has_none("j.a.b.c == 1", &[j(json!({"a": 1}))]);
    has_none("!(j.a == 1)", &[]);
    has_none("j.a", &[j(json!({"a": 1}))]);
    has_none("j[5] == 1", &[j(json!([1]))]);
    holds("j[0] == 1", &[j(json!([1]))], true);
    holds("j['a'] == 1.0", &[j(json!({"a": 1}))], true);
    holds("j.a.orValue(3) == 3", &[], true);
    let top = (
        "top",
        Value::from(json!([{"label": "cat", "share": 1.0, "mark": null}])),
    );
    let none = ("top", Value::from(json!([])));
    holds("top[0].label == 'cat'", std::slice::from_ref(&top), true);
    has_none("top[0].label == 'cat'", std::slice::from_ref(&none));
    holds("has(top[0]) && top[0].label == 'cat'", &[none], false);
    holds(
        "top.exists(t, t.label == 'cat' && t.share > 0.5)",
        &[top],
        true,
    );
    let scores = ("shares", Value::from(json!({"cat": 0.9})));
    holds("shares['cat'] > 0.5", std::slice::from_ref(&scores), true);
    holds("'dog' in shares", std::slice::from_ref(&scores), false);
    has_none("shares['dog'] > 0.5", std::slice::from_ref(&scores));
    holds("shares.exists(l, shares[l] > 0.8)", &[scores], true);
    holds(
        "n == 1 && i == 1.0 && i in [1.0] && n in [1, 2]",
        &[n(1.0), i(1)],
        true,
    );
    // 2 to the power of 53 and one more is no number of f64.
    holds(
        "i == n",
        &[n(9_007_199_254_740_992.0), i(9_007_199_254_740_993)],
        false,
    );
    holds(
        "i > n",
        &[n(9_007_199_254_740_992.0), i(9_007_199_254_740_993)],
        true,
    );
    holds("n > i", &[n(1e300), i(i64::MAX)], true);
    holds("size('ação') == 4", &[], true);
    holds(
        "int('12') + int(2.9) == 14 && double('0.5') == 0.5",
        &[],
        true,
    );
    has_none("int('x') == 1", &[]);
    has_none("int(n) == 1", &[n(1e300)]);
    holds("string(i) + 'x' == '1x'", &[i(1)], true);
}

#[test]
fn and_and_or_hold_what_they_can() {
    let b = |bool: bool| ("b", Value::Bool(bool));
    holds("j.a == 1 || b", &[b(true)], true);
    has_none("j.a == 1 || b", &[b(false)]);
    holds("j.a == 1 && b", &[b(false)], false);
    has_none("j.a == 1 && b", &[b(true)]);
    has_none("j.a == 1 ? true : true", &[]);
    let labels = ("labels", Value::from(vec![Arc::from("a"), Arc::from("bb")]));
    let labels = std::slice::from_ref(&labels);
    holds("labels.exists(l, size(l) == 2)", labels, true);
    holds("labels.all(l, size(l) == 2)", labels, false);
    holds("labels.exists_one(l, size(l) == 2)", labels, true);
    holds(
        "labels.filter(l, l.startsWith('b')) == ['bb']",
        labels,
        true,
    );
    holds("labels.map(l, size(l)) == [1, 2]", labels, true);
    holds(
        "labels.exists(a, labels.exists(b, a + 'b' == b + 'a'))",
        labels,
        false,
    );
    holds("labels + ['c'] == ['a', 'bb', 'c']", labels, true);
    holds("labels.exists(l, int(l) == 1 || l == 'bb')", labels, true);
    has_none("labels.exists(l, int(l) == 1)", labels);
    holds(
        "labels[0].matches('^a$') && 'AB'.lowerAscii() == 'ab'",
        labels,
        true,
    );
}

#[test]
fn a_variable_of_the_environment_is_a_value_of_the_type_that_is_wanted() {
    let name = |value: &str| ("name", text(value));
    holds("name == '${KEY}'", &[name("it's || true")], true);
    holds("name == ${KEY}", &[name("x")], false);
    holds("name == ${DIGITS}", &[name("12345")], true);
    holds("i == ${DIGITS}", &[("i", Value::Integer(12345))], true);
    holds("n <= ${LIMIT:-0.1}", &[("n", Value::Number(0.4))], true);
    holds(
        "n <= ${OTHER:-${LIMIT}}",
        &[("n", Value::Number(0.4))],
        true,
    );
    holds("n * ${COUNT} > 1.0", &[("n", Value::Number(0.5))], true);
    holds("name in ${LIST}", &[name("dog")], true);
    holds("${ON:-true} && b", &[("b", Value::Bool(true))], true);
    let (bound, _) = bind("name == '${KEY}'").unwrap();
    assert_eq!(bound.text(), "name == '${KEY}'");
    refused("n > ${KEY}", "${KEY}", "is not a number");
    let mistakes = format!("{:?}", bind("n > ${KEY}").err());
    assert!(!mistakes.contains("it's"), "{mistakes}");
    refused("n > ${MISSING}", "${MISSING}", "MISSING");
    // Beside JSON of which nothing is known it is what JSON would write so.
    let j = |json: serde_json::Value| ("j", Value::from(json));
    holds(
        "j.code == ${CODE:-0123}",
        &[j(json!({"code": "0123"}))],
        true,
    );
    holds("j.code == ${CODE:-0123}", &[j(json!({"code": 123}))], false);
    holds("j.code == ${CODE:-123}", &[j(json!({"code": 123}))], true);
    holds(
        "[${DIGITS}, ${LIMIT}].exists(x, x == name)",
        &[name("12345")],
        true,
    );
    holds(
        "(b ? ${DIGITS} : 'x') == name",
        &[name("12345"), ("b", Value::Bool(true))],
        true,
    );
    holds("size(${DIGITS}) == 5", &[], true);
    holds("name in [${DIGITS}, 'x']", &[name("12345")], true);
    let secret = format!("{:?}", bind("n == '${DIGITS}'").err());
    assert!(!secret.contains("12345"), "{secret}");
    holds("name == '${X:-{\"a\": {}}}'", &[name("{\"a\": {}}")], true);
}

#[test]
fn no_condition_takes_long() {
    let labels: Vec<Arc<str>> = (0..4096).map(|index| index.to_string().into()).collect();
    let labels = [("labels", Value::from(labels))];
    holds("labels.exists(l, l == '4095')", &labels, true);
    for text in [
        "labels.all(a, labels.all(b, labels.all(c, a + b != c + 'x')))",
        "labels.map(a, labels + labels).exists(b, labels.all(c, size(b) > 0))",
        "labels.map(a, labels.map(b, labels)).exists(c, c == [])",
    ] {
        let started = std::time::Instant::now();
        let given = evaluate(text, &labels);
        assert!(
            given.is_err_and(|why| why.contains("too many steps")),
            "{text}"
        );
        assert!(started.elapsed().as_secs() < 5, "{text}");
    }
}
