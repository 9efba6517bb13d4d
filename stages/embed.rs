//! `embed`: a picture becomes a vector. Of a sample of frames that is their mean, each weighing as
//! much as it is shown, as `embed/mean.rs` has it.

use std::sync::{Arc, LazyLock};

use omnizap_contract::typed::{In, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, Facts, Health, Image, Inputs, Observed,
    OptionFault, Options, Outputs, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel, MODEL, PREPARED, PRETRAINED};
use omnizap_services::inference::frames::{self, FRAMES, MAX_FRAMES, Sample, Which};

mod mean;

const IMAGE: In<Image> = In::required("image", "the decoded picture");
const FRAME_NUMBER: In<Option<i64>> =
    In::optional("frame_number", "which frame of the file the picture is");
const FRAMES_LOOKED_AT: In<Option<i64>> = In::optional(
    "frames_looked_at",
    "how many frames of the file were looked at",
);
const EMBEDDING: Out<Embedding> = Out::new("embedding", "the picture's vector, L2 norm 1");
const MODEL_NAME: Out<Text> =
    Out::new("model", "the name of the model that answered").published("null");
const DEVICE: Out<Text> = Out::new("device", "what the model ran on").published("null");
const FRAME: Out<i64> = Out::new(
    "frame",
    "which frame of the file decided, from 0: of a sample the one whose vector is nearest to that \
     of all",
)
.optional();
const FRAMES_SEEN: Out<i64> = Out::new(
    "frames_seen",
    "how many frames of the file were looked at: 1 of a picture that does not move",
)
.optional();

/// The kind `embed`.
pub struct Embed {
    services: Services,
}

impl Embed {
    /// The kind, with the services that hold the models.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let services = services.clone();
        Self { services }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [
        MODEL.spec(),
        PRETRAINED.spec(),
        PREPARED.spec(),
        FRAMES.spec(),
        MAX_FRAMES.spec(),
    ];
    StageSpec::new("embed", "runs the image tower of the model", options).pure()
});

impl StageKind for Embed {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let embedding = EMBEDDING.port().of_space(self.services.space_of(options));
        let mut inputs = vec![FRAME_NUMBER.port(), FRAMES_LOOKED_AT.port()];
        match options.get(FRAMES) {
            Which::First | Which::Content => {
                let space = frames::space_of_one(options);
                inputs.push(IMAGE.port().of_space(Some(space)));
            }
            Which::Sample => inputs.extend(frames::required(options)),
        }
        let outputs = [
            embedding,
            MODEL_NAME.port(),
            DEVICE.port(),
            FRAME.port(),
            FRAMES_SEEN.port(),
        ];
        Ports::new(inputs, outputs)
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        clip::check_prepared(options)
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        self.services.inspect_model_of(options)
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let model = self.services.model_of(options).await?;
        let id = model.embedding_id(options);
        let frames = options.get(FRAMES);
        Ok(Runner::waits(Embedder { model, id, frames }))
    }
}

struct Embedder {
    model: Arc<ClipModel>,
    /// Under which its embeddings are kept.
    id: Arc<str>,
    frames: Which,
}

impl Embedder {
    /// The vector, and the frame that decided, where that is known.
    async fn embed(&self, inputs: Inputs, call: &Call) -> Result<(Arc<[f32]>, Option<i64>), Error> {
        match self.frames {
            Which::First | Which::Content => {
                let (image, number) = (inputs.get(IMAGE)?.clone(), inputs.get(FRAME_NUMBER)?);
                // The model holds it until it has made what it looks at of it.
                drop(inputs);
                Ok((self.model.embed_image(image, call).await?, number))
            }
            Which::Sample => {
                let sample = Sample::of(&inputs)?;
                let sample = sample.ok_or_else(|| Error::internal("there is no sample"))?;
                let vectors = self.model.embed_frames(&sample.images, call).await?;
                let (vector, nearest) = mean::of(vectors, &sample.weights)
                    .ok_or_else(|| Error::internal("the model gave no vector"))?;
                Ok((vector, sample.numbers.get(nearest).copied()))
            }
        }
    }
}

