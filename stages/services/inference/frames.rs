//! Which frames of a picture that moves count: the options by which stages agree on it, and the
//! ports through which several frames go.

use std::sync::Arc;

use omnizap_contract::typed::{Choice as _, In, OneOf, Opt, Out};
use omnizap_contract::{
    Bytes, Channels, Error, Image, Input, Inputs, Options, Output, Outputs, Presence, Tensor,
    TensorData, choices,
};

choices! {
    /// Which frames of a picture that moves count.
    pub enum Which {
        /// The first one.
        First = "first",
        /// The first one that is not blank.
        Content = "content",
        /// Several, spread over the time that they play.
        Sample = "sample",
    }
}

/// Which frames `decode` takes. The stages that embed, judge or recall pictures have it too, so that
/// embeddings of other frames are not taken for theirs.
pub const FRAMES: Opt<OneOf<Which>> = Opt::one_of(
    "frames",
    Which::Content as usize,
    "what a picture that moves is taken for: its `first` frame, the first one with `content`, or a \
     `sample` of frames spread over its time; the same for decode, recall, embed and nsfw",
);

/// How many frames a sample has.
pub const MAX_FRAMES: Opt<usize> = Opt::count(
    "max_frames",
    8,
    "most frames of a sample; the same for decode, recall, embed and nsfw",
)
.within(1, MOST);

/// As many as two runs of a model's default batch, twice.
const MOST: usize = 32;

const GIVEN: &str = "the frames of a sample, [frames, height, width, 3], 8-bit RGB";
const GIVEN_WEIGHTS: &str = "how long each frame of a sample is shown: shares of 1";
const GIVEN_NUMBERS: &str = "which frames of the file the sample has, from 0";

/// The frames of a sample. The stage `decode` gives them.
pub const GIVEN_FRAMES: Out<Tensor> = Out::new("frames", GIVEN);
/// The share of each.
pub const FRAME_WEIGHTS: Out<Tensor> = Out::new("frame_weights", GIVEN_WEIGHTS);
/// The place of each in the file.
pub const FRAME_NUMBERS: Out<Tensor> = Out::new("frame_numbers", GIVEN_NUMBERS);

/// The frames of a sample, as a stage takes them.
pub const TAKEN_FRAMES: In<Option<Tensor>> = In::optional(GIVEN_FRAMES.spec().name, GIVEN);
/// The share of each.
pub const TAKEN_WEIGHTS: In<Option<Tensor>> =
    In::optional(FRAME_WEIGHTS.spec().name, GIVEN_WEIGHTS);
/// The place of each in the file.
pub const TAKEN_NUMBERS: In<Option<Tensor>> =
    In::optional(FRAME_NUMBERS.spec().name, GIVEN_NUMBERS);

/// The ports of a stage that gives a sample.
#[must_use]
pub fn given(options: &Options) -> [Output; 3] {
    [GIVEN_FRAMES, FRAME_WEIGHTS, FRAME_NUMBERS]
        .map(|port| port.port().of_space(Some(space(options))))
}

/// The ports of a stage that takes a sample and nothing else.
#[must_use]
pub fn required(options: &Options) -> [Input; 3] {
    [TAKEN_FRAMES, TAKEN_WEIGHTS, TAKEN_NUMBERS].map(|port| Input {
        presence: Presence::Required,
        ..port.port().of_space(Some(space(options)))
    })
}

/// What tells apart embeddings of other frames than those that count by default; nothing for these.
/// A name for how pictures are prepared says also that it is the first frame: it did before there
/// was a choice.
#[must_use]
pub fn mark(options: &Options, is_named: bool) -> Option<String> {
    match options.get(FRAMES) {
        Which::Content => None,
        Which::First if is_named => None,
        Which::First => Some(format!("frames:{}", name(Which::First))),
        Which::Sample => {
            let most = options.get(MAX_FRAMES);
            Some(format!("frames:{}-{most}", name(Which::Sample)))
        }
    }
}

/// The space of the one frame that a picture is: where a sample is taken, that with content.
#[must_use]
pub fn space_of_one(options: &Options) -> String {
    let which = match options.get(FRAMES) {
        Which::First => Which::First,
        Which::Content | Which::Sample => Which::Content,
    };
    format!("frames = {:?}", name(which))
}

/// The space of the frames of a sample: one of eight frames is not one of sixteen.
#[must_use]
pub fn space(options: &Options) -> String {
    let most = options.get(MAX_FRAMES);
    format!("frames = \"sample\", max_frames = {most}")
}

fn name(which: Which) -> &'static str {
    Which::NAMES[which as usize]
}

/// Several frames that stand for a picture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Of one size; at least one.
    pub images: Vec<Arc<Image>>,
    /// The share of each: finite, not negative.
    pub weights: Vec<f32>,
    /// The place of each in its file, from 0.
    pub numbers: Vec<i64>,
}

