//! Random inputs and options of a stage, all of them within what its descriptor allows.

use std::sync::Arc;

use fastrand::Rng;
use omnizap_contract::{
    Channels, Embedding, Image, Input, Inputs, OptionSpec, OptionType, Options, PortType, Presence,
    Score, Scores, Tensor, TensorData, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::given::Given;

/// Longest side of a random picture.
const MAX_SIDE: u32 = 48;
/// Most random bytes.
const MAX_BYTES: usize = 4096;
/// Longest random text, in characters.
const MAX_TEXT: usize = 300;
/// Most items of a random list.
const MAX_ITEMS: usize = 8;
const LAYOUTS: [Channels; 3] = [Channels::Gray, Channels::Rgb, Channels::Rgba];

/// Values for every port; those that may be absent are so a third of the time.
pub(super) fn inputs(rng: &mut Rng, ports: &[Input]) -> Inputs {
    inputs_with(ports, |port| {
        let must = matches!(port.presence, Presence::Required);
        (must || rng.u8(0..3) > 0).then(|| value(rng, port.ty))
    })
}

pub(super) fn inputs_with(ports: &[Input], value: impl FnMut(&Input) -> Option<Value>) -> Inputs {
    let values = ports.iter().map(value).collect();
    Inputs::new(ports.into(), values)
}

fn value(rng: &mut Rng, ty: PortType) -> Value {
    match ty {
        PortType::Bytes => Value::Bytes(bytes(rng, MAX_BYTES).into()),
        PortType::Image => {
            let (width, height) = (side(rng), side(rng));
            let channels = LAYOUTS[rng.usize(0..LAYOUTS.len())];
            picture(rng, width, height, channels)
        }
        PortType::Embedding => {
            let dim = [1, 8, 512][rng.usize(0..3)];
            let numbers: Vec<f32> = (0..dim).map(|_| rng.f32() - 0.5).collect();
            let norm = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
            let vector: Vec<f32> = numbers.iter().map(|x| x / norm.max(1e-6)).collect();
            Value::from(Embedding {
                model: "validate".into(),
                vector: vector.into(),
            })
        }
        PortType::Scores => scores(rng),
        PortType::Tensor => tensor(rng),
        PortType::Text => Value::from(text(rng)),
        PortType::TextList => {
            let items = (0..rng.usize(0..=MAX_ITEMS)).map(|_| Arc::from(text(rng)));
            Value::from(items.collect::<Vec<Arc<str>>>())
        }
        PortType::Number => Value::Number(match rng.u8(0..6) {
            0 => 0.0,
            1 => -1.0,
            2 => f64::MAX,
            3 => 1e-300,
            _ => rng.f64(),
        }),
        PortType::Integer => Value::Integer(match rng.u8(0..6) {
            0 => 0,
            1 => i64::MIN,
            2 => i64::MAX,
            _ => rng.i64(-1000..1000),
        }),
        PortType::Bool => Value::Bool(rng.bool()),
        PortType::Json => Value::from(match rng.u8(0..4) {
            0 => Json::Null,
            1 => json!({}),
            2 => json!([1, "two", null]),
            _ => json!({ "text": text(rng), "number": rng.f64(), "list": [{}, []] }),
        }),
    }
}

/// Most pictures are small; some are a line or a single pixel.
fn side(rng: &mut Rng) -> u32 {
    match rng.u8(0..5) {
        0 => 1,
        _ => rng.u32(1..=MAX_SIDE),
    }
}

/// A picture of noise, of one colour, or that gets lighter to the right.
pub(super) fn picture(rng: &mut Rng, width: u32, height: u32, channels: Channels) -> Value {
    let len = width as usize * height as usize * channels.count();
    let row = width as usize * channels.count();
    let pixels: Vec<u8> = match rng.u8(0..3) {
        0 => vec![rng.u8(..); len],
        1 => (0..len).map(|at| (at % row * 255 / row) as u8).collect(),
        _ => return noise(rng, width, height, channels),
    };
    image(width, height, channels, pixels)
}

/// A picture of noise.
pub(super) fn noise(rng: &mut Rng, width: u32, height: u32, channels: Channels) -> Value {
    let len = width as usize * height as usize * channels.count();
    let pixels = (0..len).map(|_| rng.u8(..)).collect();
    image(width, height, channels, pixels)
}

fn image(width: u32, height: u32, channels: Channels, pixels: Vec<u8>) -> Value {
    match Image::new(width, height, channels, pixels.into()) {
        Some(image) => Value::from(image),
        // Sides are at least 1 and the pixels were counted.
        None => Value::Bytes(Vec::new().into()),
    }
}

fn bytes(rng: &mut Rng, most: usize) -> Vec<u8> {
    let len = if rng.u8(0..4) == 0 {
        0
    } else {
        rng.usize(0..=most)
    };
    (0..len).map(|_| rng.u8(..)).collect()
}

fn scores(rng: &mut Rng) -> Value {
    let logits: Vec<f64> = (0..rng.usize(0..=MAX_ITEMS))
        .map(|_| rng.f64() * 20.0 - 10.0)
        .collect();
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let scores = logits.iter().enumerate().map(|(index, logit)| Score {
        label: format!("label {index}").into(),
        logit: *logit,
        probability: logit.exp() / sum,
    });
    Value::from(Scores(scores.collect()))
}

fn tensor(rng: &mut Rng) -> Value {
    let shape: Vec<usize> = (0..rng.usize(0..4)).map(|_| rng.usize(0..6)).collect();
    let len = shape.iter().product();
    let data = match rng.u8(0..3) {
        0 => TensorData::F32((0..len).map(|_| rng.f32()).collect()),
        1 => TensorData::I64((0..len).map(|_| rng.i64(..)).collect()),
        _ => TensorData::U8((0..len).map(|_| rng.u8(..)).collect()),
    };
    match Tensor::new(shape, data) {
        Some(tensor) => Value::from(tensor),
        // The numbers were counted.
        None => Value::Bytes(Vec::new().into()),
    }
}

fn text(rng: &mut Rng) -> String {
    const CHARACTERS: [char; 12] = [
        'a', 'Z', '0', ' ', '"', '\\', '\n', '/', 'é', '漢', '😀', '\0',
    ];
    match rng.u8(0..6) {
        0 => String::new(),
        1 => "a cat".into(),
        // What a hash or an id looks like.
        2 => format!("{:016x}", rng.u64(..)),
        3 => rng.u32(..).to_string(),
        _ => {
            let len = rng.usize(1..=MAX_TEXT);
            let characters = (0..len).map(|_| CHARACTERS[rng.usize(0..CHARACTERS.len())]);
            characters.collect()
        }
    }
}

/// Complete options: those given, else the defaults, else something that the schema allows.
pub(super) fn usual_options(specs: &[OptionSpec], given: &Given) -> Options {
    let mut rng = Rng::with_seed(0);
    let options = specs.iter().map(|spec| {
        let value = given.value(spec).or_else(|| spec.default.clone());
        let value = value.unwrap_or_else(|| option(&mut rng, &spec.ty));
        (spec.name.to_string(), value)
    });
    Options::from_checked(options.collect::<Map<_, _>>())
}

/// Complete options at random, but for those given.
pub(super) fn options(rng: &mut Rng, specs: &[OptionSpec], given: &Given) -> Options {
    let options = specs.iter().map(|spec| {
        let value = match given.value(spec) {
            Some(value) => value,
            // One that may be unset is so at times.
            None if spec.default == Some(Json::Null) && rng.bool() => Json::Null,
            None => option(rng, &spec.ty),
        };
        (spec.name.to_string(), value)
    });
    Options::from_checked(options.collect::<Map<_, _>>())
}

fn option(rng: &mut Rng, ty: &OptionType) -> Json {
    match ty {
        OptionType::Bool => Json::from(rng.bool()),
        OptionType::Integer { min, max } => Json::from(match rng.u8(0..4) {
            0 => *min,
            1 => *max,
            _ => rng.i64(*min..=*max),
        }),
        OptionType::Number { min, max } => Json::from(match rng.u8(0..4) {
            0 => *min,
            1 => *max,
            _ => {
                let share = rng.f64();
                // The difference of the bounds may be infinite.
                (min * (1.0 - share) + max * share).clamp(*min, *max)
            }
        }),
        OptionType::Text => Json::from(text(rng)),
        OptionType::Choice(choices) => match choices.len() {
            0 => Json::Null,
            len => Json::from(choices[rng.usize(0..len)]),
        },
        OptionType::TextList => (0..rng.usize(0..=MAX_ITEMS)).map(|_| text(rng)).collect(),
    }
}

/// Inputs as a line for people.
pub(super) fn describe(ports: &[Input], inputs: &Inputs) -> String {
    /// Most characters of one value.
    const MOST: usize = 60;
    let shown = ports.iter().map(|port| {
        let value = match inputs.value(&port.name) {
            None => "absent".to_owned(),
            Some(Value::Image(image)) => {
                format!("{}x{} {:?}", image.width, image.height, image.channels)
            }
            Some(Value::Bytes(bytes)) => format!("{} bytes", bytes.len()),
            Some(Value::Embedding(embedding)) => format!("[{}]", embedding.vector.len()),
            Some(other) => {
                let text = other.to_json().to_string();
                match text.char_indices().nth(MOST) {
                    Some((end, _)) => format!("{}...", &text[..end]),
                    None => text,
                }
            }
        };
        format!("{} = {value}", port.name)
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() {
        return "no inputs".into();
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_within_their_bounds_however_far_apart_these_are() {
        let mut rng = Rng::with_seed(1);
        for (min, max) in [(f64::MIN, f64::MAX), (0.0, 1.0), (-3.0, -3.0)] {
            for _ in 0..100 {
                let value = option(&mut rng, &OptionType::Number { min, max });
                let value = value.as_f64().unwrap();
                assert!((min..=max).contains(&value), "{value}");
            }
        }
        let (min, max) = (i64::MIN, i64::MAX);
        assert!(option(&mut rng, &OptionType::Integer { min, max }).is_i64());
    }

    #[test]
    fn a_seed_gives_the_same_values_again_and_every_type_its_own() {
        for ty in PortType::ALL {
            for seed in 0..50 {
                let of = |seed| value(&mut Rng::with_seed(seed), ty);
                assert_eq!(of(seed).port_type(), ty);
                assert!(of(seed).is_finite(), "{ty}");
                assert_eq!(format!("{:?}", of(seed)), format!("{:?}", of(seed)));
            }
        }
    }
}
