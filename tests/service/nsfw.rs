//! The check for unsafe pictures, in each of its modes.

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, Settings, picture, root, shrunk_model};

/// Writes the default pipeline with other settings of the stage nsfw, and other options.
fn pipeline_with(folder: &Path, settings: &[(&str, toml::Value)], options: &[(&str, toml::Value)]) {
    let text = std::fs::read_to_string(root().join("pipelines/classify.toml")).unwrap();
    let mut pipeline: toml::Table = text.parse().unwrap();
    let stages = pipeline["stage"].as_array_mut().unwrap();
    let nsfw = stages
        .iter_mut()
        .find(|stage| stage["uses"].as_str() == Some("nsfw"))
        .unwrap();
    let owned = |pairs: &[(&str, toml::Value)]| -> Vec<_> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    };
    nsfw["with"].as_table_mut().unwrap().extend(owned(options));
    nsfw.as_table_mut().unwrap().extend(owned(settings));
    let text = toml::to_string(&pipeline).unwrap();
    std::fs::write(folder.join("classify.toml"), text).unwrap();
}

/// A server of a shrunk full model: its sizes and its checkpoint are files of a user's own.
fn imported_model(folder: &Path) -> Server {
    let [name, weights] = shrunk_model(folder, "vit-hybrid-causal");
    let environment = [
        ("CLIP_MODEL_NAME", &*name),
        ("CLIP_MODEL_PRETRAINED", &*weights),
    ];
    Server::of(folder, &environment)
}

#[test]
fn contrast_with_an_imported_model_is_what_its_prompts_score_as_labels() {
    let (unsafe_prompts, safe_prompts) = (["a cat", "a red car"], ["a dog", "two words, three"]);
    let folder = TempDir::new().unwrap();
    pipeline_with(
        folder.path(),
        &[],
        &[
            ("mode", "contrast".into()),
            ("unsafe_prompts", unsafe_prompts.to_vec().into()),
            ("safe_prompts", safe_prompts.to_vec().into()),
        ],
    );
    let server = imported_model(folder.path());
    let mut client = server.client();
    let health = client.get("/health").json();
    assert_eq!(health["model"], "vit-hybrid-causal");
    assert_eq!(health["nsfw_mode"], "contrast");
    let text = health.to_string();
    assert!(!text.contains("not available"), "{text}");

    let prompts: Vec<_> = unsafe_prompts.iter().chain(&safe_prompts).collect();
    let prompts = json!(prompts).to_string();
    let mut seen = Vec::new();
    for name in ["rgb.png", "progressive_444.jpg", "lossy.webp", "plain.gif"] {
        let data = picture(name);
        let mut ask = |labels: &str, threshold: &str| -> Json {
            let parts = [
                file(&data),
                Part::Text("labels", labels),
                Part::Text("nsfw_threshold", threshold),
            ];
            client.post_form("/classify", &parts).fine()
        };
        let answer = ask(&prompts, "0.5");
        let share: f64 = unsafe_prompts
            .iter()
            .map(|prompt| answer["all_scores"][prompt].as_f64().unwrap())
            .sum();
        let score = answer["nsfw_score"].as_f64().unwrap();
        assert!(
            (score - share).abs() < 3e-6,
            "{name}: {score} and {share}, to six decimals each"
        );
        assert_eq!(answer["is_nsfw"], json!(score >= 0.5), "{name}");
        // The request's labels say nothing to it, and one formula holds at every threshold.
        for (threshold, expected) in [
            (0.0, true),
            (score - 1e-5, true),
            (score + 1e-5, false),
            (1.0, false),
        ] {
            let other = ask("a chart, a face", &threshold.to_string());
            assert_eq!(other["nsfw_score"], answer["nsfw_score"], "{name}");
            assert_eq!(other["is_nsfw"], json!(expected), "{name} at {threshold}");
        }
        seen.push(score);
    }
    seen.sort_by(f64::total_cmp);
    assert!(
        seen[0] > 0.01 && seen[3] < 0.99 && seen[3] - seen[0] > 0.01,
        "pictures should differ, and none be certain: {seen:?}"
    );
}

const CLASSES: [&str; 5] = ["drawing", "hentai", "neutral", "porn", "sexy"];

/// A picture that the original was asked about, as a BMP, and what it said. To an eye it is noise.
fn golden(number: usize) -> (Vec<u8>, [f64; 5]) {
    let file = std::fs::read(root().join("models/tests/fixtures/nsfw.safetensors")).unwrap();
    let (length, rest) = file.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (header, data) = rest.split_at(length);
    let header: Json = serde_json::from_slice(header).unwrap();
    let bytes = |name: &str| {
        let place = |end: usize| header[name]["data_offsets"][end].as_u64().unwrap() as usize;
        &data[place(0)..place(1)]
    };
    let name = format!("image.{number}");
    let side = |axis: usize| header[&name]["shape"][axis].as_u64().unwrap() as usize;
    let classes = bytes("classes").as_chunks::<4>().0[number * 5..][..5].iter();
    let classes: Vec<f64> = classes.map(|x| f64::from(f32::from_le_bytes(*x))).collect();
    let picture = bmp(side(1), side(0), bytes(&name));
    (picture, classes.try_into().unwrap())
}

