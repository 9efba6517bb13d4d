//! The published models by name: what each is, how its images are prepared, where its weights are.

mod entry;
mod mobileclip;
mod openclip;
mod parts;
mod siglip;
mod tinyclip;

use omnizap_contract::common::names::nearest;

use crate::error::Error;

pub(crate) use entry::TOKENIZER;
pub use entry::{Licence, Preset, Weights};
#[cfg(test)]
pub(crate) use entry::{OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG};

/// Every published model: those that anybody may use first.
pub fn presets() -> impl Iterator<Item = &'static Preset> + Clone {
    let others = [tinyclip::PRESETS, siglip::PRESETS, mobileclip::PRESETS];
    openclip::PRESETS.iter().chain(others.into_iter().flatten())
}

impl Preset {
    /// The preset of this name, whatever its case.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] with the nearest name.
    pub fn find(name: &str) -> Result<&'static Self, Error> {
        let name = name.trim();
        presets()
            .find(|preset| preset.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::UnknownModel {
                name: name.to_owned(),
                nearest: nearest(name, presets().map(|preset| preset.name)).map(str::to_owned),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, Tower};

    /// What `torch.utils.flop_counter` counts in the image towers of open_clip, halved; FastViT's are
    /// reparameterised.
    const MULTIPLY_ADDS: [(&str, u64); 5] = [
        ("MobileCLIP-S1", 4_658_266_112),
        ("MobileCLIP-S2", 7_834_224_640),
        ("MobileCLIP-B", 17_707_960_320),
        ("MobileCLIP2-S3", 14_812_004_352),
        ("ViT-B-32", 4_408_811_520),
    ];

    #[test]
    fn towers_compute_as_much_as_pytorch_counts() {
        for (name, counted) in MULTIPLY_ADDS {
            let config = Preset::find(name).unwrap().config();
            assert_eq!(config.image_multiply_adds(), counted, "{name}");
        }
    }

    #[test]
    fn every_preset_is_consistent_and_found_by_its_name() {
        for preset in presets() {
            let same = presets().filter(|other| other.name.eq_ignore_ascii_case(preset.name));
            assert_eq!(same.count(), 1, "{}", preset.name);
            assert_eq!(preset.config().name, preset.name);
            for weights in preset.weights {
                preset.config_of(weights).check().expect(preset.name);
                assert_eq!(preset.weights(weights.tag).unwrap().tag, weights.tag);
            }
            let found = Preset::find(&preset.name.to_lowercase()).expect(preset.name);
            assert_eq!(found.name, preset.name);
            assert!(!preset.weights.is_empty(), "{}", preset.name);
        }
    }

    #[test]
    fn a_wrong_name_suggests_the_right_one() {
        let error = Preset::find("MobileCLIP-S7").unwrap_err().to_string();
        assert!(error.contains("did you mean 'MobileCLIP"), "{error}");
        let error = Preset::find("resnet").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn weights_change_what_they_were_trained_with() {
        let preset = Preset::find("ViT-B-32").unwrap();
        let activations = |tag: &str| {
            let config = preset.config_of(preset.weights(tag).unwrap());
            let Tower::Vit(tower) = config.vision.tower else {
                panic!("expected a ViT");
            };
            (tower.activation, config.text.activation)
        };
        let (exact, quick) = (Activation::Gelu, Activation::QuickGelu);
        assert_eq!(activations("datacomp_xl_s13b_b90k"), (exact, exact));
        assert_eq!(activations("laion2b_s34b_b79k"), (exact, exact));
        assert_eq!(activations("openai"), (quick, quick));
        let preset = Preset::find("ViT-L-14").unwrap();
        let mean = |tag: &str| {
            let weights = preset.weights(tag).unwrap();
            preset.config_of(weights).vision.image.mean
        };
        assert_eq!(mean("laion2b_s32b_b82k"), [0.5; 3]);
        assert_ne!(mean("datacomp_xl_s13b_b90k"), [0.5; 3]);
    }

    #[test]
    fn what_may_be_used_for_what_is_said() {
        for (name, tag, uses) in [
            ("MobileCLIP-S1", "datacompdr", "research only"),
            ("TinyCLIP-ViT-39M-16-Text-19M", "yfcc15m", "anything"),
            ("ViT-B-16-SigLIP2", "webli", "anything"),
            (
                "ViT-B-32-256",
                "datacomp_s34b_b86k",
                "anything; its card puts deployment out of scope",
            ),
        ] {
            let preset = Preset::find(name).unwrap();
            let weights = preset.weights(tag).unwrap();
            assert_eq!(preset.may_be_used_for(weights), uses, "{name}");
        }
    }

    #[test]
    fn tags_are_found_as_open_clip_finds_them() {
        let preset = Preset::find("MobileCLIP-B").unwrap();
        assert_eq!(
            preset.weights("DATACOMPDR-LT").unwrap().tag,
            "datacompdr_lt"
        );
        let error = preset.weights("datacomp").unwrap_err().to_string();
        assert!(error.contains("did you mean 'datacompdr'"), "{error}");
    }
}
