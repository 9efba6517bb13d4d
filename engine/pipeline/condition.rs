//! `if = "..."`: a CEL expression over port values. No loops over time, no I/O.
//! CEL: <https://cel.dev>, run by the `cel` crate.

use std::fmt;
use std::sync::Arc;

use cel::{Context, Env, Program, Value as CelValue};
use omnizap_contract::{PortType, Value};

/// Longest expression, in bytes: the parser recurses.
pub const MAX_EXPRESSION_LEN: usize = 1024;

/// A parsed expression.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    /// CEL's standard functions: made once, for they are many.
    env: Arc<Env>,
    variables: Arc<[String]>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.text)
    }
}

impl Condition {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_EXPRESSION_LEN {
            return Err(format!(
                "the expression is longer than {MAX_EXPRESSION_LEN} bytes"
            ));
        }
        let program = Program::compile(text).map_err(|errors| {
            let reasons = errors.errors.iter();
            let reasons: Vec<_> = reasons
                .map(|error| format!("{} at character {}", error.msg.trim(), error.pos.1))
                .collect();
            format!("`{text}` is not an expression: {}", reasons.join("; "))
        })?;
        let mut variables: Vec<String> = program
            .references()
            .variables()
            .into_iter()
            .map(str::to_owned)
            .collect();
        variables.sort_unstable();
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
            env: Arc::new(Env::stdlib()),
            variables: variables.into(),
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names that it refers to, sorted.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Evaluates the expression over values in the order of [`Self::variables`];
    /// an absent value is `null`.
    ///
    /// # Errors
    /// Why it has no answer, or that its answer is not a bool.
    pub fn evaluate<'v>(
        &self,
        values: impl IntoIterator<Item = Option<&'v Value>>,
    ) -> Result<bool, String> {
        let mut context = Context::with_env(self.env.clone());
        for (name, value) in self.variables.iter().zip(values) {
            context.add_variable_from_value(name.as_str(), value.map_or(CelValue::Null, to_cel));
        }
        match self.program.execute(&context) {
            Ok(CelValue::Bool(bool)) => Ok(bool),
            Ok(other) => Err(format!(
                "`{}` gives {:?}, expected true or false",
                self.text,
                other.type_of()
            )),
            Err(error) => Err(format!("`{}`: {error}", self.text)),
        }
    }

    /// Checks that the expression gives a bool over ports of these types, by
    /// evaluating it over a value of each.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn check(&self, types: &[PortType]) -> Result<(), String> {
        let samples: Vec<_> = types.iter().map(|ty| sample(*ty)).collect();
        self.evaluate(samples.iter().map(Some)).map(|_| ())
    }
}

fn sample(ty: PortType) -> Value {
    match ty {
        PortType::Bytes => Value::Bytes(bytes::Bytes::new()),
        PortType::Text => Value::from("text"),
        PortType::TextList => Value::from(vec![Arc::from("text")]),
        PortType::Number => Value::Number(0.5),
        PortType::Integer => Value::Integer(1),
        PortType::Bool => Value::Bool(false),
        _ => Value::from(serde_json::json!({})),
    }
}

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Bytes(bytes) => CelValue::Bytes(Arc::new(bytes.to_vec())),
        Value::Text(text) => CelValue::from(&**text),
        Value::Number(number) => CelValue::Float(*number),
        Value::Integer(integer) => CelValue::Int(*integer),
        Value::Bool(bool) => CelValue::Bool(*bool),
        Value::Json(json) => cel::to_value(&**json).unwrap_or(CelValue::Null),
        other => cel::to_value(other.to_json()).unwrap_or(CelValue::Null),
    }
}

/// True for the types that an expression can look into without copying pixels
/// or vectors.
#[must_use]
pub const fn is_expressible(ty: PortType) -> bool {
    !matches!(
        ty,
        PortType::Image | PortType::Embedding | PortType::Tensor | PortType::Bytes
    )
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{PortType, Value};

    use super::{Condition, MAX_EXPRESSION_LEN};

    #[test]
    fn expressions_see_ports() {
        let gate = Condition::parse("entropy <= 0.72 && margin >= 0.08").expect("well-formed");
        assert_eq!(gate.variables(), ["entropy", "margin"]);
        let run = |entropy: f64, margin: f64| {
            gate.evaluate([Some(&Value::Number(entropy)), Some(&Value::Number(margin))])
        };
        assert_eq!(run(0.5, 0.1), Ok(true));
        assert_eq!(run(0.8, 0.1), Ok(false));
        assert!(gate.evaluate([None, None]).is_err(), "null has no order");
        let absent =
            Condition::parse("theme != null && theme.startsWith('a')").expect("well-formed");
        assert_eq!(absent.evaluate([None]), Ok(false));
        assert_eq!(absent.evaluate([Some(&Value::from("ab"))]), Ok(true));
    }

    #[test]
    fn an_integer_literal_compares_with_a_number() {
        let whole = Condition::parse("entropy > 1").expect("well-formed");
        assert_eq!(whole.evaluate([Some(&Value::Number(1.5))]), Ok(true));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let message = Condition::parse("entropy <= ").expect_err("incomplete");
        assert!(message.contains("entropy <= "), "{message}");
        assert!(Condition::parse(&"!".repeat(MAX_EXPRESSION_LEN + 1)).is_err());
        let number = Condition::parse("1 + 1").expect("well-formed");
        assert!(number.check(&[]).is_err());
        // Not `text == 'a'`: CEL defines `error && false` as false.
        let types = Condition::parse("flag && text != 'a'").expect("well-formed");
        assert!(types.check(&[PortType::Bool, PortType::Text]).is_ok());
        assert!(types.check(&[PortType::Number, PortType::Text]).is_err());
    }
}