/// An uncompressed picture with 24 bits a pixel.
fn bmp(width: usize, height: usize, rgb: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 14 + 40;
    let pitch = (width * 3).next_multiple_of(4);
    let size = HEADERS + pitch * height;
    let mut file = b"BM".to_vec();
    // Size, reserved, start of the pixels; then size of the second header, width and height.
    for number in [size, 0, HEADERS, 40, width, height] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend(1_u16.to_le_bytes());
    file.extend(24_u16.to_le_bytes());
    file.extend([0; 24]);
    for row in rgb.chunks(width * 3).rev() {
        let start = file.len();
        file.extend(
            row.chunks(3)
                .flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]),
        );
        file.resize(start + pitch, 0);
    }
    file
}

fn number(answer: &Json, field: &str) -> f64 {
    answer[field].as_f64().unwrap()
}

#[test]
fn the_default_asks_a_model_that_no_label_switches_off() {
    let server = Server::start();
    let mut client = server.client();
    let settings = client.get("/labels").json();
    assert_eq!(settings["nsfw_mode"], "model");
    let health = client.get("/health").json();
    assert_eq!(health["nsfw_mode"], "model");
    assert_eq!(health["nsfw_model"], settings["nsfw_model"]);
    let mut ask = |data: &[u8], fields: &[(&str, &str)]| {
        let mut parts = vec![file(data)];
        parts.extend(fields.iter().map(|(name, value)| Part::Text(name, value)));
        client.post_form("/classify", &parts).fine()
    };
    let mut unsafe_ones = 0;
    for picture in 0..12 {
        let (data, expected) = golden(picture);
        let answer = ask(&data, &[]);
        for (class, expected) in CLASSES.iter().zip(expected) {
            let found = number(&answer["nsfw_classes"], class);
            assert!((found - expected).abs() < 1e-4, "{picture}: {answer}");
        }
        let score = number(&answer, "nsfw_score");
        let classes = &answer["nsfw_classes"];
        let sum = number(classes, "hentai") + number(classes, "porn");
        assert!((score - sum).abs() < 2e-6, "{picture}: {answer}");
        assert_eq!(answer["is_nsfw"], json!(score >= 0.6), "{picture}");
        unsafe_ones += usize::from(score >= 0.6);
        // Neither the labels nor whether it was seen before change it, and the threshold does
        // what it says.
        for (threshold, expected) in [("0", true), ("1", false)] {
            let fields = [("labels", "a cat, a dog"), ("nsfw_threshold", threshold)];
            let other = ask(&data, &fields);
            assert_eq!(other["nsfw_classes"], answer["nsfw_classes"], "{picture}");
            assert_eq!(other["is_nsfw"], json!(expected), "{picture}");
        }
    }
    assert_eq!(
        unsafe_ones, 3,
        "of the pictures that the original was asked about"
    );
    for sample in std::fs::read_dir(root().join("models/embedded/samples")).unwrap() {
        let sample = sample.unwrap().path();
        let answer = ask(&std::fs::read(&sample).unwrap(), &[]);
        assert!(number(&answer, "nsfw_score") < 0.3, "{sample:?}: {answer}");
    }
}

#[test]
fn a_check_that_fails_fails_the_request_or_is_closed_or_open_as_the_file_says() {
    // Long enough to begin, and too short to end.
    const TOO_SHORT: i64 = 1;
    let data = picture("lossy.webp");
    for (on_error, on_failure, expected) in [
        ("fail", "closed", None),
        ("skip", "closed", Some((1.0, true))),
        ("skip", "open", Some((0.0, false))),
    ] {
        let folder = TempDir::new().unwrap();
        pipeline_with(
            folder.path(),
            &[
                ("on_error", on_error.into()),
                ("timeout_ms", TOO_SHORT.into()),
            ],
            &[("on_failure", on_failure.into())],
        );
        let server = Server::of(folder.path(), &[]);
        let answer = server.client().post_form("/classify", &[file(&data)]);
        let Some((score, is_nsfw)) = expected else {
            assert_eq!(answer.status, 504);
            assert_eq!(answer.json()["stage"], "nsfw");
            continue;
        };
        let answer = answer.fine();
        assert_eq!(answer["nsfw_score"], json!(score), "{on_failure}");
        assert_eq!(answer["is_nsfw"], json!(is_nsfw), "{on_failure}");
        assert_eq!(answer["nsfw_classes"], Json::Null, "{on_failure}");
        assert!(answer["category"].is_string());
    }
}

#[test]
fn the_variable_chooses_the_mode() {
    let data = picture("lossy.webp");
    for mode in ["contrast", "label"] {
        let server = Server::start_with(&Settings {
            environment: &[("NSFW_MODE", mode)],
            ..Settings::default()
        });
        let mut client = server.client();
        let settings = client.get("/labels").json();
        assert_eq!(settings["nsfw_mode"], mode);
        assert_eq!(settings.get("nsfw_model"), None, "{mode}");
        let health = client.get("/health").json();
        assert_eq!(health["nsfw_mode"], mode);
        // The model inside the program knows no unsafe pictures, and says so.
        let says = health["nsfw"].as_str().unwrap_or_default();
        assert_eq!(says.contains("not available"), mode == "contrast", "{says}");
        let parts = [file(&data), Part::Text("labels", "nsfw content,a cat")];
        let answer = client.post_form("/classify", &parts).json();
        let label = number(&answer["all_scores"], "nsfw content");
        let expected = if mode == "label" { label } else { 0.0 };
        assert!(
            (number(&answer, "nsfw_score") - expected).abs() < 1e-9,
            "{answer}"
        );
    }
}
