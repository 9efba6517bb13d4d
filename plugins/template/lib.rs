//! `{{vendor}}/{{name}}`: the mean brightness of a picture, and whether it is dark.
//!
//! A place to start: name your own ports and options, list them in `DESCRIPTOR`, compute in `run`.

use omnizap_plugin::{
    Call, Descriptor, Error, Image, ImageView, In, Inputs, Log, Opt, Options, Out, Outputs, Stage,
};

/// What the stage takes: the nearest earlier output of this name and type.
const IMAGE: In<Image> = In::required("image", "the picture");
/// What it gives. What is published appears in the response; the word is what appears there when
/// the stage is off.
const BRIGHTNESS: Out<f64> = Out::new("brightness", "mean luminance, 0 to 1").published("null");
const IS_DARK: Out<bool> = Out::new("is_dark", "brightness below dark_below").published("false");
/// What a pipeline file may set.
const DARK_BELOW: Opt<f64> =
    Opt::number("dark_below", 0.2, "brightness below which a picture is dark, 0 to 1")
        .within(0.0, 1.0);

struct {{type}} {
    dark_below: f64,
}

impl Stage for {{type}} {
    const DESCRIPTOR: Descriptor = Descriptor {
        options: &[DARK_BELOW.spec()],
        inputs: &[IMAGE.spec()],
        outputs: &[BRIGHTNESS.spec(), IS_DARK.spec()],
        // Equal inputs and options give equal outputs: true of a new descriptor unless you say
        // `is_pure: false`.
        ..Descriptor::new("{{vendor}}/{{name}}", "mean brightness of a picture")
    };

    fn new(options: &Options, _: Log) -> Result<Self, Error> {
        // Options are complete and within the schema.
        Ok(Self {
            dark_below: options.get(DARK_BELOW),
        })
    }

    fn run(&self, inputs: &Inputs<'_>, _: &Call<'_>) -> Result<Outputs, Error> {
        let brightness = brightness(&inputs.get(IMAGE)?);
        Ok(Outputs::new()
            .with(BRIGHTNESS, brightness)
            .with(IS_DARK, brightness < self.dark_below))
    }
}

/// Mean luminance, 0 to 1; 0 for an empty picture.
fn brightness(image: &ImageView<'_>) -> f64 {
    let pixels = image.width * image.height;
    let sum: u64 = (0..pixels).map(|pixel| image.luminance(pixel)).sum();
    sum as f64 / (pixels.max(1) as f64 * 255_000.0)
}

omnizap_plugin::export! { name: "{{vendor}}-{{name}}", stages: [{{type}}] }

#[cfg(test)]
mod tests {
    use omnizap_plugin::Channels;

    use super::*;

    #[test]
    fn black_is_0_and_white_is_1() {
        for (byte, expected) in [(0, 0.0), (255, 1.0)] {
            let image = ImageView {
                width: 3,
                height: 2,
                channels: Channels::Rgb,
                pixels: &[byte; 18],
            };
            assert!((brightness(&image) - expected).abs() < 1e-12);
        }
    }
}