impl Sample {
    /// Puts frames into their ports. Their pixels are one behind the other.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::Internal`] where there is not a number of all for each.
    pub fn put(
        outputs: Outputs,
        [height, width]: [u32; 2],
        pixels: Bytes,
        weights: Vec<f32>,
        numbers: Vec<i64>,
    ) -> Result<Outputs, Error> {
        let frames = weights.len();
        let shape = vec![frames, height as usize, width as usize, 3];
        let frames_of = Tensor::new(shape, TensorData::U8(pixels));
        let weights = Tensor::new(vec![frames], TensorData::F32(weights.into()));
        let numbers = Tensor::new(vec![frames], TensorData::I64(numbers.into()));
        let (Some(given), Some(weights), Some(numbers)) = (frames_of, weights, numbers) else {
            return Err(Error::internal("frames of other sizes than their pixels"));
        };
        Ok(outputs
            .with(GIVEN_FRAMES, given)
            .with(FRAME_WEIGHTS, weights)
            .with(FRAME_NUMBERS, numbers))
    }

    /// The frames at a stage's ports; none where nothing gave them. Their pixels are not copied.
    ///
    /// # Errors
    /// [`Error::misconfigured`] where they are no frames: another stage than `decode` gave them.
    pub fn of(inputs: &Inputs) -> Result<Option<Self>, Error> {
        let given = (
            inputs.get(TAKEN_FRAMES)?,
            inputs.get(TAKEN_WEIGHTS)?,
            inputs.get(TAKEN_NUMBERS)?,
        );
        let (Some(frames), Some(weights), Some(numbers)) = given else {
            return Ok(None);
        };
        let sample = read(frames, weights, numbers);
        let wrong = "`frames`, `frame_weights` and `frame_numbers` must be those of a sample, as \
                     `decode` gives them";
        sample.map(Some).ok_or_else(|| Error::misconfigured(wrong))
    }
}

fn read(frames: &Tensor, weights: &Tensor, numbers: &Tensor) -> Option<Sample> {
    let &[count, height, width, 3] = &*frames.shape else {
        return None;
    };
    let (TensorData::U8(pixels), TensorData::F32(weights), TensorData::I64(numbers)) =
        (&frames.data, &weights.data, &numbers.data)
    else {
        return None;
    };
    let are_shares = weights
        .iter()
        .all(|weight| weight.is_finite() && *weight >= 0.0);
    let fits = (1..=MOST).contains(&count) && weights.len() == count && numbers.len() == count;
    if !fits || !are_shares {
        return None;
    }
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let bytes = pixels.len() / count;
    let image = |place: usize| {
        let pixels = pixels.slice(place * bytes..(place + 1) * bytes);
        Image::new(width, height, Channels::Rgb, pixels).map(Arc::new)
    };
    Some(Sample {
        images: (0..count).map(image).collect::<Option<_>>()?,
        weights: weights.to_vec(),
        numbers: numbers.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn options(values: &[(&str, Json)]) -> Options {
        let values = values.iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), value.clone()));
        Options::from_checked(values.collect())
    }

    #[test]
    fn other_frames_than_those_of_the_default_are_marked() {
        let of = |which: &str, most: usize| {
            options(&[("frames", json!(which)), ("max_frames", json!(most))])
        };
        assert_eq!(mark(&options(&[]), false), None);
        assert_eq!(mark(&of("content", 4), false), None);
        assert_eq!(
            mark(&of("first", 4), false).as_deref(),
            Some("frames:first")
        );
        assert_eq!(mark(&of("first", 4), true), None);
        let eight = mark(&of("sample", 8), true);
        assert_eq!(eight.as_deref(), Some("frames:sample-8"));
        assert_ne!(eight, mark(&of("sample", 9), true));
        assert_ne!(space(&of("sample", 8)), space(&of("sample", 9)));
        assert_eq!(space_of_one(&of("sample", 8)), space_of_one(&options(&[])));
        assert_ne!(space_of_one(&of("first", 8)), space_of_one(&options(&[])));
    }

    #[test]
    fn frames_are_read_as_they_were_put_and_share_their_pixels() {
        let pixels = Bytes::from((0..24).collect::<Vec<u8>>());
        let (weights, numbers) = (vec![0.25, 0.75], vec![3, 9]);
        let put = |weights, numbers| {
            Sample::put(Outputs::new(), [2, 2], pixels.clone(), weights, numbers)
        };
        let outputs = put(weights.clone(), numbers.clone()).unwrap();
        let [frames, shares, places] =
            [GIVEN_FRAMES, FRAME_WEIGHTS, FRAME_NUMBERS].map(|port| outputs.get(port).unwrap());
        let sample = read(frames, shares, places).unwrap();
        assert_eq!((&sample.weights, &sample.numbers), (&weights, &numbers));
        assert_eq!(sample.images[1].pixels, pixels[12..]);
        assert_eq!(sample.images[1].pixels.as_ptr(), pixels[12..].as_ptr());
        assert!(put(vec![1.0], vec![3]).is_err());
        assert!(put(weights.clone(), vec![3]).is_err());
        // Such as a plugin may give.
        assert!(read(shares, shares, places).is_none());
        assert!(read(frames, places, places).is_none());
        let strange = put(vec![f32::NAN, 1.0], numbers).unwrap();
        let strange = strange.get(FRAME_WEIGHTS).unwrap();
        assert!(read(frames, strange, places).is_none());
    }
}
