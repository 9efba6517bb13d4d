//! What the boundary of a plugin costs, the way to a thread of its stage included: a stage in C that
//! does nothing, beside a built-in one, for pictures of several sizes.
//!
//! `cargo bench --bench plugin`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::typed::{In, Out};
use omnizap_contract::{
    Call, Cancel, Channels, Error, Image, Inputs, Observed, Options, Outputs, Runner, Stage, Value,
};
use omnizap_host::{Limits, Loader};

const IMAGE: In<Image> = In::required("image", "a picture");
const ONE: Out<f64> = Out::new("one", "1.0");

struct Noop;

impl Observed for Noop {}

impl Stage for Noop {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        black_box(inputs.get(IMAGE)?);
        Ok(Outputs::new().with(ONE, 1.0))
    }
}

fn boundary(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("noop.so");
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-I"])
        .arg(root.join("plugins/contract/include"))
        .arg("-o")
        .arg(&library)
        .arg(root.join("tests/fixtures/plugins/noop.c"))
        .status();
    assert!(built.expect("a C compiler").success());
    let hash = Sha256Hex::of(&std::fs::read(&library).expect("built"));
    let loader = Loader::new(folder.path().join("cache"), false, Limits::default());
    let plugin = loader.load(&library, &hash).expect("a plugin");
    let options = Options::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let build = plugin.kinds[0].build(&options);
    let runner = runtime.block_on(build).expect("built");
    let Runner::Async(in_c) = runner else {
        panic!("a stage of a plugin has threads of its own");
    };
    let ports: Arc<[_]> = plugin.kinds[0].ports(&options).inputs.into();
    let call = Call {
        request_id: "bench".into(),
        deadline: Instant::now() + Duration::from_secs(3600),
        cancel: Cancel::default(),
    };
    for side in [16, 256, 4096] {
        let pixels = vec![0; (side * side * 3) as usize].into();
        let image = Image::new(side, side, Channels::Rgb, pixels).expect("full");
        let inputs = Inputs::new(ports.clone(), vec![Some(Value::from(image))]);
        criterion.bench_function(&format!("built in, {side}x{side}"), |bencher| {
            bencher.iter(|| Noop.run(black_box(&inputs), &call));
        });
        criterion.bench_function(&format!("plugin, {side}x{side}"), |bencher| {
            bencher.iter(|| runtime.block_on(in_c.run(black_box(inputs.clone()), &call)));
        });
    }
}

criterion_group!(benches, boundary);
criterion_main!(benches);
