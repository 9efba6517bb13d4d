//! `pipelines/recipes`: every recipe is checked, served together with the others, and asked for
//! what its comments promise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::pipeline::run::Finished;
use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{
    Error, ErrorKind, Input, OptionSpec, OptionType, Output, Outputs, PortType, Runner,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::{Answer, Client, Part};
use crate::support::kinds::{TestKind, inline, pipeline, waiting};
use crate::support::program::{Server, omnizap, picture, root, shrunk_model};

/// Fewer would not show what can be written.
const FEWEST: usize = 12;
/// Nothing but a picture.
const NONE: &[(&str, &str)] = &[];
/// What recipes/members.toml asks for.
const KEY: &str = "a key of the members";
/// The shipped folders, each served by itself.
const SHIPPED: [&str; 6] = [
    "pipelines",
    "pipelines/extra",
    "pipelines/compat",
    "pipelines/tags",
    "pipelines/admin",
    "pipelines/recipes",
];

fn recipes() -> PathBuf {
    root().join("pipelines/recipes")
}

/// The names of the files, without their ending.
fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(recipes()).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// A picture of which the built-in model is sure.
fn sample(name: &str) -> Vec<u8> {
    std::fs::read(root().join("models/embedded/samples").join(name)).unwrap()
}

/// A picture and other fields, to a recipe.
fn send(client: &mut Client, recipe: &str, picture: &[u8], fields: &[(&str, &str)]) -> Answer {
    let mut parts = vec![file(picture)];
    parts.extend(fields.iter().map(|(name, value)| Part::Text(name, value)));
    client.post_form(&format!("/{recipe}"), &parts)
}

#[track_caller]
fn ask(client: &mut Client, recipe: &str, picture: &[u8], fields: &[(&str, &str)]) -> Json {
    send(client, recipe, picture, fields).fine()
}

fn keys(object: &Json) -> BTreeSet<&str> {
    let object = object.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

fn vector(answer: &Json) -> Vec<f64> {
    let numbers = answer["embedding"]["vector"].as_array().unwrap();
    numbers.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "of one space");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How often a stage ran and was skipped.
fn ran_and_skipped(client: &mut Client, pipeline: &str, stage: &str) -> (u64, u64) {
    let counted = client.counters(pipeline, stage);
    let count = |what: &str| counted[what].as_u64().unwrap();
    (count("ran"), count("skipped"))
}

#[test]
fn no_shipped_file_has_a_mistake_or_a_warning() {
    for shipped in SHIPPED {
        let data = TempDir::new().unwrap();
        let checked = omnizap(data.path())
            .args(["check", "--strict", "--pipelines", shipped])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned()
            + &String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "{shipped}: {said}");
        assert!(!said.contains("warning"), "{shipped}: {said}");
        let files = std::fs::read_dir(root().join(shipped)).unwrap();
        let files = files.filter(|file| {
            let path = file.as_ref().unwrap().path();
            path.extension().is_some_and(|ending| ending == "toml")
        });
        assert_eq!(said.matches(": fine: ").count(), files.count(), "{said}");
    }
}

#[test]
fn every_recipe_gives_what_its_comments_promise() {
    let names = names();
    assert!(names.len() >= FEWEST, "{names:?}");
    let asked: BTreeSet<String> = ASKED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(asked, names, "every recipe is asked");
    for name in &names {
        let text = std::fs::read_to_string(recipes().join(format!("{name}.toml"))).unwrap();
        assert!(text.starts_with("# "), "{name} does not say what it does");
    }
    let server = Server::of(&recipes(), &[("MEMBERS_KEY", KEY)]);
    for (_, ask) in ASKED {
        ask(&server);
    }
    let shown = server.client().get("/pipelines");
    assert!(!String::from_utf8_lossy(&shown.body).contains(KEY));
}

/// Asks a server for what a recipe promises.
type Promise = fn(&Server);

/// Each recipe, and what it promises.
const ASKED: [(&str, Promise); 20] = [
    ("cascade", cascade),
    ("describe", describe),
    ("embed-image", embed_image),
    ("embed-text", embed_text),
    ("fast", fast),
    ("gate", gate),
    ("hash", hash),
    ("limits", limits),
    ("members", members),
    ("moderation", moderation),
    ("own-labels", own_labels),
    ("patience", patience),
    ("per-theme", per_theme),
    ("search", search),
    ("similar", similar),
    ("two-models", two_models),
    ("two-pictures", two_pictures),
    ("two-ranks", two_ranks),
    ("vote-by-link", vote_by_link),
    ("votes", votes),
];

fn cascade(server: &Server) {
    let client = &mut server.client();
    let cat = ask(client, "cascade", &sample("cat-sticker.webp"), NONE);
    assert_eq!(cat["category"], "sticker", "{cat}");
    assert_eq!(cat["motifs"], json!(["cat"]), "{cat}");
    let chart = ask(client, "cascade", &sample("bar-chart.png"), NONE);
    assert_eq!(chart["category"], "bar chart", "{chart}");
    assert_eq!(chart["motifs"], json!([]), "{chart}");
    // The scores of the kinds are not taken for those of the motifs.
    assert_eq!(ran_and_skipped(client, "cascade", "tags"), (1, 1));
}

fn describe(server: &Server) {
    let client = &mut server.client();
    let answer = ask(client, "describe", &sample("cat-sticker.webp"), NONE);
    assert_eq!(answer["category"], "cat", "{answer}");
    assert_eq!(answer["llm_expansion_gate_reason"], "no_api_key");
    assert_eq!(answer["llm_expansion_used"], false);
    assert_eq!(answer["llm_expansion"]["subtags"], json!([]));
}

fn embed_image(server: &Server) {
    let client = &mut server.client();
    let answer = ask(client, "embed-image", &sample("cat-sticker.webp"), NONE);
    let cat = vector(&answer);
    assert!((dot(&cat, &cat) - 1.0).abs() < 1e-4);
    let again = ask(client, "embed-image", &sample("cat-sticker.webp"), NONE);
    assert!((dot(&cat, &vector(&again)) - 1.0).abs() < 1e-4);
    let dog = ask(client, "embed-image", &sample("dog-sticker.webp"), NONE);
    assert!(dot(&cat, &vector(&dog)) < 0.9);
}

fn embed_text(server: &Server) {
    let client = &mut server.client();
    let picture = ask(client, "embed-image", &sample("cat-sticker.webp"), NONE);
    let mut embed = |text: &str| {
        let answer = client.post_json("/embed-text", &json!({ "text": text }));
        let answer = answer.fine();
        assert_eq!(answer["embedding"]["model"], picture["embedding"]["model"]);
        dot(&vector(&picture), &vector(&answer))
    };
    assert!(embed("a cat") > embed("a dog") + 0.05);
    // More than the model reads.
    embed(&"a cat ".repeat(150));
    let without = client.post_json("/embed-text", &json!({}));
    without.refused(422, "missing_field");
}

fn fast(server: &Server) {
    let client = &mut server.client();
    let answer = ask(client, "fast", &sample("cat-sticker.webp"), NONE);
    assert_eq!(answer["category"], "cat", "{answer}");
    let main = std::fs::read_to_string(root().join("pipelines/classify.toml")).unwrap();
    let main: toml::Table = main.parse().unwrap();
    let order = main["response"]["order"].as_array().unwrap();
    let fields = order.iter().map(|field| field.as_str().unwrap());
    for field in fields.filter(|field| *field != "...") {
        assert!(answer.get(field).is_some(), "{field}: {answer}");
    }
    assert_eq!(answer["similar_images"], json!([]));
    let settings = client.get("/fast/labels").json();
    assert_eq!(settings["features"]["clustering"], false, "{settings}");
}

fn gate(server: &Server) {
    let client = &mut server.client();
    let before = ran_and_skipped(client, "gate", "embed");
    let labels = [("labels", "a cat,a dog")];
    let answer = ask(client, "gate", &sample("cat-sticker.webp"), &labels);
    assert_eq!(answer["category"], "a cat", "{answer}");
    assert_eq!(answer["is_nsfw"], false, "{answer}");
    assert!(answer["nsfw_classes"].is_object(), "{answer}");
    let (ran, skipped) = ran_and_skipped(client, "gate", "embed");
    assert_eq!((ran, skipped), (before.0 + 1, before.1));
    // Who asks for another threshold is told that there is none to be set.
    let asked = send(
        client,
        "gate",
        &sample("cat-sticker.webp"),
        &[("nsfw_threshold", "1")],
    );
    assert_eq!(asked.header("x-unknown-fields"), Some("nsfw_threshold"));
}

fn hash(server: &Server) {
    let client = &mut server.client();
    let data = b"no picture at all";
    let own = Sha256Hex::of(data);
    let answer = ask(client, "hash", data, NONE);
    assert_eq!(answer["content_hash"], own.as_str());
    assert_eq!(answer["image_hash"], own.as_str());
    assert_eq!(answer["filename"], "a picture.webp");
    assert_eq!(answer["content_type"], "image/webp");
    let other = "0".repeat(64);
    let named = ask(client, "hash", data, &[("asset_sha256", other.as_str())]);
    assert_eq!(named["content_hash"], own.as_str());
    assert_eq!(named["image_hash"], *other);
}

fn limits(server: &Server) {
    let client = &mut server.client();
    let data = sample("cat-sticker.webp");
    let answer = ask(client, "limits", &data, NONE);
    assert_eq!(answer["labels"], json!(["cat", "dog"]));
    assert_eq!(answer["tags"], json!([]), "without a theme: {answer}");
    let fields = [("labels", "cat"), ("labels", "pizza"), ("theme", "food")];
    let answer = ask(client, "limits", &data, &fields);
    assert_eq!(answer["labels"], json!(["cat", "pizza"]));
    assert_eq!(answer["tags"], json!(["cat"]), "{answer}");
    for (fields, code) in [
        (&[("lables", "cat")][..], "unknown_field"),
        (&[("labels", "1,2,3,4,5,6,7,8,9,10,11")], "invalid_field"),
        (
            &[("labels", "a label that has more than forty characters")],
            "invalid_field",
        ),
        (
            &[("theme", "a theme of more than twenty characters")],
            "invalid_field",
        ),
        (&[("labels", "a"); 12], "too_many_parts"),
    ] {
        send(client, "limits", &data, fields).refused(422, code);
    }
    let large = vec![0_u8; 2_000_001];
    let answer = send(client, "limits", &large, NONE);
    answer.refused(413, "field_too_large");
    let larger = vec![0_u8; 2_100_001];
    let answer = send(client, "limits", &larger, NONE);
    answer.refused(413, "body_too_large");
    let text = Part::File {
        name: "file",
        filename: "a.txt",
        content_type: "text/plain",
        data: &data,
    };
    let answer = client.post_form("/limits", &[text]);
    answer.refused(415, "unsupported_file_type");
}

fn members(server: &Server) {
    let client = &mut server.client();
    let data = sample("cat-sticker.webp");
    for fields in [NONE, &[("key", "a key of others")], &[("key", "")]] {
        let answer = ask(client, "members", &data, fields);
        assert_eq!(answer["category"], "cat");
        assert_eq!(answer["tags"], json!([]), "{fields:?}");
    }
    let answer = ask(client, "members", &data, &[("key", KEY)]);
    assert_eq!(answer["tags"][0], "cat", "{answer}");
}

fn moderation(server: &Server) {
    let client = &mut server.client();
    let data = sample("cat-sticker.webp");
    let answer = ask(client, "moderation", &data, NONE);
    let fields = ["filename", "is_nsfw", "nsfw_classes", "nsfw_score"];
    assert_eq!(keys(&answer), BTreeSet::from(fields));
    assert_eq!(answer["is_nsfw"], false);
    let strict = ask(client, "moderation", &data, &[("nsfw_threshold", "0")]);
    assert_eq!(strict["is_nsfw"], true);
    assert_eq!(strict["nsfw_score"], answer["nsfw_score"]);
}

fn own_labels(server: &Server) {
    let client = &mut server.client();
    let own = json!(["cat", "dog", "pizza", "bar chart", "QR code", "chat"]);
    let fields = [("labels", "something else,another")];
    let answer = send(client, "own-labels", &sample("qr-code.png"), &fields);
    assert_eq!(answer.header("x-unknown-fields"), Some("labels"));
    let answer = answer.fine();
    assert_eq!(answer["category"], "QR code", "{answer}");
    assert_eq!(answer["labels"], own);
    assert_eq!(answer["top_labels"].as_array().unwrap().len(), 3);
    let settings = client.get("/own-labels").json();
    assert_eq!(settings["default_labels"], own);
}

fn patience(server: &Server) {
    let client = &mut server.client();
    let answer = ask(client, "patience", &sample("cat-sticker.webp"), NONE);
    assert_eq!(answer["category"], "cat", "{answer}");
    assert!(answer["nsfw_score"].is_number(), "{answer}");
}

fn per_theme(server: &Server) {
    let client = &mut server.client();
    let data = sample("cat-sticker.webp");
    let kinds = ["sticker", "photo", "bar chart", "chat"];
    for (fields, category, labels) in [
        (NONE, "sticker", kinds),
        (&[("theme", "food")], "sticker", kinds),
        (
            &[("theme", "animals")],
            "cat",
            ["cat", "dog", "bird", "fish"],
        ),
    ] {
        let answer = ask(client, "per-theme", &data, fields);
        assert_eq!(answer["category"], category, "{fields:?}: {answer}");
        let scores = keys(&answer["all_scores"]);
        assert_eq!(scores, BTreeSet::from(labels), "{fields:?}: {answer}");
    }
}

/// Has pictures remembered, and the search ready.
fn remember(client: &mut Client, names: &[&str]) {
    for &name in names {
        ask(client, "similar", &sample(name), &[("asset_id", name)]);
    }
}

fn search(server: &Server) {
    let client = &mut server.client();
    let names = ["dog-sticker.webp", "pizza-sticker.webp", "bar-chart.png"];
    remember(client, &names);
    for (text, name) in ["dog", "pizza", "bar+chart"].into_iter().zip(names) {
        let found = client.get(&format!("/search?text={text}&similar_limit=1"));
        let found = found.fine();
        let images = found["similar_images"].as_array().unwrap();
        assert_eq!(images.len(), 1, "{text}: {found}");
        assert_eq!(images[0]["asset_id"], name, "{text}: {found}");
    }
    let dog = Sha256Hex::of(&sample("dog-sticker.webp"));
    let without = client.get(&format!("/search?text=dog&except={}", dog.as_str()));
    let without = without.fine()["similar_images"].to_string();
    assert!(!without.contains("dog-sticker"), "{without}");
    client.get("/search").refused(422, "missing_field");
}

fn similar(server: &Server) {
    let client = &mut server.client();
    // One picture, saved twice.
    let first = picture("baseline_444.jpg");
    let named = [("asset_id", "the first")];
    let answer = ask(client, "similar", &first, &named);
    assert_eq!(answer["image_hash"], Sha256Hex::of(&first).as_str());
    let second = picture("baseline_420.jpg");
    let answer = ask(client, "similar", &second, NONE);
    let best = &answer["similar_images"][0];
    assert_eq!(best["asset_id"], "the first", "{answer}");
    assert!(best["similarity"].as_f64() >= Some(0.8), "{answer}");
    let none = ask(client, "similar", &second, &[("similar_threshold", "1")]);
    assert_eq!(none["similar_images"], json!([]), "{none}");
}

fn two_models(server: &Server) {
    let client = &mut server.client();
    let labels = [("labels", "cat,dog")];
    let answer = ask(client, "two-models", &sample("cat-sticker.webp"), &labels);
    assert_eq!(answer["model"], "omnizap-mini");
    for field in ["category", "confidence", "all_scores", "model", "labels"] {
        assert_eq!(answer[field], answer[format!("{field}_2")], "{field}");
        assert!(!answer[field].is_null(), "{field}");
    }
}

fn part<'a>(name: &'a str, filename: &'a str, data: &'a [u8]) -> Part<'a> {
    Part::File {
        name,
        filename,
        content_type: "application/octet-stream",
        data,
    }
}

