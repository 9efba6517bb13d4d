//! What lies beside a checkpoint and belongs to it: its tokenizer, and what its authors say of its
//! activation and of how its pictures are normalised.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{Activation, ModelConfig, TextTokenizer, Tower};
use crate::error::Error;
use crate::preset::TOKENIZER;

/// Bytes of such a configuration that are read.
const LARGEST: u64 = 1 << 20;

/// The tokenizer of a checkpoint, where the model takes one from a file.
pub(crate) fn tokenizer(checkpoint: &Path, config: &ModelConfig) -> Option<PathBuf> {
    (config.text.tokenizer == TextTokenizer::File).then(|| checkpoint.with_file_name(TOKENIZER))
}

/// What of either configuration says which activation the towers have.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Described {
    /// open_clip's.
    model_cfg: OpenClip,
    preprocess_cfg: Preprocess,
    /// transformers'.
    model_type: String,
    text_config: Transformer,
    vision_config: Transformer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpenClip {
    quick_gelu: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Preprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Transformer {
    hidden_act: String,
}

impl Default for Transformer {
    /// transformers writes what differs from its defaults, and this is CLIP's.
    fn default() -> Self {
        Self {
            hidden_act: "quick_gelu".to_owned(),
        }
    }
}

/// Takes the activations of both towers, and mean and deviation of pictures, over from the file `name`
/// beside a checkpoint, if there is one and it says them. Others than those of the training change
/// every embedding, and nothing else would tell.
///
/// # Errors
/// [`Error::BadConfig`] for a file that cannot be read or names an unknown activation.
pub(crate) fn take_over(
    config: &mut ModelConfig,
    checkpoint: &Path,
    name: &str,
) -> Result<(), Error> {
    let path = checkpoint.with_file_name(name);
    let bad = |reason: String| Error::BadConfig(format!("{}: {reason}", path.display()));
    let Ok(file) = std::fs::File::open(&path) else {
        tracing::debug!(file = %path.display(), "not there, so the preset's activation is taken");
        return Ok(());
    };
    let mut json = String::new();
    file.take(LARGEST)
        .read_to_string(&mut json)
        .map_err(|error| bad(error.to_string()))?;
    let described: Described =
        serde_json::from_str(&json).map_err(|error| bad(error.to_string()))?;
    if described.model_cfg.quick_gelu {
        config.set_activation(Activation::QuickGelu);
    }
    let image = &mut config.vision.image;
    image.mean = described.preprocess_cfg.mean.unwrap_or(image.mean);
    image.std = described.preprocess_cfg.std.unwrap_or(image.std);
    if described.model_type == "clip" {
        let known = |act: &str| match act {
            "gelu" => Ok(Activation::Gelu),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
            other => Err(bad(format!(
                "hidden_act '{other}' is not gelu, quick_gelu or gelu_pytorch_tanh"
            ))),
        };
        config.text.activation = known(&described.text_config.hidden_act)?;
        if let Tower::Vit(tower) = &mut config.vision.tower {
            tower.activation = known(&described.vision_config.hidden_act)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::{OPEN_CLIP_CONFIG, Preset, TRANSFORMERS_CONFIG};

    fn activations(model: &str, name: &str, json: Option<&str>) -> Result<[Activation; 2], Error> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(json) = json {
            std::fs::write(folder.path().join(name), json).unwrap();
        }
        let mut config = Preset::find(model).unwrap().config();
        take_over(&mut config, &folder.path().join("model.safetensors"), name)?;
        let Tower::Vit(tower) = config.vision.tower else {
            panic!("expected a ViT");
        };
        Ok([tower.activation, config.text.activation])
    }

    #[test]
    fn activations_are_those_that_the_authors_say() {
        use Activation::{Gelu, QuickGelu};
        let tiny = "TinyCLIP-ViT-40M-32-Text-19M";
        for (model, name, json, expected) in [
            ("ViT-B-32", OPEN_CLIP_CONFIG, None, [Gelu, Gelu]),
            (
                "ViT-B-32",
                OPEN_CLIP_CONFIG,
                Some(r#"{"model_cfg": {"quick_gelu": true, "embed_dim": 512}}"#),
                [QuickGelu, QuickGelu],
            ),
            (
                "ViT-B-32",
                OPEN_CLIP_CONFIG,
                Some(r#"{"model_cfg": {"embed_dim": 512}, "preprocess_cfg": {}}"#),
                [Gelu, Gelu],
            ),
            (tiny, TRANSFORMERS_CONFIG, None, [QuickGelu, QuickGelu]),
            (
                tiny,
                TRANSFORMERS_CONFIG,
                Some(r#"{"model_type": "clip", "text_config": {}}"#),
                [QuickGelu, QuickGelu],
            ),
            (
                tiny,
                TRANSFORMERS_CONFIG,
                Some(r#"{"model_type": "clip", "text_config": {"hidden_act": "gelu"}}"#),
                [QuickGelu, Gelu],
            ),
        ] {
            let found = activations(model, name, json).unwrap();
            assert_eq!(found, expected, "{model}, {json:?}");
        }
    }

    #[test]
    fn pictures_are_normalised_as_the_authors_say() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"{"preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5]}}"#;
        std::fs::write(folder.path().join(OPEN_CLIP_CONFIG), json).unwrap();
        let mut config = Preset::find("ViT-L-14").unwrap().config();
        let checkpoint = folder.path().join("model.safetensors");
        take_over(&mut config, &checkpoint, OPEN_CLIP_CONFIG).unwrap();
        let image = config.vision.image;
        assert_eq!((image.mean, image.std), ([0.5; 3], [0.25, 0.5, 0.5]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (json, wanted) in [
            ("{", "config.json: EOF"),
            (
                r#"{"model_type": "clip", "vision_config": {"hidden_act": "relu"}}"#,
                "hidden_act 'relu' is not gelu, quick_gelu or",
            ),
        ] {
            let error = activations(
                "TinyCLIP-ViT-40M-32-Text-19M",
                TRANSFORMERS_CONFIG,
                Some(json),
            );
            let error = error.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
