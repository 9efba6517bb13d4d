//! The stages together, with the model inside the program.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{
    ErrorKind, Inputs, JsonShape, Kind, OptionFault, Options, PortType, Ports, Runner, Value,
};
use omnizap_services::inference::pool::TextForm;
use serde_json::{Map, Value as Json, json};

use crate::testing::{call, fits, options_of};
use crate::{Services, ServicesConfig, builtins};

mod numbers;

/// A stage of a chain: its kind's name and the options that it sets.
type Link<'a> = (&'a str, Json);

const LABELS: [&str; 3] = ["cat", "pizza", "house"];

fn services(folder: &tempfile::TempDir) -> Services {
    Services::new(ServicesConfig {
        data_dir: folder.path().to_owned(),
        ..ServicesConfig::default()
    })
}

fn picture(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/images");
    Value::Bytes(std::fs::read(folder.join(name)).expect(name).into())
}

fn kind(services: &Services, name: &str) -> Arc<dyn Kind> {
    let kinds = builtins(services);
    let found = kinds.into_iter().find(|kind| kind.spec().name == name);
    found.expect(name)
}

async fn build(services: &Services, link: &Link<'_>) -> (Arc<dyn Kind>, Options, Runner) {
    let kind = kind(services, link.0);
    let options = options_of(&*kind, &link.1);
    let runner = kind.build(&options).await.expect(link.0);
    (kind, options, runner)
}

/// Runs stages one after the other, each output under its port's name.
async fn run(
    services: &Services,
    chain: &[Link<'_>],
    request: impl IntoIterator<Item = (&str, Value)>,
) -> Result<HashMap<String, Value>, omnizap_contract::Error> {
    let request = request.into_iter();
    let mut values: HashMap<String, Value> = request
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // Stages that are gone would close the model between two of them.
    let mut built = Vec::new();
    for link in chain {
        built.push(build(services, link).await);
    }
    for (kind, options, runner) in &built {
        let ports = kind.ports(options);
        let bound = ports
            .inputs
            .iter()
            .map(|port| values.get(&*port.name).cloned());
        let inputs = Inputs::new(ports.inputs.clone().into(), bound.collect());
        let outputs = match runner {
            Runner::Inline(stage) | Runner::Compute(stage) => stage.run(&inputs, &call())?,
            Runner::Async(stage) => stage.run(inputs, &call()).await?,
        };
        fits(&ports, &outputs)?;
        let given = outputs.conform(&ports.outputs)?;
        for (port, value) in ports.outputs.iter().zip(given) {
            values.extend(value.map(|value| (port.name.to_string(), value)));
        }
    }
    Ok(values)
}

fn score_options() -> Json {
    json!({ "default_labels_json": json!(LABELS).to_string(), "keep_default_labels": false })
}

fn classify() -> Vec<Link<'static>> {
    vec![
        ("hash", json!({})),
        ("decode", json!({})),
        ("embed", json!({})),
        ("score", score_options()),
        ("nsfw", json!({ "mode": "contrast" })),
        ("rank", json!({})),
    ]
}