fn two_pictures(server: &Server) {
    let client = &mut server.client();
    let (left, right) = (sample("cat-sticker.webp"), sample("bar-chart.png"));
    let parts = [
        part("left", "cat.webp", &left),
        part("right", "chart.png", &right),
    ];
    let answer = client.post_form("/two-pictures", &parts).fine();
    assert_eq!(answer["left_tags"], json!(["cat"]), "{answer}");
    assert_eq!(answer["left_name"], "cat.webp");
    assert_eq!(answer["right_tags"], json!(["bar chart"]), "{answer}");
    assert_eq!(answer["right_name"], "chart.png");
    let labels = ["cat", "dog", "pizza", "bar chart", "QR code"];
    assert_eq!(answer["labels"], json!(labels));
    let own = [
        part("left", "a", &right),
        part("right", "b", &left),
        Part::Text("labels", "bar chart,cat"),
    ];
    let answer = client.post_form("/two-pictures", &own).fine();
    assert_eq!(answer["left_tags"], json!(["bar chart"]), "{answer}");
    assert_eq!(answer["right_tags"], json!(["cat"]), "{answer}");
    for (left, right, stage) in [
        (&left[..], &b"no picture"[..], "decode-right"),
        (b"no picture", &right, "decode-left"),
    ] {
        let parts = [part("left", "a", left), part("right", "b", right)];
        let answer = client.post_form("/two-pictures", &parts);
        answer.refused(422, "not_an_image");
        assert_eq!(answer.json()["stage"], stage);
        // It names the field that was sent, and not the input of the stage.
        let field = stage.strip_prefix("decode-").unwrap();
        let detail = format!("{field} is no picture; ");
        let told = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with(&detail), "{told}");
    }
}

