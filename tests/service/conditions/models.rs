//! Stages of different models: `check` finds those that are wired together, and where a pipeline
//! has two models each stage takes what its own made.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::folder;
use crate::service::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, omnizap, picture, shrunk_model};

/// Where the stages begin that [`folder`] writes.
const FIRST_LINE: usize = 7;

/// What `check` says of that folder.
fn check(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = omnizap(folder)
        .arg("check")
        .args(arguments)
        .arg("--pipelines")
        .arg(folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// For each input of a file's stage what may feed it.
fn sources(file: &Path, stage: &str) -> Json {
    let output = omnizap(file.parent().unwrap())
        .args(["graph", "--format", "json"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let graphs: Json = serde_json::from_slice(&output.stdout).unwrap();
    let mut stages = graphs[0]["stages"].as_array().unwrap().iter();
    let found = stages.find(|one| one["name"] == stage).unwrap();
    found["inputs"].clone()
}

const DECODED: &str = "[[stage]]\nuses = \"hash\"\n[[stage]]\nuses = \"decode\"\n";
const EMBEDDED: &str = "[[stage]]\nuses = \"hash\"\n[[stage]]\nuses = \"decode\"\n\
                        [[stage]]\nuses = \"embed\"\n";

#[test]
fn what_is_of_another_model_is_found_before_any_request() {
    const B_32: &str = "ViT-B-32:datacomp_xl_s13b_b90k";
    let mini = "omnizap-mini";
    let score = "[[stage]]\nuses = \"score\"\nwith = { model = \"ViT-B-32\" }\n";
    let recall = "[[stage]]\nuses = \"recall\"\nwith = { model = \"ViT-B-32\" }\n";
    let prepared = "[[stage]]\nuses = \"recall\"\nwith = { prepared = \"x\" }\n";
    for (stages, at, place, own, other) in [
        (
            format!("{EMBEDDED}{score}inputs = {{ embedding = \"embed.embedding\" }}"),
            ("embedding", "score", "embed.embedding"),
            (FIRST_LINE + 9, 24),
            B_32,
            mini,
        ),
        (
            format!("{EMBEDDED}{score}"),
            ("embedding", "score", "embed.embedding"),
            (FIRST_LINE + 7, 8),
            B_32,
            mini,
        ),
        (
            format!(
                "{EMBEDDED}{recall}[[stage]]\nuses = \"score\"\n\
                 inputs = {{ embedding = [\"embed.embedding\", \"recall.embedding\"] }}"
            ),
            ("embedding", "score", "recall.embedding"),
            (FIRST_LINE + 11, 44),
            mini,
            B_32,
        ),
        (
            format!(
                "{EMBEDDED}[[stage]]\nuses = \"nsfw\"\n\
                 with = {{ mode = \"contrast\", model = \"vit-b-32\", pretrained = \"openai\" }}"
            ),
            ("embedding", "nsfw", "embed.embedding"),
            (FIRST_LINE + 7, 8),
            "ViT-B-32:openai",
            mini,
        ),
        (
            format!(
                "[[stage]]\nuses = \"embed-text\"\ninputs = {{ text = \"request.text\" }}\n{score}"
            ),
            ("embedding", "score", "embed-text.embedding"),
            (FIRST_LINE + 4, 8),
            B_32,
            mini,
        ),
        (
            format!(
                "{DECODED}{prepared}[[stage]]\nuses = \"nsfw\"\n\
                 inputs = {{ nsfw_recalled = \"recall.nsfw_recalled\" }}"
            ),
            ("nsfw_recalled", "nsfw", "recall.nsfw_recalled"),
            (FIRST_LINE + 9, 28),
            "nsfwjs-mobilenet-v2-mid",
            "nsfwjs-mobilenet-v2-mid+x",
        ),
    ] {
        let folder = folder(&[("asked", "text = { type = \"text\" }", &stages)]);
        let (input, stage, source) = at;
        let (line, column) = place;
        let wanted = format!(
            "asked.toml:{line}:{column}: input `{input}` of `{stage}` is of the model `{own}` and \
             `{source}` of `{other}`: give both stages the same model"
        );
        for arguments in [&["--fast"][..], &[]] {
            let (code, said) = check(folder.path(), arguments, &[]);
            assert_eq!(code, Some(78), "{stages}\n{said}");
            assert!(said.contains(&wanted), "{wanted}\n{said}");
        }
    }
}

#[test]
fn one_model_is_one_however_it_is_named() {
    let clip = [("CLIP_MODEL_NAME", "ViT-B-32")];
    for (embed, score, environment) in [
        ("", "", &clip[..]),
        ("", "", &[]),
        ("", "model = \"OmniZap-Mini\"", &[]),
        (
            "model = \"vit-b-32\"",
            "model = \"ViT-B-32\", pretrained = \"DataComp-XL-S13B-B90K\"",
            &[],
        ),
        ("", "model = \"ViT-B-32\"", &clip),
        (
            "model = \"ViT-B-32\", pretrained = \"own.pt\"",
            "model = \"ViT-B-32\", pretrained = \"./own.pt\"",
            &[],
        ),
        // Nobody knows what these are, and a look at the models tells so.
        ("model = \"ViT-B-23\"", "model = \"ViT-B-24\"", &[]),
    ] {
        let stages = format!(
            "{EMBEDDED}with = {{ {embed} }}\n[[stage]]\nuses = \"score\"\nwith = {{ {score} }}\n\
             inputs = {{ embedding = \"embed.embedding\" }}"
        );
        let folder = folder(&[("asked", "", &stages)]);
        let (code, said) = check(folder.path(), &["--fast"], environment);
        assert_eq!(code, Some(0), "{embed} {score}\n{said}");
    }
    // The name in the environment is one as well.
    let stages =
        format!("{EMBEDDED}[[stage]]\nuses = \"score\"\nwith = {{ model = \"ViT-B-16\" }}");
    let folder = folder(&[("asked", "", &stages)]);
    let (code, said) = check(folder.path(), &["--fast"], &clip);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("`embed.embedding` of `ViT-B-32:"), "{said}");
}

#[test]
fn two_models_side_by_side_each_take_their_own_by_themselves() {
    let own = TempDir::new().unwrap();
    let [a, b] = ["vit-hybrid-causal", "vit-openclip"].map(|name| {
        let [name, weights] = shrunk_model(own.path(), name);
        format!("with = {{ model = {name:?}, pretrained = {weights:?} }}\n")
    });
    let stage = |name: &str, uses: &str, more: &str| {
        format!("[[stage]]\nname = {name:?}\nuses = {uses:?}\n{more}")
    };
    let hidden = "publish = { labels = \"labels_b\", no_match = \"no_match_b\" }\n";
    let other = "publish = { category = \"category_b\", raw_logits = \"raw_logits_b\" }\n";
    let stages = [
        "[defaults.with]\nkeep_default_labels = false\n".to_owned(),
        DECODED.to_owned(),
        stage("embed-a", "embed", &a),
        stage("embed-b", "embed", &b),
        stage("score-b", "score", &format!("{b}{hidden}")),
        stage("rank-b", "rank", other),
        stage("score-a", "score", &a),
        stage("rank-a", "rank", ""),
    ]
    .concat();
    let folder = folder(&[("two", "labels = { type = \"text_list\" }", &stages)]);
    let (code, said) = check(folder.path(), &[], &[]);
    assert_eq!(code, Some(0), "{said}");
    let path = folder.path().join("two.toml");
    for (taker, giver) in [
        ("score-a", "embed-a.embedding"),
        ("score-b", "embed-b.embedding"),
    ] {
        let sources = sources(&path, taker);
        assert_eq!(sources["embedding"]["from"], json!([giver]), "{taker}");
    }
    let server = Server::of(folder.path(), &[]);
    let data = picture("lossy.webp");
    let parts = [file(&data), Part::Text("labels", "cat,dog")];
    let answer = server.client().post_form("/two", &parts).fine();
    for field in ["category", "category_b"] {
        assert!(answer[field].is_string(), "{field}: {answer}");
    }
    let logits = |field: &str| answer[field]["cat"].as_f64().unwrap();
    let (first, second) = (logits("raw_logits"), logits("raw_logits_b"));
    assert!((first - second).abs() > 1e-3, "{first}, {second}");
}

#[test]
fn what_another_model_made_before_does_not_stand_in() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("classify.toml");
    let with = "with = { model = \"ViT-B-32\" }";
    let both = ["embed.embedding", "recall.embedding"];
    for (recall, from, is_warned) in [("", &both[..1], true), (with, &both[..], false)] {
        let recall = match recall {
            "" => String::new(),
            with => format!("{{ name = \"recall\", {with} }}, "),
        };
        let text = format!(
            "extends = \"builtin:classify\"\nstage = [{recall}{{ name = \"embed\", {with} }}, \
             {{ name = \"score\", {with} }}]\n"
        );
        fs::write(&path, text).unwrap();
        let (code, said) = check(folder.path(), &["--fast"], &[]);
        assert_eq!(code, Some(0), "{said}");
        let wanted = "the `if` of `embed` asks `recall`, whose `embedding` is of the model \
                      `omnizap-mini` and not, as `score` takes it, of `ViT-B-32:";
        assert_eq!(said.contains(wanted), is_warned, "{said}");
        assert_eq!(sources(&path, "score")["embedding"]["from"], json!(from));
        // Whoever looks for what is alike asks no model, and takes what there is.
        let similar = &sources(&path, "similarity")["embedding"]["from"];
        assert_eq!(*similar, json!(both));
    }
}
