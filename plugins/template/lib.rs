//! `{{vendor}}/{{name}}`: the mean brightness of a picture, and whether it is dark.
//!
//! A place to start: name your own ports and options in `DESCRIPTOR`, compute in `run`.

use omnizap_plugin::{
    Call, Descriptor, Error, ImageView, Input, Inputs, Log, Options, Output, Outputs, PortType,
    Stage, Value,
};

struct {{type}} {
    dark_below: f64,
}

impl Stage for {{type}} {
    const DESCRIPTOR: Descriptor = Descriptor {
        options: r#"{"dark_below": {"type": "number", "min": 0, "max": 1, "default": 0.2,
            "doc": "brightness below which a picture is dark, 0 to 1"}}"#,
        inputs: &[Input::required("image", PortType::Image, "the picture")],
        outputs: &[
            // What is published appears in the response; the word is what appears there when
            // the stage is off.
            Output::new("brightness", PortType::Number, "mean luminance, 0 to 1")
                .published("null"),
            Output::new("is_dark", PortType::Bool, "brightness below dark_below")
                .published("false"),
        ],
        // Equal inputs and options give equal outputs: true of a new descriptor unless you say
        // `is_pure: false`.
        ..Descriptor::new("{{vendor}}/{{name}}", "mean brightness of a picture")
    };

    fn new(options: &Options, _: Log) -> Result<Self, Error> {
        // Options are complete and within the schema.
        Ok(Self {
            dark_below: options.number("dark_below").unwrap_or(0.2),
        })
    }

    fn run(&self, inputs: &Inputs<'_>, _: &Call<'_>) -> Result<Outputs, Error> {
        let brightness = brightness(&inputs.image("image")?);
        Ok(Outputs::new()
            .with("brightness", Value::Number(brightness))
            .with("is_dark", Value::Bool(brightness < self.dark_below)))
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