fn two_ranks(server: &Server) {
    let client = &mut server.client();
    for (name, kind, animal) in [
        ("cat-sticker.webp", "sticker", Some("cat")),
        ("dog-sticker.webp", "sticker", Some("dog")),
        ("bar-chart.png", "bar chart", None),
    ] {
        let answer = ask(client, "two-ranks", &sample(name), NONE);
        assert_eq!(answer["kind"], kind, "{answer}");
        assert!(answer["kind_confidence"].as_f64() > Some(0.5), "{answer}");
        let kinds = BTreeSet::from(["sticker", "photo", "bar chart", "chat"]);
        assert_eq!(keys(&answer["kinds"]), kinds);
        let animals = BTreeSet::from(["cat", "dog", "bird", "fish"]);
        assert_eq!(keys(&answer["animals"]), animals);
        // Of a chart it is one of them too, and means nothing.
        let found = answer["animal"].as_str().unwrap();
        assert_eq!(found, animal.unwrap_or(found), "{answer}");
    }
}

/// Digits that name an image.
fn image_hash() -> String {
    "5".repeat(64)
}

fn vote_by_link(server: &Server) {
    let client = &mut server.client();
    let hash = image_hash();
    for up in ["", "&up=no", "&up=true"] {
        let vote = client.get(&format!("/vote?hash={hash}&theme=animals{up}"));
        assert_eq!(vote.fine(), json!({ "ok": true }), "{up}");
    }
    let without = client.get("/vote?theme=animals");
    without.refused(422, "missing_field");
    let odd = client.get(&format!("/vote?hash={hash}&theme=animals&up=maybe"));
    odd.refused(422, "invalid_field");
}

