//! Whether two answers are the same, bit for bit.

use omnizap_contract::{TensorData, Value};
use omnizap_host::StageManifest;
use omnizap_host::probe::Answer;

/// What differs, if anything. Of errors only the status counts: a message may say when.
pub(super) fn difference(stage: &StageManifest, left: &Answer, right: &Answer) -> Option<String> {
    match (left, right) {
        (Answer::Given(left), Answer::Given(right)) => stage.outputs.iter().find_map(|output| {
            let name = &output.port.name;
            match (left.value(name), right.value(name)) {
                (None, None) => None,
                (Some(left), Some(right)) if is_same(left, right) => None,
                (left, right) => Some(format!(
                    "the output `{name}` was {} and then {}",
                    show(left),
                    show(right)
                )),
            }
        }),
        (Answer::Failed(left), Answer::Failed(right)) if left.status == right.status => None,
        (Answer::Wrong(left), Answer::Wrong(right)) if left == right => None,
        (left, right) => Some(format!("it gave {} and then {}", end(left), end(right))),
    }
}

fn is_same(left: &Value, right: &Value) -> bool {
    let same = |left: f64, right: f64| left.to_bits() == right.to_bits();
    let same_f32 = |left: &[f32], right: &[f32]| {
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        bits(left) == bits(right)
    };
    match (left, right) {
        (Value::Bytes(left), Value::Bytes(right)) => left == right,
        (Value::Image(left), Value::Image(right)) => left == right,
        (Value::Embedding(left), Value::Embedding(right)) => {
            left.model == right.model && same_f32(&left.vector, &right.vector)
        }
        (Value::Scores(left), Value::Scores(right)) => {
            left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| {
                    left.label == right.label
                        && same(left.logit, right.logit)
                        && same(left.probability, right.probability)
                })
        }
        (Value::Tensor(left), Value::Tensor(right)) => {
            left.shape == right.shape
                && match (&left.data, &right.data) {
                    (TensorData::F32(left), TensorData::F32(right)) => same_f32(left, right),
                    (left, right) => left == right,
                }
        }
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::TextList(left), Value::TextList(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => same(*left, *right),
        (Value::Integer(left), Value::Integer(right)) => left == right,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Json(left), Value::Json(right)) => left == right,
        _ => false,
    }
}

fn show(value: Option<&Value>) -> String {
    /// Most characters of a value.
    const MOST: usize = 80;
    let text = value.map_or("absent".into(), |value| value.to_json().to_string());
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn end(answer: &Answer) -> String {
    match answer {
        Answer::Given(_) => "outputs".into(),
        Answer::Failed(trouble) => trouble.to_string(),
        Answer::Wrong(reason) => format!("outputs that are refused ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Tensor, Value};

    use super::*;

    fn tensor(data: [f32; 2]) -> Value {
        Value::from(Tensor::new(vec![2], TensorData::F32(data.into())).unwrap())
    }

    #[test]
    fn values_are_compared_by_their_bits() {
        assert!(is_same(&Value::Number(0.5), &Value::Number(0.5)));
        assert!(!is_same(&Value::Number(0.0), &Value::Number(-0.0)));
        assert!(!is_same(&Value::Number(1.0), &Value::Integer(1)));
        assert!(is_same(&tensor([1.0, f32::NAN]), &tensor([1.0, f32::NAN])));
        assert!(!is_same(&tensor([1.0, 2.0]), &tensor([1.0, 2.0000002])));
    }
}