fn field(values: &HashMap<String, Value>, name: &str) -> Json {
    values[name].to_json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_becomes_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let labels: Vec<Arc<str>> = [" Cat", "dog", "CAT", "café"].map(Arc::from).into();
    let request = [
        ("file", picture("rgb.png")),
        ("labels", Value::from(labels)),
    ];
    let answer = run(&services, &classify(), request).await.unwrap();
    assert_eq!(field(&answer, "labels"), json!(["Cat", "dog", "café"]));
    assert_eq!(field(&answer, "model"), "omnizap-mini");
    assert_eq!(field(&answer, "device"), "cpu");
    let Value::Embedding(embedding) = &answer["embedding"] else {
        panic!("no embedding")
    };
    assert!(
        embedding.model.starts_with("omnizap-mini@"),
        "{}",
        embedding.model
    );
    let norm: f32 = embedding.vector.iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    let Value::Scores(scores) = &answer["scores"] else {
        panic!("no scores")
    };
    let sum: f64 = scores.iter().map(|score| score.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let best = scores
        .iter()
        .max_by(|a, b| a.logit.total_cmp(&b.logit))
        .unwrap();
    assert_eq!(field(&answer, "category"), *best.label);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_labels_the_default_ones_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let blank: Vec<Arc<str>> = vec![" ".into()];
    for labels in [None, Some(Value::from(blank))] {
        let labels = labels.map(|labels| ("labels", labels));
        let request = labels.into_iter().chain([("file", picture("palette.png"))]);
        let answer = run(&services, &classify(), request).await.unwrap();
        assert_eq!(field(&answer, "labels"), json!(LABELS));
    }
    let (_, _, score) = build(&services, &("score", score_options())).await;
    let described = score.observed().describe();
    assert_eq!(described.value("default_labels"), Some(&json!(LABELS)));
    // The model brings labels of its own.
    let (_, _, score) = build(
        &services,
        &("score", json!({ "keep_default_labels": false })),
    )
    .await;
    let described = score.observed().describe();
    let labels = described.value("default_labels").unwrap();
    assert!(labels.as_array().unwrap().len() > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_pixels_are_the_same_vector_whatever_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let chain = [("decode", json!({})), ("embed", json!({}))];
    let mut vectors = Vec::new();
    for name in [
        "rgb.png",
        "lossless.webp",
        "rgb.bmp",
        "lzw.tiff",
        "rgb_16.png",
        "gray.png",
    ] {
        let values = run(&services, &chain, [("file", picture(name))])
            .await
            .unwrap();
        let Value::Embedding(embedding) = &values["embedding"] else {
            panic!("no embedding")
        };
        vectors.push((name, embedding.vector.clone()));
    }
    let first = vectors[0].1.clone();
    let difference = |vector: &[f32]| {
        let differences = first.iter().zip(vector).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max)
    };
    for (name, vector) in &vectors[..4] {
        assert!(difference(vector) < 1e-6, "{name}");
    }
    let apart = difference(&vectors[4].1);
    assert!(apart > 1e-5, "a pixel and a scene are {apart} apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_small_model_gives_no_verdict_on_nsfw_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let answer = run(&services, &classify(), [("file", picture("rgb.png"))])
        .await
        .unwrap();
    assert_eq!(field(&answer, "nsfw_score"), json!(0.0));
    assert_eq!(field(&answer, "is_nsfw"), json!(false));
    let (_, _, nsfw) = build(&services, &("nsfw", json!({ "mode": "contrast" }))).await;
    let health = nsfw.observed().health();
    let note = health.facts.value("nsfw").unwrap().as_str().unwrap();
    assert!(note.contains("omnizap-mini has never seen"), "{note}");
    assert!(note.contains("CLIP_MODEL_NAME"), "{note}");
    let request = [
        ("file", picture("rgb.png")),
        ("nsfw_threshold", Value::from(0.0)),
    ];
    let answer = run(&services, &classify(), request).await.unwrap();
    assert_eq!(field(&answer, "is_nsfw"), json!(true), "0 reaches 0");
    let request = [
        ("file", picture("rgb.png")),
        ("nsfw_threshold", Value::from(1.5)),
    ];
    let error = run(&services, &classify(), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nsfw_model_needs_the_picture_or_what_it_said_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let chain = [("decode", json!({})), ("nsfw", json!({}))];
    let seen = run(&services, &chain, [("file", picture("rgb.png"))]);
    let seen = seen.await.unwrap();
    let Value::Embedding(said) = &seen["nsfw_probabilities"] else {
        panic!("no probabilities")
    };
    assert!(said.model.starts_with("nsfwjs-mobilenet-v2-mid@"));

    let alone = [("nsfw", json!({}))];
    let recall = |model: &str, vector: &[f32]| {
        let known = omnizap_contract::Embedding {
            model: model.into(),
            vector: vector.into(),
        };
        [("nsfw_recalled", Value::from(known))]
    };
    let again = run(&services, &alone, recall(&said.model, &said.vector));
    let again = again.await.unwrap();
    assert_eq!(field(&again, "nsfw_score"), field(&seen, "nsfw_score"));
    assert_eq!(field(&again, "nsfw_classes"), field(&seen, "nsfw_classes"));
    assert!(!again.contains_key("nsfw_probabilities"), "nothing new");

    let other = format!("{}+other", said.model);
    // What another model said is nothing; that is how the pipeline is set up, and no request's fault.
    for (model, vector, kind) in [
        (&*other, &*said.vector, ErrorKind::Unavailable),
        (&*said.model, &[1.0][..], ErrorKind::Internal),
    ] {
        let error = run(&services, &alone, recall(model, vector)).await;
        assert_eq!(error.unwrap_err().kind(), kind);
    }
    let error = run(&services, &alone, []).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.code(), "misconfigured");
    let says = format!("{error:?}");
    assert!(says.contains("nsfw_unknown"), "for the operator: {says}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_opened_once_and_forgotten_when_nobody_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let first = services.model(None, None).await.unwrap();
    let again = services.model(Some(" "), Some("")).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let weak = Arc::downgrade(&first);
    drop((first, again));
    assert!(weak.upgrade().is_none());
    let error = match services.model(Some("MobileCLIP-S7"), None).await {
        Ok(_) => panic!("there is no such model"),
        Err(error) => error,
    };
    assert!(error.message().contains("MobileCLIP-S1") || error.message().contains("did you mean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_of_default_labels_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = json!({ "default_labels_json": json!(LABELS).to_string() });
    let first = services(&folder);
    let (_, _, _score) = build(&first, &("score", options.clone())).await;
    let model = first.model(None, None).await.unwrap();
    let labels = LABELS.map(Arc::from);
    let made = model
        .embed_texts(&labels, TextForm::Label, &call())
        .await
        .unwrap();
    // They are written in the background, even if a request asked for them first.
    let key = model.text_key(TextForm::Label);
    let mut kept = Vec::new();
    for _ in 0..400 {
        kept = first.store().label_embeddings(&key, &LABELS).await.unwrap();
        if kept.iter().all(Option::is_some) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let kept: Vec<Vec<f32>> = kept.into_iter().flatten().collect();
    assert_eq!(kept.len(), LABELS.len());
    for (kept, made) in kept.iter().zip(&made) {
        assert_eq!(kept[..], made[..]);
    }
    first.store().close().await;

    // A vector that only the database can give shows that the next start reads it there.
    let second = services(&folder);
    let mut planted = vec![0.0; made[0].len()];
    planted[0] = 1.0;
    second
        .store()
        .save_label_embeddings(&key, &[(LABELS[0], &planted)])
        .await
        .unwrap();
    let (_, _, _score) = build(&second, &("score", options)).await;
    let model = second.model(None, None).await.unwrap();
    let mut recalled = false;
    for _ in 0..400 {
        recalled = model.known_texts(TextForm::Label, &labels[..1])[0].is_some();
        if recalled {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(recalled);
    let vectors = model
        .embed_texts(&labels, TextForm::Label, &call())
        .await
        .unwrap();
    assert_eq!(vectors[0][..], planted[..]);
    assert_eq!(vectors[1][..], made[1][..]);
    second.store().close().await;
}

/// The vector of a text.
async fn of_text(
    services: &Services,
    text: &str,
    options: Json,
) -> Result<Arc<[f32]>, omnizap_contract::Error> {
    let chain = [("embed-text", options)];
    let values = run(services, &chain, [("text", Value::from(text))]).await?;
    assert_eq!(field(&values, "model"), "omnizap-mini");
    let Value::Embedding(embedding) = &values["embedding"] else {
        panic!("no embedding")
    };
    Ok(embedding.vector.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_becomes_a_vector_in_the_space_of_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    // Held, so that it is not opened anew for each text.
    let model = services.model(None, None).await.unwrap();
    let cat = of_text(&services, "a cat", json!({})).await.unwrap();
    let norm: f32 = cat.iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    assert!(model.can_have_made(&cat));
    let texts: [Arc<str>; 1] = ["a cat".into()];
    let raw = model.embed_texts(&texts, TextForm::Raw, &call()).await;
    assert_eq!(raw.unwrap()[0], cat, "without a template");
    let again = of_text(&services, "a cat", json!({})).await.unwrap();
    assert_eq!(again, cat);
    let dog = of_text(&services, "a dog", json!({})).await.unwrap();
    assert_ne!(dog, cat);

    // A chain that takes a picture's vector takes a text's: it is of the same model.
    let labels: Vec<Arc<str>> = vec!["a cat".into(), "a bar chart".into()];
    let chain = [
        ("embed-text", json!({})),
        (
            "score",
            json!({ "templates": "none", "keep_default_labels": false }),
        ),
        ("rank", json!({})),
    ];
    let request = [
        ("text", Value::from("a cat")),
        ("labels", Value::from(labels)),
    ];
    let answer = run(&services, &chain, request).await.unwrap();
    assert_eq!(field(&answer, "category"), "a cat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_the_model_would_not_read_to_its_end_is_refused_or_cut() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let _held = services.model(None, None).await.unwrap();
    let long = "a ".repeat(99);
    let longest = "a ".repeat(3000);
    for (text, code) in [
        (&*long, "text_too_long"),
        (&*longest, "text_too_long"),
        (" \n", "empty_text"),
        ("", "empty_text"),
    ] {
        let error = of_text(&services, text, json!({})).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Invalid, code),
            "{error}"
        );
        assert!(error.message().starts_with("text: "), "{error}");
    }
    let cut = || json!({ "long_text": "cut" });
    let whole = of_text(&services, &long, cut()).await.unwrap();
    for text in [format!("{long}x"), format!("{long}y"), longest] {
        let vector = of_text(&services, &text, cut()).await.unwrap();
        assert_eq!(vector, whole);
    }
    assert!(of_text(&services, " ", cut()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_is_opened_from_is_inspected_before_it_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let absent = folder.path().join("absent.pt");
    let absent = absent.to_str().unwrap();
    for (model, pretrained, option, wanted) in [
        ("MobileCLIP-S7", "", "model", "did you mean"),
        ("", "datacompdr", "pretrained", "without a model name"),
        (
            "MobileCLIP-S1",
            "datacompd",
            "pretrained",
            "is neither a file",
        ),
        (
            "MobileCLIP-S1",
            absent,
            "pretrained",
            "cannot open the checkpoint",
        ),
        ("absent.json", "", "model", "absent.json"),
    ] {
        for (name, mut options) in [
            ("embed", json!({})),
            ("embed-text", json!({})),
            ("recall", json!({})),
            ("score", json!({})),
            ("nsfw", json!({ "mode": "contrast" })),
        ] {
            options["model"] = json!(model);
            options["pretrained"] = json!(pretrained);
            let kind = kind(&services, name);
            let options = options_of(&*kind, &options);
            let faults = kind.inspect(&options).unwrap_err();
            let [fault] = &faults[..] else {
                panic!("{name}: {faults:?}")
            };
            assert_eq!(fault.option, option, "{name}: {}", fault.message);
            assert!(fault.message.contains(wanted), "{name}: {}", fault.message);
            let built = kind.build(&options).await.err().unwrap();
            assert_eq!(built.message(), fault.message, "{name}");
        }
    }
    // What names no model of its own asks for none.
    for mode in ["model", "label"] {
        let kind = kind(&services, "nsfw");
        let options = options_of(&*kind, &json!({ "mode": mode, "model": "nope" }));
        assert_eq!(kind.inspect(&options), Ok(()), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_labels_are_inspected_before_they_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let file = folder.path().join("labels.txt");
    std::fs::write(&file, "cat\npizza\nhouse\n").unwrap();
    let kind = kind(&services, "score");
    let with = |options: Json| options_of(&*kind, &options);
    let inspected =
        |options: Json| -> Result<(), Vec<OptionFault>> { kind.inspect(&with(options)) };
    assert_eq!(inspected(json!({})), Ok(()));
    assert_eq!(inspected(json!({ "default_labels_path": file })), Ok(()));
    for (options, wanted) in [
        (
            json!({ "default_labels_path": "/nonexistent" }),
            "No such file",
        ),
        (
            json!({ "default_labels_path": file, "max_labels": 2 }),
            "more than 2",
        ),
        (
            json!({ "default_labels_path": file, "max_label_chars": 4 }),
            "label 2",
        ),
    ] {
        let faults = inspected(options.clone()).unwrap_err();
        assert_eq!(faults[0].option, "default_labels_path");
        assert!(faults[0].message.contains(wanted), "{}", faults[0].message);
        let built = kind.build(&with(options)).await.err().unwrap();
        let told = format!("default_labels_path: {}", faults[0].message);
        assert_eq!(built.message(), told);
    }
    // Where they are cut, or where another list is used, nothing is wrong.
    let cut = json!({ "default_labels_path": file, "max_labels": 2, "over_limit": "cut" });
    assert_eq!(inspected(cut), Ok(()));
    let listed = json!({ "default_labels": LABELS, "default_labels_path": "/nonexistent" });
    assert_eq!(inspected(listed.clone()), Ok(()));
    let (_, _, score) = build(&services, &("score", listed)).await;
    let described = score.observed().describe();
    assert_eq!(described.value("default_labels"), Some(&json!(LABELS)));
}

/// The ports of every built-in stage, under options of each form that they have.
fn all_ports(services: &Services) -> Vec<(String, Ports)> {
    let of = |kind: &Arc<dyn Kind>, options: Json| {
        let name = kind.spec().name.to_string();
        (name, kind.ports(&options_of(&**kind, &options)))
    };
    let mut ports: Vec<_> = builtins(services)
        .iter()
        .map(|kind| of(kind, json!({})))
        .collect();
    for mode in ["contrast", "label"] {
        ports.push(of(&kind(services, "nsfw"), json!({ "mode": mode })));
    }
    ports
}

#[test]
fn every_json_of_a_built_in_stage_has_a_shape_that_its_neutral_value_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (stage, ports) in all_ports(&services(&folder)) {
        for output in &ports.outputs {
            let name = format!("{stage}.{}", output.name);
            if output.ty != PortType::Json {
                assert_eq!(output.shape, JsonShape::Any, "{name}");
                continue;
            }
            if name == "write-vector.vector" {
                // A list or a text, as is asked for: no shape says that.
                continue;
            }
            // What is no shape counts as any.
            assert_ne!(output.shape, JsonShape::Any, "{name}");
            if let Some(publish) = &output.publish {
                let neutral = &publish.neutral;
                let is_left_out = output.optional && neutral.is_null();
                assert!(
                    is_left_out || output.shape.fits(neutral),
                    "{name}: {neutral}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn what_says_what_a_stage_took_has_an_input_of_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut echoes = Vec::new();
    for (stage, ports) in all_ports(&services(&folder)) {
        for output in ports.outputs.iter().filter(|output| output.is_echo) {
            let mut inputs = ports.inputs.iter();
            let input = inputs.find(|input| input.name == output.name);
            assert_eq!(input.map(|input| input.ty), Some(output.ty), "{stage}");
            echoes.push(format!("{stage}.{}", output.name));
        }
    }
    assert_eq!(echoes, ["score.labels"]);
}

#[test]
fn what_a_model_makes_is_of_its_space_and_so_is_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    // For each port of vectors its stage, its name and its space.
    let spaces = |stage: &str, options: Json| -> Vec<(String, Option<String>)> {
        let kind = kind(&services, stage);
        let ports = kind.ports(&options_of(&*kind, &options));
        let inputs = ports.inputs.into_iter();
        let inputs = inputs.map(|port| (port.ty, port.name, port.space));
        let outputs = ports.outputs.into_iter();
        let outputs = outputs.map(|port| (port.ty, port.name, port.space));
        let vectors = inputs.chain(outputs).filter(|(ty, _, space)| {
            // Of a picture the space says which of its frames it is.
            let of_frames = |space: &str| space.starts_with("frames = ");
            let is_of_frames = space.as_deref().is_none_or(of_frames);
            assert!(*ty == PortType::Embedding || is_of_frames, "{stage}");
            *ty == PortType::Embedding
        });
        vectors
            .map(|(_, name, space)| (name.into_owned(), space.map(Into::into)))
            .collect()
    };
    let of = |name: &str, space: &str| (name.to_owned(), Some(space.to_owned()));
    let contrast = |mut options: Json| {
        options["mode"] = json!("contrast");
        options
    };
    for (options, space) in [
        (json!({}), "omnizap-mini"),
        (
            json!({"model": "vit-b-32", "pretrained": "openai"}),
            "ViT-B-32:openai",
        ),
    ] {
        for stage in ["embed", "embed-text", "score"] {
            let found = spaces(stage, options.clone());
            assert_eq!(found, [of("embedding", space)], "{stage}");
        }
        assert_eq!(spaces("recall", options.clone())[0], of("embedding", space));
        let found = spaces("nsfw", contrast(options));
        assert_eq!(found, [of("embedding", space)]);
    }
    // The classifier is one; what it said of pictures that were prepared otherwise is not the same.
    let said = |stage: &str, options: Json| {
        let all = spaces(stage, options).into_iter();
        let said = all.filter(|(name, _)| name.starts_with("nsfw_"));
        said.map(|(_, space)| space.unwrap()).collect::<Vec<_>>()
    };
    let prepared = json!({"prepared": "x"});
    let (recalled, taken) = (said("recall", json!({})), said("nsfw", json!({})));
    assert_eq!((recalled.len(), taken.len()), (1, 2));
    assert!(taken.iter().all(|space| *space == recalled[0]), "{taken:?}");
    let (other, taken) = (said("recall", prepared.clone()), said("nsfw", prepared));
    assert_ne!(other, recalled);
    assert!(taken.iter().all(|space| *space == other[0]), "{taken:?}");
    // These keep and compare what there is, each of its own model.
    for stage in ["similarity", "adaptive", "persist"] {
        let found = spaces(stage, json!({}));
        assert!(!found.is_empty(), "{stage}");
        assert!(found.iter().all(|(_, space)| space.is_none()), "{found:?}");
    }
}

#[test]
fn what_is_embedded_is_of_the_frames_that_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&folder);
    let image = |stage: &str, frames: &str| {
        let kind = kind(&services, stage);
        let ports = kind.ports(&options_of(&*kind, &json!({"frames": frames})));
        let inputs = ports.inputs.into_iter();
        let inputs = inputs.map(|port| (port.name, port.space));
        let outputs = ports.outputs.into_iter();
        let mut all = inputs.chain(outputs.map(|port| (port.name, port.space)));
        let found = all.find(|(name, _)| name == "image");
        found.map(|(_, space)| space.unwrap().into_owned())
    };
    for frames in ["first", "content"] {
        let given = image("decode", frames).unwrap();
        assert_eq!(image("embed", frames).unwrap(), given);
    }
    assert_ne!(image("decode", "first"), image("decode", "content"));
}

#[test]
fn stages_that_change_something_are_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = builtins(&services(&folder));
    let specs = kinds.iter().map(|kind| kind.spec());
    let lasting: Vec<_> = specs.filter(|spec| !spec.is_pure).collect();
    let mut lasting: Vec<&str> = lasting.iter().map(|spec| &*spec.name).collect();
    lasting.sort_unstable();
    assert_eq!(lasting, ["feedback", "forget", "llm-expand", "persist"]);
}

#[test]
fn every_name_of_a_built_in_stage_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = builtins(&services(&folder));
    let mut seen = Map::new();
    for kind in &kinds {
        let spec = kind.spec();
        assert!(
            seen.insert(spec.name.to_string(), Json::Null).is_none(),
            "{}",
            spec.name
        );
        assert!(!spec.doc.is_empty());
    }
    assert_eq!(seen.len(), kinds.len());
}
