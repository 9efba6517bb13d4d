//! The stage around what reads pictures, which has its own tests.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use omnizap_contract::{AsyncStage, Observed, StageKind, Value};
use omnizap_services::{Services, ServicesConfig};
use tokio::runtime::Runtime;

use super::{Decode, Decoding, IMAGE, decoder};
use crate::testing::{call, fits, inputs, options};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static KIND: LazyLock<Decode> = LazyLock::new(|| {
    let services = Services::new(ServicesConfig::default());
    Decode::new(&services)
});

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/images")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn decode(stage: &Decoding, bytes: Vec<u8>) -> Result<Arc<super::Image>, super::Error> {
    let values = [("file", Some(Value::Bytes(bytes.into())))];
    let inputs = inputs(&*KIND, values);
    let outputs = RUNTIME.block_on(AsyncStage::run(stage, inputs, &call()))?;
    fits(&KIND.ports(&options(&*KIND, [])), &outputs)?;
    Ok(outputs.get(IMAGE).expect("a picture").clone())
}

#[test]
fn pixels_take_room_for_as_long_as_somebody_holds_them() {
    let kind = Decode::new(&Services::new(ServicesConfig::default()));
    let stage = Decoding {
        decoder: decoder(&options(&kind, [])),
        frames: super::wanted(&options(&kind, [])),
        pictures: kind.pictures.clone(),
    };
    let taken = || {
        stage.counters().to_json()["decoded_bytes"]
            .as_u64()
            .unwrap()
    };
    let image = decode(&stage, file("rgba.png")).unwrap();
    let kept = image.pixels.len() as u64;
    assert!(taken() >= kept && taken() < kept + 2048, "{}", taken());
    let pixels = image.pixels.clone();
    drop(image);
    assert!(taken() >= kept);
    drop(pixels);
    assert_eq!(taken(), 0);
    // What cannot be decoded leaves nothing behind.
    assert!(decode(&stage, file("truncated.png")).is_err());
    assert_eq!(taken(), 0);
}

#[test]
fn colours_are_taken_for_srgb_unless_they_are_to_be_managed() {
    let kind = Decode::new(&Services::new(ServicesConfig::default()));
    assert!(!decoder(&options(&kind, [])).is_managed);
    for (given, expected) in [("assume-srgb", false), ("managed", true)] {
        let options = options(&kind, [("color", given.into())]);
        assert_eq!(decoder(&options).is_managed, expected, "{given}");
    }
}

#[test]
fn the_frames_of_a_sample_share_their_pixels_with_the_picture() {
    let sample = [("frames", serde_json::json!("sample"))];
    let options = options(&*KIND, sample);
    let stage = Decoding {
        decoder: decoder(&options),
        frames: super::wanted(&options),
        pictures: KIND.pictures.clone(),
    };
    for (name, least) in [("animated.gif", 2), ("rgba.png", 1)] {
        let values = [("file", Some(Value::Bytes(file(name).into())))];
        let inputs = inputs(&*KIND, values);
        let outputs = RUNTIME
            .block_on(AsyncStage::run(&stage, inputs, &call()))
            .unwrap();
        fits(&KIND.ports(&options), &outputs).unwrap();
        let image = outputs.get(IMAGE).unwrap();
        let frames = outputs.get(super::frames::GIVEN_FRAMES).unwrap();
        let [count, height, width, 3] = frames.shape[..] else {
            panic!("{name}: {:?}", frames.shape);
        };
        assert!(count >= least, "{name}");
        assert_eq!(
            (width, height),
            (image.width as usize, image.height as usize)
        );
        let omnizap_contract::TensorData::U8(pixels) = &frames.data else {
            panic!("{name}: no pixels");
        };
        assert_eq!(pixels.as_ptr(), image.pixels.as_ptr(), "{name}");
        assert_eq!(outputs.get(super::FRAME_NUMBER), Some(0), "{name}");
        let seen = outputs.get(super::FRAMES_LOOKED_AT).unwrap();
        assert!(seen >= i64::try_from(count).unwrap(), "{name}");
    }
}

#[test]
fn a_colour_is_six_hexadecimal_digits() {
    assert_eq!(super::parse_colour("#0aFF10"), Some([10, 255, 16]));
    for bad in ["", "#", "#fff", "0aff10", "#0aff1g", "#+aff10", "#0aff100"] {
        assert_eq!(super::parse_colour(bad), None, "{bad}");
    }
}
