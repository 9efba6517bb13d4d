//! A plugin that was built against ABI 1.0 when it came out, and never again since.
//!
//! It is plugins/examples/dominant-colours as it was then:
//! `cc -O2 -s -shared -fPIC -fvisibility=hidden -I plugins/contract/include`.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::{Call, Cancel, Channels, Image, Inputs, Options, Runner, Value, abi};
use serde_json::json;
use tempfile::TempDir;

use super::load;
use crate::support::program::root;

#[tokio::test]
async fn a_plugin_of_the_first_abi_still_runs() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("frozen.so");
    let frozen = root().join("tests/fixtures/plugins/abi_1_0_x86_64_linux.so");
    std::fs::write(&library, std::fs::read(frozen).unwrap()).unwrap();
    let plugin = load(&library).unwrap();
    assert_eq!(plugin.manifest.abi, (1, 0));
    assert_eq!(plugin.manifest.exports, [abi::ENTRY_SYMBOL]);

    let kind = &plugin.kinds[0];
    let options = json!({ "count": 2 }).as_object().unwrap().clone();
    let options = Options::from_checked(options);
    let Runner::Async(stage) = kind.build(&options).await.unwrap() else {
        panic!("a stage of a plugin has threads of its own");
    };
    let pixels = [[255, 0, 0], [255, 0, 0], [255, 0, 0], [0, 0, 255]].concat();
    let image = Image::new(4, 1, Channels::Rgb, pixels.into()).unwrap();
    let inputs = Inputs::new(
        kind.ports(&options).inputs.into(),
        vec![Some(Value::from(image))],
    );
    let call = Call {
        request_id: Arc::from("test"),
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: Cancel::default(),
    };
    let outputs = stage.run(inputs, &call).await.unwrap();
    assert_eq!(
        outputs.value("dominant_colours").unwrap().to_json(),
        json!([{ "colour": "#ff0000", "share": 0.75 }, { "colour": "#0000ff", "share": 0.25 }])
    );
}
