//! What a test writes for an output that a stage would give, made into its value.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use omnizap_contract::{Embedding, PortType, Score, Scores, Tensor, TensorData, Value};
use serde_json::Value as Json;

use super::wanted::kind_of;

/// The value of a port of that type.
///
/// # Errors
/// What was expected, and what was found.
pub(in crate::pipeline) fn value_of(ty: PortType, json: &Json) -> Result<Value, String> {
    let value = match ty {
        PortType::Image => {
            return Err(
                "pixels cannot be written in a file: let the stage run on a picture, or \
                        mock those that take its pixels"
                    .to_owned(),
            );
        }
        PortType::Bytes => bytes(json),
        PortType::Embedding => embedding(json),
        PortType::Scores => scores(json),
        PortType::Tensor => tensor(json),
        _ => {
            // A text may spell it, as it may come from the environment.
            let spelt = ty.option_type().and_then(|option| option.coerce(json));
            ty.value_of(spelt.as_ref().unwrap_or(json))
        }
    };
    let value = value.filter(Value::is_finite);
    value.ok_or_else(|| {
        let expected = expected(ty);
        format!(
            "expected {expected}, for it is of type {ty}, found {}",
            kind_of(json)
        )
    })
}

fn expected(ty: PortType) -> &'static str {
    match ty {
        PortType::Bytes => "a text in base64",
        PortType::Image => "pixels",
        PortType::Embedding => "{ model = \"...\", vector = [0.6, 0.8] }",
        PortType::Scores => {
            "{ LABEL = 0.9 } with a probability from 0 to 1 for each label, or a list of \
             { label = \"...\", probability = 0.9, logit = 12.5 }"
        }
        PortType::Tensor => {
            "{ shape = [1, 2], data = [0.5, 1.5] }, with dtype = \"i64\" or \"u8\" where they are \
             whole"
        }
        PortType::Text => "a text",
        PortType::TextList => "a list of texts",
        PortType::Number => "a number",
        PortType::Integer => "a whole number",
        PortType::Bool => "true or false",
        PortType::Json => "a text, a number, a bool, a list or a table",
    }
}

fn bytes(json: &Json) -> Option<Value> {
    let bytes = BASE64_STANDARD.decode(json.as_str()?).ok()?;
    Some(Value::Bytes(bytes.into()))
}

fn embedding(json: &Json) -> Option<Value> {
    let members = json.as_object().filter(|members| members.len() == 2)?;
    let vector = floats(members.get("vector")?)?;
    let model = members.get("model")?.as_str()?;
    (!vector.is_empty()).then(|| {
        Value::from(Embedding {
            model: model.into(),
            vector: vector.into(),
        })
    })
}

fn scores(json: &Json) -> Option<Value> {
    let scores: Option<Vec<Score>> = match json {
        Json::Object(members) => {
            let scores = members.iter();
            let scores = scores.map(|(label, share)| score(label, share, None));
            scores.collect()
        }
        Json::Array(items) => {
            let scores = items.iter().map(|item| {
                let members = item.as_object()?;
                let known = ["label", "probability", "logit"];
                let is_known = |name: &String| known.contains(&name.as_str());
                if !members.keys().all(is_known) {
                    return None;
                }
                let label = members.get("label")?.as_str()?;
                score(label, members.get("probability")?, members.get("logit"))
            });
            scores.collect()
        }
        _ => None,
    };
    scores.map(|scores| Value::from(Scores(scores)))
}

fn score(label: &str, probability: &Json, logit: Option<&Json>) -> Option<Score> {
    let probability = probability.as_f64()?;
    let logit = match logit {
        Some(logit) => logit.as_f64()?,
        // The softmax of these are the probabilities.
        None => probability.max(f64::MIN_POSITIVE).ln(),
    };
    (0.0..=1.0).contains(&probability).then(|| Score {
        label: label.into(),
        logit,
        probability,
    })
}