impl Observed for Embedder {
    fn describe(&self) -> Facts {
        self.model.facts()
    }

    fn health(&self) -> Health {
        self.model.health()
    }

    fn counters(&self) -> Counters {
        self.model.counters()
    }
}

impl AsyncStage for Embedder {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let seen = inputs.get(FRAMES_LOOKED_AT)?;
        let (vector, frame) = self.embed(inputs, call).await?;
        let model = self.id.clone();
        let mut outputs = Outputs::new()
            .with(EMBEDDING, Embedding { model, vector })
            .with(MODEL_NAME, self.model.name().clone())
            .with(DEVICE, self.model.device());
        if let Some(frame) = frame {
            outputs = outputs.with(FRAME, frame);
        }
        if let Some(seen) = seen {
            outputs = outputs.with(FRAMES_SEEN, seen);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Bytes, Channels, Value};
    use omnizap_services::ServicesConfig;
    use serde_json::json;

    use super::*;
    use crate::testing::{call, fits, inputs_with, options};

    const SIDE: u32 = 8;

    /// A picture of two halves.
    fn pixels(left: u8, right: u8) -> Vec<u8> {
        let half = SIDE as usize * 3 / 2;
        let row = [vec![left; half], vec![right; half]].concat();
        row.repeat(SIDE as usize)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sample_has_the_mean_of_its_frames_and_names_the_nearest() {
        let services = Services::new(ServicesConfig::default());
        let kind = Embed::new(&services);
        let set = [("frames", json!("sample"))];
        let options = options(&kind, set.clone());
        let Runner::Async(stage) = kind.build(&options).await.unwrap() else {
            panic!("an async stage");
        };
        let run = async |frames: &[Vec<u8>], weights: &[f32], numbers: &[i64]| {
            let given = Sample::put(
                Outputs::new(),
                [SIDE, SIDE],
                Bytes::from(frames.concat()),
                weights.to_vec(),
                numbers.to_vec(),
            );
            let given = given.unwrap();
            let of = |port: &str| given.value(port).cloned();
            let values = [
                ("frames", of("frames")),
                ("frame_weights", of("frame_weights")),
                ("frame_numbers", of("frame_numbers")),
                ("frames_looked_at", Some(Value::from(9i64))),
            ];
            let inputs = inputs_with(&kind, set.clone(), values);
            let outputs = stage.run(inputs, &call()).await.unwrap();
            fits(&kind.ports(&options), &outputs).unwrap();
            assert_eq!(outputs.get(FRAMES_SEEN), Some(9));
            let embedding = outputs.get(EMBEDDING).unwrap().clone();
            assert!(embedding.model.ends_with("+frames:sample-8"));
            (embedding.vector.clone(), outputs.get(FRAME).unwrap())
        };
        let model = services.model(None, None).await.unwrap();
        let alone = async |pixels: &[u8]| {
            let pixels = Bytes::copy_from_slice(pixels);
            let image = Image::new(SIDE, SIDE, Channels::Rgb, pixels).unwrap();
            model.embed_image(image.into(), &call()).await.unwrap()
        };
        let frames = [pixels(0, 255), pixels(200, 90)];
        let vectors = vec![alone(&frames[0]).await, alone(&frames[1]).await];
        let (one, number) = run(&frames[..1], &[1.0], &[4]).await;
        assert_eq!((&one, number), (&vectors[0], 4));
        let weights = [0.125, 0.875];
        let (both, number) = run(&frames, &weights, &[4, 6]).await;
        let (expected, _) = mean::of(vectors, &weights).unwrap();
        for (number, expected) in both.iter().zip(&*expected) {
            assert!((number - expected).abs() < 1e-5);
        }
        assert_eq!(number, 6);
    }
}
