//! The file of a plugin's library, read as data: what it says of itself.

use omnizap_contract::abi;
use omnizap_host::read_manifest;

/// Longest message of a refusal: it may quote a text of the file, which is up to 64 KiB, escaped.
const MAX_MESSAGE: usize = 1 << 20;
/// Longest text of a descriptor.
const MAX_TEXT: usize = 64 << 10;

pub fn run(data: &[u8]) -> bool {
    let manifest = match read_manifest(data) {
        Ok(manifest) => manifest,
        Err(error) => {
            super::check_message(&error.to_string(), MAX_MESSAGE);
            return false;
        }
    };
    assert_eq!(manifest.abi.0, abi::ABI_MAJOR);
    assert!((1..=abi::MAX_STAGES).contains(&manifest.stages.len()));
    for text in [&manifest.name, &manifest.version, &manifest.build] {
        assert!(text.len() <= MAX_TEXT);
    }
    for stage in &manifest.stages {
        let (vendor, name) = stage.id.split_once('/').expect("`vendor/name`");
        assert!(!vendor.is_empty() && !name.is_empty());
        assert!(stage.inputs.len() <= abi::MAX_PORTS);
        assert!(stage.outputs.len() <= abi::MAX_PORTS);
        for output in &stage.outputs {
            let axes = output.shape.as_ref().map_or(0, Vec::len);
            assert!(axes <= abi::MAX_AXES, "{axes} axes");
        }
    }
    // All names together are no longer than the file: they are parts of it.
    let exports: usize = manifest.exports.iter().map(String::len).sum();
    assert!(exports <= data.len(), "{exports} bytes of names");
    let needs = manifest
        .needs
        .libraries
        .iter()
        .chain(&manifest.needs.folders);
    assert!(needs.clone().count() <= 1024);
    let again = read_manifest(data).unwrap_or_else(|error| panic!("the second time: {error}"));
    assert_eq!(format!("{again:?}"), format!("{manifest:?}"));
    true
}
