//! The example that runs batches and can be cancelled, over HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{allowed, build};
use crate::support::http::{Answer, Part, begin_form};
use crate::support::pictures::gray_tiff;
use crate::support::program::{Server, Settings, picture};

/// Attempts at what depends on how threads are scheduled.
const ATTEMPTS: usize = 20;

/// A pipeline `quality`, with the plugin and further settings of its stage.
fn pipeline(folder: &Path, settings: &str) {
    let libraries = folder.join("lib");
    if !libraries.exists() {
        std::fs::create_dir(&libraries).unwrap();
        build("omnizap-quality", &libraries);
    }
    let plugin = allowed(&libraries.join("libomnizap_quality.so"));
    let text = format!(
        "{plugin}[pipeline]\nname = \"quality\"\nroute = \"POST /quality\"\n[request]\n\
         file = {{ type = \"bytes\", required = true }}\n[[stage]]\nuses = \"decode\"\n\
         [[stage]]\nuses = \"example/quality\"\n{settings}\n"
    );
    std::fs::write(folder.join("quality.toml"), text).unwrap();
}

fn serve(folder: &Path) -> Server {
    Server::start_with(&Settings {
        pipelines: Some(folder),
        ..Settings::default()
    })
}

fn part(data: &[u8]) -> Part<'_> {
    Part::File {
        name: "file",
        filename: "a",
        content_type: "application/octet-stream",
        data,
    }
}

fn ask(server: &Server, data: &[u8]) -> Answer {
    server.client().post_form("/quality", &[part(data)])
}

#[track_caller]
fn measured(answer: &Answer) -> Json {
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// A number that `GET /pipelines` shows of a stage.
fn counter(server: &Server, stage: &str, pointer: &str) -> u64 {
    let answer = server.client().get("/pipelines").json();
    let stages = answer["pipelines"][0]["stages"].as_array().unwrap();
    let stage = stages.iter().find(|one| one["name"] == stage).unwrap();
    let found = stage["counters"].pointer(pointer);
    found.map_or(0, |count| count.as_f64().unwrap() as u64)
}

/// A scene with edges every few pixels, or one without any.
fn scene(side: u32, sharp: bool, seed: u32) -> Vec<u8> {
    gray_tiff(side, 8, |x, y| {
        if sharp {
            ((x / 3 + y / 5 + seed) * 97) % 256
        } else {
            (x + y + seed) * 255 / (2 * side + seed)
        }
    })
}

#[test]
fn it_tells_sharp_from_blurred_and_comes_and_goes_by_one_word() {
    let folder = TempDir::new().unwrap();
    pipeline(folder.path(), "");
    let server = serve(folder.path());
    let sharp = measured(&ask(&server, &scene(256, true, 0)));
    let blurred = measured(&ask(&server, &scene(256, false, 0)));
    assert_eq!(
        (&sharp["is_blurry"], &blurred["is_blurry"]),
        (&json!(false), &json!(true))
    );
    for field in ["quality", "sharpness"] {
        let number = |answer: &Json| answer[field].as_f64().unwrap();
        assert!(
            number(&sharp) > number(&blurred),
            "{field}: {sharp} {blurred}"
        );
    }
    let pixel = measured(&ask(&server, &picture("pixel.png")));
    assert_eq!(
        (&pixel["sharpness"], &pixel["quality"]),
        (&json!(0.0), &json!(0.0))
    );
    drop(server);

    pipeline(folder.path(), "with = { blurry_below = 1 }");
    let strict = measured(&ask(&serve(folder.path()), &scene(256, true, 0)));
    assert_eq!(strict["is_blurry"], true);

    pipeline(folder.path(), "enabled = false");
    let off = measured(&ask(&serve(folder.path()), &scene(256, true, 0)));
    assert_eq!(
        (&off["quality"], &off["is_blurry"]),
        (&Json::Null, &json!(false))
    );
}

#[test]
fn requests_at_the_same_time_are_run_as_batches_and_answered_as_if_they_were_alone() {
    const CLIENTS: usize = 12;
    let folder = TempDir::new().unwrap();
    pipeline(folder.path(), "");
    let server = serve(folder.path());
    // Two clients each send the same picture.
    let pictures: Vec<Vec<u8>> = (0..CLIENTS / 2)
        .map(|seed| scene(1200, seed % 2 == 0, seed as u32))
        .collect();
    let alone: Vec<Json> = pictures
        .iter()
        .map(|data| measured(&ask(&server, data)))
        .collect();
    let metric = |name: &str| {
        let pointer = format!("/plugin_metrics/{name}");
        counter(&server, "example/quality", &pointer)
    };
    assert_eq!(
        (metric("pictures"), metric("batches")),
        (CLIENTS as u64 / 2, 0)
    );
    for _ in 0..ATTEMPTS {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (server, pictures, alone) = (&server, &pictures, &alone);
                let which = client / 2;
                scope.spawn(move || {
                    let answer = measured(&ask(server, &pictures[which]));
                    assert_eq!(answer, alone[which]);
                });
            }
        });
        if metric("pictures_shared") > 0 {
            break;
        }
    }
    assert!(metric("batches") > 0 && metric("pictures_shared") > 0);
    let count = |pointer| counter(&server, "example/quality", pointer);
    assert_eq!(
        count("/batches"),
        metric("batches"),
        "the host counts them too"
    );
    assert!(count("/batched_calls") >= 2 * count("/batches"));
    assert_eq!(count("/failed"), 0);
}

/// Waits until the stage has given up a call; false where it ended before it could.
fn gives_up(server: &Server) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while counter(server, "example/quality", "/plugin_metrics/given_up") == 0 {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn work_stops_once_the_time_is_over_or_the_client_has_gone() {
    // Cheap to decode, and long to measure.
    let large = scene(5000, true, 0);
    let folder = TempDir::new().unwrap();
    pipeline(folder.path(), "timeout_ms = 10");
    let server = serve(folder.path());
    let gave_up = (0..ATTEMPTS).any(|_| {
        let late = ask(&server, &large);
        assert_eq!(late.status, 504, "{}", late.json());
        assert_eq!(late.json()["stage"], "example/quality");
        gives_up(&server)
    });
    assert!(gave_up, "it was never asked, or never noticed");
    let small = scene(16, true, 0);
    let answered = (0..ATTEMPTS).any(|_| ask(&server, &small).status == 200);
    assert!(answered, "10 ms are enough for a small picture");
    drop(server);

    pipeline(folder.path(), "");
    let server = serve(folder.path());
    let gave_up = (1..=ATTEMPTS as u64).any(|attempt| {
        let gone = begin_form(server.address, "/quality", &[part(&large)]).unwrap();
        while counter(&server, "decode", "/ran") < attempt {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(gone);
        gives_up(&server)
    });
    assert!(gave_up, "the work went on for nobody");
    measured(&ask(&server, &small));
}
