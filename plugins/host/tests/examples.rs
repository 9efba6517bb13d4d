//! The example plugins in the host, as the service has them: admitted by their hash, loaded, made,
//! called by many at a time, ended. No server and no model is needed for it, which is why the
//! address sanitizer has it: host and plugins are built in the same way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{
    Call, Cancel, Channels, Image, Inputs, Kind, Options, Outputs, Runner, Value,
};
use omnizap_host::{Limits, Loader};
use tokio::task::JoinSet;

/// Calls at a time.
const CALLS: u32 = 40;

/// A folder of this test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("omnizap-examples-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        // Writable to nobody else, whatever the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds a plugin as this test was built, and puts it into the folder.
fn build(package: &str, folder: &Path) -> PathBuf {
    // The test is somewhere below TARGET/debug, or TARGET/TRIPLE/debug.
    let test = std::env::current_exe().unwrap();
    let built = test
        .ancestors()
        .find(|folder| folder.ends_with("debug"))
        .expect("a test of the profile that tests have");
    let above = built.parent().unwrap();
    let triple = above.file_name().unwrap().to_str().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--locked", "-p", package, "--target-dir"]);
    if triple.contains("-linux-") {
        let target = above.parent().unwrap();
        cargo.arg(target).args(["--target", triple]);
    } else {
        cargo.arg(above);
    }
    let output = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let file = format!("lib{}.so", package.replace('-', "_"));
    let library = folder.join(&file);
    fs::copy(built.join(file), &library).unwrap();
    fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
    library
}

fn picture(number: u32) -> Value {
    let (width, height) = (1 + number * 7 % 60, 1 + number * 5 % 50);
    let all = [Channels::Gray, Channels::Rgb, Channels::Rgba];
    let channels = all[number as usize % 3];
    let len = (width * height) as usize * channels.count();
    let pixels: Vec<u8> = (0..len).map(|at| (at * at + 31 * at) as u8).collect();
    Value::from(Image::new(width, height, channels, pixels.into()).unwrap())
}

async fn run(kind: &Arc<dyn Kind>) -> Vec<Outputs> {
    let options = kind.spec().options.iter();
    let options = options.map(|option| {
        let default = option.default.clone().unwrap_or_default();
        (option.name.to_string(), default)
    });
    let options = Options::from_checked(options.collect());
    let ports = kind.ports(&options);
    let runner = kind.build(&options).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let image = ports.inputs.iter().map(|port| port.name == "image");
        let values = image.map(|is_image| is_image.then(|| picture(number)));
        let inputs = Inputs::new(Arc::from(ports.inputs.clone()), values.collect());
        let call = Call {
            request_id: format!("r{number}").into(),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: Cancel::default(),
        };
        let runner = runner.clone();
        calls.spawn(async move {
            match &runner {
                Runner::Inline(stage) | Runner::Compute(stage) => stage.run(&inputs, &call),
                Runner::Async(stage) => stage.run(inputs, &call).await,
            }
        });
    }
    let all = calls.join_all().await;
    if let Runner::Async(stage) = &runner {
        stage.close().await;
    }
    all.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_are_loaded_called_and_ended() {
    let folder = Folder::new("all");
    let loader = Loader::new(folder.0.join("cache"), false, Limits::default());
    for (package, output) in [("omnizap-phash", "phash"), ("omnizap-quality", "sharpness")] {
        let library = build(package, &folder.0);
        let hash = Sha256Hex::of(&fs::read(&library).unwrap());
        let plugin = loader.load(&library, &hash).unwrap();
        for kind in &plugin.kinds {
            let outputs = run(kind).await;
            assert_eq!(outputs.len(), CALLS as usize);
            assert!(
                outputs.iter().all(|it| it.value(output).is_some()),
                "{outputs:?}"
            );
        }
    }
}
