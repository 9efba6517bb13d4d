//! A picture of any format, decoded by the stage that decodes uploads, within small bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::{Bytes, Call, Cancel, Channels, Inputs, Kind, Options, Runner, Value};
use omnizap_services::{Services, ServicesConfig};
use serde_json::{Map, json};
use tokio::runtime::Runtime;

/// Enough for every seed, and soon decoded.
const MAX_PIXELS: usize = 1 << 18;
const MAX_SIDE: u32 = 4096;
const MAX_ALLOC_BYTES: usize = 8 << 20;
/// Longest message of a refusal.
const MAX_MESSAGE: usize = 512;

/// The stage, ready to run.
struct Decode {
    runtime: Runtime,
    kind: Arc<dyn Kind>,
    options: Options,
    runner: Runner,
}

impl Decode {
    fn new() -> Self {
        // Decoding goes to threads of its own; one request drives it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let services = Services::new(ServicesConfig::default());
        let kind = omnizap_stages::builtins(&services)
            .into_iter()
            .find(|kind| kind.spec().name == "decode")
            .expect("the stage that decodes");
        let mut values = Map::new();
        for option in &kind.spec().options {
            values.insert(
                option.name.to_string(),
                option.default.clone().unwrap_or_default(),
            );
        }
        for (name, value) in [
            ("max_pixels", json!(MAX_PIXELS)),
            ("max_side", json!(MAX_SIDE)),
            ("max_alloc_bytes", json!(MAX_ALLOC_BYTES)),
        ] {
            values.insert(name.to_owned(), value);
        }
        let options = Options::from_checked(values);
        let runner = runtime
            .block_on(kind.build(&options))
            .expect("nothing to open");
        Self {
            runtime,
            kind,
            options,
            runner,
        }
    }

    fn run(&self, file: &[u8]) -> bool {
        let ports = Arc::from(self.kind.ports(&self.options).inputs);
        let file = Value::Bytes(Bytes::copy_from_slice(file));
        let inputs = Inputs::new(ports, vec![Some(file)]);
        let call = Call {
            request_id: "fuzzed".into(),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: Cancel::default(),
        };
        let decoded = match &self.runner {
            Runner::Async(stage) => self.runtime.block_on(stage.run(inputs, &call)),
            Runner::Inline(stage) | Runner::Compute(stage) => stage.run(&inputs, &call),
        };
        match decoded {
            Ok(outputs) => {
                let Some(Value::Image(image)) = outputs.value("image") else {
                    panic!("no picture: {outputs:?}");
                };
                let (width, height) = (image.width as usize, image.height as usize);
                assert!(width * height <= MAX_PIXELS, "{width}x{height}");
                assert!(
                    image.width.max(image.height) <= MAX_SIDE,
                    "{width}x{height}"
                );
                assert_eq!(image.channels, Channels::Rgb);
                assert_eq!(image.pixels.len(), 3 * width * height);
                true
            }
            Err(error) => {
                assert!(error.kind().is_of_client(), "{error:?}");
                super::check_message(error.message(), MAX_MESSAGE);
                false
            }
        }
    }
}

pub fn run(data: &[u8]) -> bool {
    thread_local! {
        static DECODE: Decode = Decode::new();
    }
    DECODE.with(|decode| decode.run(data))
}