fn tensor(json: &Json) -> Option<Value> {
    let members = json.as_object()?;
    let known = ["shape", "data", "dtype"];
    let is_known = |name: &String| known.contains(&name.as_str());
    if !members.keys().all(is_known) {
        return None;
    }
    let shape = members.get("shape")?.as_array()?.iter();
    let shape = shape.map(|side| usize::try_from(side.as_u64()?).ok());
    let data = members.get("data")?;
    let data = match members.get("dtype").map_or(Some("f32"), Json::as_str)? {
        "f32" => TensorData::F32(floats(data)?.into()),
        "i64" => {
            let data = data.as_array()?.iter().map(Json::as_i64);
            TensorData::I64(data.collect::<Option<Arc<[i64]>>>()?)
        }
        "u8" => {
            let data = data.as_array()?.iter();
            let data = data.map(|number| u8::try_from(number.as_u64()?).ok());
            TensorData::U8(data.collect::<Option<Vec<u8>>>()?.into())
        }
        _ => return None,
    };
    Tensor::new(shape.collect::<Option<_>>()?, data).map(Value::from)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are of such numbers; one beyond them is not finite, which is refused"
)]
fn floats(json: &Json) -> Option<Vec<f32>> {
    let numbers = json.as_array()?.iter();
    numbers
        .map(|number| number.as_f64().map(|number| number as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(ty: PortType, json: &Json, expected: &Json) {
        let value = value_of(ty, json).unwrap();
        assert_eq!(value.port_type(), ty);
        assert_eq!(&value.to_json(), expected, "{json}");
    }

    #[test]
    fn what_json_can_hold_is_a_value() {
        for (ty, json) in [
            (PortType::Text, json!("a")),
            (PortType::TextList, json!(["a", "b"])),
            (PortType::Number, json!(0.5)),
            (PortType::Integer, json!(3)),
            (PortType::Bool, json!(true)),
            (PortType::Json, json!({ "a": [1, null] })),
            (
                PortType::Embedding,
                json!({ "model": "m", "vector": [0.5, 1.0] }),
            ),
            (PortType::Scores, json!({ "cat": 0.75, "dog": 0.25 })),
        ] {
            check(ty, &json, &json);
        }
        check(PortType::Number, &json!(1), &json!(1.0));
        check(PortType::Number, &json!("0.5"), &json!(0.5));
        check(PortType::Bool, &json!("yes"), &json!(true));
        check(PortType::Bytes, &json!("aGVsbG8="), &json!({ "bytes": 5 }));
        let list = json!([{ "label": "cat", "probability": 1, "logit": 20 }]);
        check(PortType::Scores, &list, &json!({ "cat": 1.0 }));
        let tensor = json!({ "shape": [1, 2], "data": [1, 255], "dtype": "u8" });
        let shown = json!({ "dtype": "u8", "shape": [1, 2] });
        check(PortType::Tensor, &tensor, &shown);
    }

    #[test]
    fn logits_and_probabilities_belong_together() {
        let json = json!({ "cat": 0.75, "dog": 0.25, "eel": 0 });
        let Ok(Value::Scores(scores)) = value_of(PortType::Scores, &json) else {
            panic!("no scores");
        };
        let difference = scores[0].logit - scores[1].logit;
        assert!((difference - 3f64.ln()).abs() < 1e-12, "{difference}");
        assert!(scores[2].logit.is_finite());
    }

    #[test]
    fn what_is_of_another_type_says_what_was_expected() {
        for (ty, json, expected) in [
            (
                PortType::Text,
                json!(3),
                "expected a text, for it is of type text, found a number",
            ),
            (PortType::Integer, json!(0.5), "a whole number"),
            (
                PortType::Number,
                json!("much"),
                "a number, for it is of type number, found a text",
            ),
            (PortType::Bool, json!(1), "true or false"),
            (PortType::TextList, json!([1]), "a list of texts"),
            (PortType::Bytes, json!("no base64!"), "base64"),
            (PortType::Embedding, json!([0.5]), "model = "),
            (
                PortType::Embedding,
                json!({ "model": "m", "vector": [] }),
                "vector",
            ),
            (
                PortType::Embedding,
                json!({ "model": "m", "vector": [1e300] }),
                "vector",
            ),
            (PortType::Scores, json!({ "cat": 2 }), "from 0 to 1"),
            (
                PortType::Scores,
                json!([{ "label": "cat", "share": 1 }]),
                "probability",
            ),
            (
                PortType::Tensor,
                json!({ "shape": [3], "data": [1] }),
                "shape",
            ),
            (PortType::Image, json!({}), "pixels cannot be written"),
        ] {
            let error = value_of(ty, &json).unwrap_err();
            assert!(error.contains(expected), "{ty} {json}: {error}");
        }
    }
}
