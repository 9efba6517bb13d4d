//! `example/quality`: whether a picture is blurred, how it is exposed, and a score of the two.
//!
//! It shows a stage that runs batches and can be cancelled: a batch shares its buffers, and
//! measures pictures that are equal once; between two rows it asks whether anybody still waits.
//! [`measure`] holds the formulas and where they come from.

mod measure;

use omnizap_plugin::{
    Call, Descriptor, Error, Image, ImageView, In, Inputs, Log, Opt, Options, Out, Outputs, Stage,
};

use self::measure::{Measures, Scratch, measure, measure_all};

/// Calls of one batch: more would let the first wait too long for the last.
const MAX_BATCH: u32 = 16;

const IMAGE: In<Image> = In::required("image", "the picture");
const QUALITY: Out<f64> = Out::new(
    "quality",
    "geometric mean of sharpness, contrast and well-exposedness, 0 to 1",
)
.published("null")
.rounded(4);
const SHARPNESS: Out<f64> = Out::new(
    "sharpness",
    "v / (v + 100), v the variance of the Laplacian of luminance, 0 to 1",
)
.published("null")
.rounded(4);
const IS_BLURRY: Out<bool> =
    Out::new("is_blurry", "sharpness below blurry_below").published("false");
const EXPOSURE: Out<f64> = Out::new("exposure", "mean luminance, 0 to 1")
    .published("null")
    .rounded(4);
const CONTRAST: Out<f64> = Out::new("contrast", "standard deviation of luminance, twice, 0 to 1")
    .published("null")
    .rounded(4);
const BLURRY_BELOW: Opt<f64> = Opt::number(
    "blurry_below",
    0.5,
    "sharpness below which a picture is blurry, 0 to 1",
)
.within(0.0, 1.0);

struct Quality {
    blurry_below: f64,
    log: Log,
}

impl Stage for Quality {
    const DESCRIPTOR: Descriptor = Descriptor {
        options: &[BLURRY_BELOW.spec()],
        inputs: &[IMAGE.spec()],
        outputs: &[
            QUALITY.spec(),
            SHARPNESS.spec(),
            IS_BLURRY.spec(),
            EXPOSURE.spec(),
            CONTRAST.spec(),
        ],
        max_batch: MAX_BATCH,
        ..Descriptor::new(
            "example/quality",
            "blur, exposure, contrast and a quality score",
        )
    };

    fn new(options: &Options, log: Log) -> Result<Self, Error> {
        Ok(Self {
            blurry_below: options.get(BLURRY_BELOW),
            log,
        })
    }

    fn run(&self, inputs: &Inputs<'_>, call: &Call<'_>) -> Result<Outputs, Error> {
        let image = inputs.get(IMAGE)?;
        let wanted = || !call.is_cancelled();
        let measures = measure(&image, &mut Scratch::default(), &wanted);
        self.log.count("pictures", 1.0);
        self.outputs(measures)
    }

    fn run_batch(&self, batch: &[(Inputs<'_>, Call<'_>)]) -> Vec<Result<Outputs, Error>> {
        let images: Result<Vec<ImageView<'_>>, Error> =
            batch.iter().map(|(inputs, _)| inputs.get(IMAGE)).collect();
        let Ok(images) = images else {
            // A picture is declared, so the host gives one: whoever lacks it learns so alone.
            return batch
                .iter()
                .map(|(inputs, call)| self.run(inputs, call))
                .collect();
        };
        let measured = measure_all(&images, &|index: usize| !batch[index].1.is_cancelled());
        self.log.count("batches", 1.0);
        self.log.count("pictures", measured.distinct as f64);
        let shared = images.len() - measured.distinct;
        self.log.count("pictures_shared", shared as f64);
        let each = measured.measures.into_iter();
        each.map(|measures| self.outputs(measures)).collect()
    }
}

impl Quality {
    /// `None`: nobody waited any more.
    fn outputs(&self, measures: Option<Measures>) -> Result<Outputs, Error> {
        let Some(measures) = measures else {
            self.log.count("given_up", 1.0);
            return Err(Call::given_up());
        };
        Ok(Outputs::new()
            .with(QUALITY, measures.quality())
            .with(SHARPNESS, measures.sharpness())
            .with(IS_BLURRY, measures.sharpness() < self.blurry_below)
            .with(EXPOSURE, measures.exposure)
            .with(CONTRAST, measures.contrast))
    }
}

omnizap_plugin::export! { name: "example-quality", stages: [Quality] }
