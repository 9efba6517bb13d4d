//! `verify`, `list` and the kept record of a model of this machine.

use std::path::PathBuf;

use omnizap_models::{Cache, Device, Source, catalog, verify};

use crate::towers::fixture;

/// Where the record of a checkpoint is kept.
fn record(source: &Source) -> PathBuf {
    let Source::Custom { config, path } = source else {
        unreachable!()
    };
    let file = path.file_name().unwrap().to_str().unwrap();
    path.with_file_name(format!("{file}.{}.bpk", config.name))
}

#[test]
fn a_whole_model_passes_and_a_damaged_record_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("fastvit-four-stages", "safetensors", folder.path());
    let report = verify::verify(&source, &cache, Device::Cpu).unwrap();
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.checks.len(), 4);
    assert_eq!(report.model, "fastvit-four-stages");

    // No golden is of the tokens of a file, or of pictures as small as these.
    for name in ["siglip", "vit-transformers"] {
        let (source, cache, _) = fixture(name, "safetensors", folder.path());
        let report = verify::verify(&source, &cache, Device::Cpu).unwrap();
        assert!(report.passed(), "{report:#?}");
        let cosines = report.checks.iter().filter(|check| check.cosine.is_some());
        assert_eq!(cosines.count(), 2);
    }

    // Other weights under the right name and stamp: only the comparison with the checkpoint can tell.
    let record = record(&source);
    let mut bytes = std::fs::read(&record).unwrap();
    let end = bytes.len();
    bytes[end - 4_000..]
        .iter_mut()
        .for_each(|byte| *byte &= 0b1011_1111);
    std::fs::write(&record, bytes).unwrap();
    let report = verify::verify(&source, &cache, Device::Cpu).unwrap();
    assert!(!report.passed(), "{report:#?}");
}

#[test]
fn a_truncated_record_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, expected) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    omnizap_models::Model::open(&source, &cache, Device::Cpu).unwrap();
    let record = record(&source);
    let whole = std::fs::read(&record).unwrap();
    for length in [0, 10, 5_000, whole.len() - 1] {
        std::fs::write(&record, &whole[..length]).unwrap();
        let model = omnizap_models::Model::open(&source, &cache, Device::Cpu).unwrap();
        expected.compare(&model).0.assert_equal("images");
        assert_eq!(
            std::fs::read(&record).unwrap().len(),
            whole.len(),
            "the record should be whole again"
        );
    }
}

#[test]
fn a_changed_checkpoint_is_imported_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    let before = omnizap_models::Model::open(&source, &cache, Device::Cpu).unwrap();
    let Source::Custom { path, .. } = &source else {
        unreachable!()
    };
    let mut bytes = std::fs::read(path).unwrap();
    let end = bytes.len();
    bytes[end - 2] ^= 0x3C;
    std::fs::write(path, bytes).unwrap();
    let after = omnizap_models::Model::open(&source, &cache, Device::Cpu).unwrap();
    assert_ne!(before.fingerprint(), after.fingerprint());
}

#[test]
fn the_list_names_every_published_model() {
    let folder = tempfile::tempdir().unwrap();
    let entries = catalog::list(&Cache::at(folder.path()));
    let published = entries.iter().filter(|entry| !entry.embedded);
    assert_eq!(
        published.count(),
        25,
        "ten of MobileCLIP, B twice; four of CLIP, three of them thrice; two of TinyCLIP and of SigLIP2"
    );
    let entry = entries
        .iter()
        .find(|entry| entry.name == "MobileCLIP2-L-14")
        .unwrap();
    assert_eq!(
        (entry.dim, entry.may_be_used_for, entry.path.is_none()),
        (Some(768), "research only", true)
    );
}

#[test]
fn a_record_of_other_sizes_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    omnizap_models::Model::open(&source, &cache, Device::Cpu).unwrap();
    let Source::Custom { config, path } = source else {
        unreachable!()
    };
    let mut other = omnizap_models::config::ModelConfig::clone(&config);
    other.text.heads = 1;
    let other = Source::Custom {
        config: other.into(),
        path: path.clone(),
    };
    let text = |source: &Source| {
        let model = omnizap_models::Model::open(source, &cache, Device::Cpu).unwrap();
        model.encode_texts(&["a photo of a cat"]).unwrap()
    };
    let (one_head, two_heads) = (text(&other), text(&Source::Custom { config, path }));
    assert_ne!(one_head, two_heads);
}
