//! Checkpoints that are truncated, corrupted, of another architecture or with a wrong key: an error
//! that says what is wrong, and nothing left behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use omnizap_models::config::ModelConfig;
use omnizap_models::{Device, Error, Model, Source};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::expected::fixtures;
use crate::towers::fixture;

const NAME: &str = "fastvit-four-stages";

/// Opens a damaged copy of a checkpoint; nothing may be left but the copy.
fn open(name: &str, ending: &str, damage: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture(name, ending, folder.path());
    let Source::Custom { path, .. } = &source else {
        unreachable!()
    };
    let bytes = damage(std::fs::read(path).unwrap());
    std::fs::write(path, bytes).unwrap();
    let error = Model::open(&source, &cache, Device::Cpu).expect_err("a damaged checkpoint opened");
    assert_only(folder.path(), path);
    error
}

fn assert_only(folder: &Path, file: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(left, [file], "something was left behind");
}

/// Shape and bytes by key.
type Tensors = HashMap<String, (Vec<usize>, Vec<u8>)>;

/// Rewrites a safetensors file.
fn edit(bytes: &[u8], change: impl FnOnce(&mut Tensors)) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let mut all: HashMap<_, _> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut all);
    let dtype = |name: &str| {
        if name.ends_with("tracked") {
            safetensors::Dtype::I64
        } else {
            safetensors::Dtype::F16
        }
    };
    let views = all.iter().map(|(name, (shape, data))| {
        (
            name.clone(),
            TensorView::new(dtype(name), shape.clone(), data).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn truncated() {
    for (name, ending) in [
        (NAME, "safetensors"),
        ("fastvit-five-stages", "pt"),
        ("vit-openclip-quick", "bin"),
    ] {
        for keep in [0, 7, 1_000, 400_000] {
            let error = open(name, ending, |bytes| bytes[..keep].to_vec());
            assert!(
                matches!(error, Error::Unreadable { .. }),
                "{keep} bytes of .{ending}: {error:?}"
            );
        }
    }
}

#[test]
fn corrupted() {
    for (name, ending) in [(NAME, "safetensors"), ("fastvit-five-stages", "pt")] {
        // The header, which both formats check.
        let error = open(name, ending, |mut bytes| {
            bytes[0..64].fill(0xAB);
            bytes
        });
        assert!(
            matches!(error, Error::Unreadable { .. }),
            ".{ending}: {error:?}"
        );
    }
    // Weights that are no numbers.
    let error = open(NAME, "safetensors", |bytes| {
        edit(&bytes, |tensors| {
            tensors
                .get_mut("visual.trunk.head.fc.weight")
                .unwrap()
                .1
                .fill(0xFF)
        })
    });
    assert!(
        matches!(&error, Error::NotFinite(key) if key == "visual.trunk.head.fc.weight"),
        "{error:?}"
    );
}

#[test]
fn of_another_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture(NAME, "safetensors", folder.path());
    let Source::Custom { path, .. } = source else {
        unreachable!()
    };
    for other in [
        "fastvit-five-stages",
        "vit-plain",
        "fastvit-apple",
        "vit-openclip",
    ] {
        let json = std::fs::read_to_string(fixtures().join(format!("{other}.json"))).unwrap();
        let config = Arc::new(ModelConfig::from_json(&json).unwrap());
        let source = Source::Custom {
            config,
            path: path.clone(),
        };
        let error = Model::open(&source, &cache, Device::Cpu).expect_err(other);
        let text = error.to_string();
        assert!(
            matches!(
                error,
                Error::MissingKey { .. } | Error::WrongShape { .. } | Error::UnusedKeys { .. }
            ),
            "{text}"
        );
        assert!(text.contains(other) && text.contains('\''), "{text}");
        assert_only(folder.path(), &path);
    }
}

#[test]
fn with_a_key_renamed_missing_or_too_many() {
    let key = "text.transformer.resblocks.1.ln_2.bias";
    let renamed = open(NAME, "safetensors", |bytes| {
        edit(&bytes, |tensors| {
            let tensor = tensors.remove(key).unwrap();
            tensors.insert(
                "text.transformer.resblocks.1.ln_two.bias".to_owned(),
                tensor,
            );
        })
    });
    let text = renamed.to_string();
    assert!(matches!(renamed, Error::MissingKey { .. }), "{text}");
    assert!(
        text.contains(key)
            && text.contains("did you mean 'text.transformer.resblocks.1.ln_two.bias'"),
        "{text}"
    );

    let unused = open(NAME, "safetensors", |bytes| {
        edit(&bytes, |tensors| {
            tensors.insert("visual.trunk.extra".to_owned(), (vec![1], vec![0, 0]));
        })
    });
    assert!(
        matches!(&unused, Error::UnusedKeys { key, count: 1, .. } if key == "visual.trunk.extra"),
        "{unused:?}"
    );

    let shape = open(NAME, "safetensors", |bytes| {
        edit(&bytes, |tensors| {
            let (shape, _) = tensors.get_mut(key).unwrap();
            *shape = vec![2, 3];
        })
    });
    assert!(
        matches!(&shape, Error::WrongShape { key: found, .. } if found == key),
        "{shape:?}"
    );
}

#[test]
fn with_a_tokenizer_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("siglip", "safetensors", folder.path());
    let path = folder.path().join("tokenizer.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let mut more: serde_json::Value = serde_json::from_str(&whole).unwrap();
    more["model"]["vocab"]["one too many"] = 500.into();
    for (content, wanted) in [
        (String::new(), "EOF"),
        (whole[..whole.len() / 2].to_owned(), "EOF"),
        (whole.replace("<eos>", "<end>"), "it has no token <eos>"),
        (whole.replace("<pad>", "<fill>"), "it has no token <pad>"),
        (
            whole.replacen("\"unk_token\":\"<unk>\"", "\"unk_token\":null", 1),
            "it names no unknown token",
        ),
        (more.to_string(), "it has 501 entries, siglip knows 500"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = Model::open(&source, &cache, Device::Cpu).expect_err(wanted);
        let text = error.to_string();
        assert!(matches!(error, Error::BadTokenizer { .. }), "{text}");
        assert!(
            text.contains(wanted) && text.contains("tokenizer.json"),
            "{text}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let error = Model::open(&source, &cache, Device::Cpu).expect_err("no tokenizer");
    assert!(error.to_string().contains("models pull"), "{error}");
}

#[test]
fn of_no_known_format_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture(NAME, "safetensors", folder.path());
    let Source::Custom { config, path } = source else {
        unreachable!()
    };
    for (name, wanted) in [
        ("model.onnx", "is no checkpoint"),
        ("missing.pt", "cannot open"),
    ] {
        let other = folder.path().join(name);
        if name.ends_with("onnx") {
            std::fs::copy(&path, &other).unwrap();
        }
        let source = Source::Custom {
            config: config.clone(),
            path: other,
        };
        let error = Model::open(&source, &cache, Device::Cpu)
            .expect_err(name)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