fn votes(server: &Server) {
    let client = &mut server.client();
    let hash = image_hash();
    let parts = [
        Part::Text("image_hash", &hash),
        Part::Text("theme", "animals"),
        Part::Text("accepted", "false"),
    ];
    let vote = client.post_form("/v2/votes", &parts);
    assert_eq!(vote.fine(), json!({ "counted": true }));
    let without = client.post_form("/v2/votes", &parts[..1]);
    without.refused(422, "missing_field");
}

#[test]
fn votes_of_both_recipes_are_counted_as_they_were_meant() {
    let server = Server::of(&recipes(), &[]);
    // Two up and one down by link, one down by form.
    vote_by_link(&server);
    votes(&server);
    let counted = "SELECT acceptance_count, total_assignments FROM clip_image_theme_feedback";
    assert_eq!(server.data().numbers(counted), [2, 4]);
}

#[test]
fn nobody_is_a_member_while_there_is_no_key() {
    let server = Server::of(&recipes(), &[]);
    let mut client = server.client();
    let data = sample("cat-sticker.webp");
    for fields in [NONE, &[("key", "")], &[("key", " ")], &[("key", KEY)]] {
        let answer = ask(&mut client, "members", &data, fields);
        assert_eq!(answer["tags"], json!([]), "{fields:?}");
    }
}

#[test]
fn two_models_answer_in_one_response_each_as_it_would_alone() {
    let folder = TempDir::new().unwrap();
    let [causal, causal_weights] = shrunk_model(folder.path(), "vit-hybrid-causal");
    let [openclip, openclip_weights] = shrunk_model(folder.path(), "vit-openclip");
    let second = [
        ("SECOND_MODEL", &*causal),
        ("SECOND_PRETRAINED", &*causal_weights),
    ];
    let both = [
        ("FIRST_MODEL", &*causal),
        ("FIRST_PRETRAINED", &*causal_weights),
        ("SECOND_MODEL", &*openclip),
        ("SECOND_PRETRAINED", &*openclip_weights),
    ];
    let labels = [("labels", "cat,dog,bar chart")];
    let data = sample("cat-sticker.webp");
    let answers = [&second[..], &both].map(|environment| {
        let server = Server::of(&recipes(), environment);
        let answer = ask(&mut server.client(), "two-models", &data, &labels);
        for ending in ["", "_2"] {
            let of = |field: &str| answer[format!("{field}{ending}")].clone();
            let (category, scores) = (of("category"), of("all_scores"));
            let category = category.as_str().unwrap();
            assert_eq!(scores[category], of("confidence"), "{answer}");
            assert_eq!(of("top_labels")[0]["label"], category, "{answer}");
            let labels = json!(["cat", "dog", "bar chart"]);
            assert_eq!(of("labels"), labels, "{answer}");
        }
        answer
    });
    let models = answers
        .each_ref()
        .map(|answer| (answer["model"].clone(), answer["model_2"].clone()));
    assert_eq!(
        models,
        [
            (json!("omnizap-mini"), json!("vit-hybrid-causal")),
            (json!("vit-hybrid-causal"), json!("vit-openclip")),
        ]
    );
    assert_eq!(answers[0]["category"], "cat", "{}", answers[0]);
    // The second of the one is the first of the other, so what it says is its own.
    let [asked_second, asked_first] = &answers;
    assert_eq!(asked_second["category_2"], asked_first["category"]);
    for label in ["cat", "dog", "bar chart"] {
        let logit = |answer: &Json, field: &str| answer[field][label].as_f64().unwrap();
        let second = logit(asked_second, "raw_logits_2");
        let first = logit(asked_first, "raw_logits");
        assert!((second - first).abs() < 1e-3, "{label}: {second}, {first}");
        let other = logit(asked_first, "raw_logits_2");
        assert!((other - first).abs() > 1e-3, "{label}: {other}, {first}");
    }
}

/// What a file may make of the check in the gate's recipe, what is sent, and whether a harmless
/// picture gets through.
const GATES: [(&str, &str, bool); 9] = [
    ("as-it-is", "", true),
    ("off", r#"{ name = "nsfw", enabled = false }"#, false),
    (
        "toggled-off",
        r#"{ name = "nsfw", enabled = "${NO_SUCH_VARIABLE:-no}" }"#,
        false,
    ),
    ("skipped", r#"{ name = "nsfw", if = "checked" }"#, false),
    // Long enough to begin, and too short to end.
    ("late", r#"{ name = "nsfw", timeout_ms = 1 }"#, false),
    (
        "late-and-open",
        r#"{ name = "nsfw", timeout_ms = 1, with = { on_failure = "open" } }"#,
        false,
    ),
    // The threshold that is sent is none.
    (
        "failing",
        r#"{ name = "nsfw", on_error = "skip all" }"#,
        false,
    ),
    (
        "failing-and-open",
        r#"{ name = "nsfw", on_error = "skip all", with = { on_failure = "open" } }"#,
        false,
    ),
    (
        "all-is-unsafe",
        r#"{ name = "nsfw", with = { threshold = 0.0 } }"#,
        false,
    ),
];

#[test]
fn the_gate_is_shut_whatever_keeps_the_check_from_its_end() {
    let folder = TempDir::new().unwrap();
    let gate = recipes().join("gate.toml");
    for (name, stage, _) in GATES {
        let text = format!(
            "extends = {:?}\nstage = [{stage}]\n[pipeline]\nname = {name:?}\n\
             route = \"POST /{name}\"\n[request]\n\
             checked = {{ type = \"bool\", default = false }}\n\
             nsfw_threshold = {{ type = \"number\" }}\n",
            gate.to_str().unwrap()
        );
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let server = Server::of(folder.path(), &[]);
    let mut client = server.client();
    let data = sample("cat-sticker.webp");
    for (name, _, passes) in GATES {
        let fails = name.starts_with("failing");
        let threshold = [("nsfw_threshold", "2")];
        let fields = if fails { &threshold[..] } else { NONE };
        let answer = ask(&mut client, name, &data, fields);
        assert_eq!(answer["category"].is_string(), passes, "{name}: {answer}");
        assert_eq!(answer["model"].is_string(), passes, "{name}: {answer}");
        let expected = if passes { (1, 0) } else { (0, 1) };
        for stage in ["embed", "score", "rank"] {
            let counted = ran_and_skipped(&mut client, name, stage);
            assert_eq!(counted, expected, "{name}: {stage}");
        }
        let checked = passes || name == "all-is-unsafe";
        assert_eq!(answer["nsfw_classes"].is_object(), checked, "{name}");
    }
    // A field that is at fault is the client's mistake where the recipe is left as it is.
    let sent = [("nsfw_threshold", "2")];
    let answer = send(&mut client, "as-it-is", &data, &sent);
    answer.refused(422, "invalid_nsfw_threshold");
    assert_eq!(ran_and_skipped(&mut client, "as-it-is", "embed"), (1, 0));
}

/// A stage of the gate's recipe that gives one text.
fn stand_in(name: &'static str, takes: Option<&'static str>, port: &'static str) -> TestKind {
    let inputs = takes.map(|takes| Input::required(takes, PortType::Text, "what it needs"));
    let output = Output::new(port, PortType::Text, "a text").published(Json::Null);
    let runner = inline(move |_, _| Ok(Outputs::new().put(port, "a text")));
    TestKind::new(name, inputs.into_iter().collect(), vec![output], runner)
}

/// Runs the gate's own file with a check that does as told; gives how often what it guards ran.
async fn runs_behind(check: Runner, replaced: Option<(&str, &str)>) -> (usize, Finished) {
    let whole = std::fs::read_to_string(recipes().join("gate.toml")).unwrap();
    // Its own tests are of the stages that it names.
    let (toml, _) = whole.split_once("[[test]]").unwrap();
    let mut toml = toml.to_owned();
    if let Some((text, other)) = replaced {
        assert!(toml.contains(text), "{text} is not in the recipe");
        toml = toml.replace(text, other);
    }
    let is_nsfw = Output::new("is_nsfw", PortType::Bool, "what it found");
    // The worst: a check that lets pass where it fails.
    let is_nsfw = is_nsfw.when_failed(false).published(json!(false));
    let needs = Input::required("image", PortType::Text, "the picture");
    let number = OptionType::Number { min: 0.0, max: 1.0 };
    let nsfw = TestKind::new("nsfw", vec![needs.clone()], vec![is_nsfw], check);
    let nsfw = nsfw.with_options(vec![
        OptionSpec::new("threshold", number, 0.5, "not looked at"),
        OptionSpec::new("on_failure", OptionType::Text, "", "not looked at"),
    ]);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let embed = TestKind::new(
        "embed",
        vec![needs],
        vec![Output::new("embedding", PortType::Text, "a text")],
        inline(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Outputs::new().put("embedding", "a text"))
        }),
    );
    let kept = OptionSpec::new("keep_default_labels", OptionType::Bool, true, "unused");
    let kinds = vec![
        stand_in("decode", None, "image"),
        nsfw,
        embed,
        stand_in("score", Some("embedding"), "scores").with_options(vec![kept]),
        stand_in("rank", Some("scores"), "category"),
    ];
    let pipeline = pipeline(kinds, &toml).await;
    let values = pipeline.request_values(|_| None);
    let deadline = Instant::now() + Duration::from_secs(20);
    let finished = pipeline.run(values, "test".into(), deadline).await;
    (runs.load(Ordering::Relaxed), finished)
}

fn finds(is_nsfw: bool) -> Runner {
    inline(move |_, _| Ok(Outputs::new().put("is_nsfw", is_nsfw)))
}

fn fails(kind: ErrorKind) -> Runner {
    inline(move |_, _| Err(Error::new(kind, "no good")))
}

#[tokio::test(flavor = "multi_thread")]
async fn however_the_check_fails_nothing_behind_the_gate_runs() {
    let (runs, finished) = runs_behind(finds(false), None).await;
    assert_eq!(
        (runs, &finished.result.unwrap()["category"]),
        (1, &json!("a text"))
    );

    let late = ("timeout_ms = 10_000", "timeout_ms = 20");
    let never = waiting(|_, _| std::future::pending::<Result<Outputs, Error>>());
    let off = ("uses = \"nsfw\"", "uses = \"nsfw\"\nenabled = false");
    let skipped = ("uses = \"nsfw\"", "uses = \"nsfw\"\nif = 'has(labels)'");
    for (what, check, replaced) in [
        ("unsafe", finds(true), None),
        ("off", finds(false), Some(off)),
        ("skipped", finds(false), Some(skipped)),
        ("unavailable", fails(ErrorKind::Unavailable), None),
        ("broken", fails(ErrorKind::Internal), None),
        ("panics", inline(|_, _| panic!("a check that panics")), None),
        ("says nothing", inline(|_, _| Ok(Outputs::new())), None),
        (
            "says something else",
            inline(|_, _| Ok(Outputs::new().put("is_nsfw", "no"))),
            None,
        ),
        ("late", never, Some(late)),
    ] {
        let (runs, finished) = runs_behind(check, replaced).await;
        assert_eq!(runs, 0, "{what}");
        let answer = finished.result.unwrap();
        assert_eq!(answer["category"], Json::Null, "{what}");
    }

    // What is wrong with the request itself fails it.
    let (runs, finished) = runs_behind(fails(ErrorKind::Invalid), None).await;
    assert_eq!(runs, 0);
    let failure = finished.result.unwrap_err();
    assert_eq!(failure.stage.as_deref(), Some("nsfw"));
}
