//! Conditions and bindings over the real stages, through `check` and through requests.

mod models;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, omnizap, picture};

/// A folder of pipelines: of each its name, which is its route too, its fields and its stages.
fn folder(pipelines: &[(&str, &str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, request, stages) in pipelines {
        let toml = format!(
            "[pipeline]\nname = \"{name}\"\nroute = \"POST /{name}\"\n[request]\nfile = {{ type = \"bytes\", required = true }}\n{request}\n{stages}\n"
        );
        fs::write(folder.path().join(format!("{name}.toml")), toml).unwrap();
    }
    folder
}

/// What `check` says of one stage `hash` with that condition, behind those fields and stages.
fn checked(request: &str, stages: &str, condition: &str) -> (Option<i32>, String) {
    let stages = format!("{stages}\n[[stage]]\nuses = \"hash\"\nif = '''{condition}'''");
    let folder = folder(&[("asked", request, &stages)]);
    check(folder.path(), &[])
}

fn check(folder: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = omnizap(folder)
        .args(["check", "--pipelines"])
        .arg(folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Whether the stage `hash` ran for a request with these fields.
#[track_caller]
fn runs(client: &mut Client, pipeline: &str, fields: &[(&str, &str)]) -> bool {
    let data = picture("lossy.webp");
    let mut parts = vec![file(&data)];
    parts.extend(fields.iter().map(|(name, value)| Part::Text(name, value)));
    let answer = client.post_form(&format!("/{pipeline}"), &parts).fine();
    answer["image_hash"]
        .as_str()
        .is_some_and(|hash| !hash.is_empty())
}

const OPTIONAL: &str = "theme = { type = \"text\" }\nn = { type = \"number\" }\ni = { type = \"integer\" }\nb = { type = \"bool\" }\nlabels = { type = \"text_list\" }\nj = { type = \"json\" }";

#[test]
fn what_may_be_null_is_refused_before_any_request() {
    for condition in [
        "theme.startsWith('a')",
        "n > 0.5",
        "i > 0",
        "b",
        "!b",
        "n < 1.0",
        "size(labels) > 1",
        "\"a\" in labels",
    ] {
        let (code, said) = checked(OPTIONAL, "", condition);
        assert_eq!(code, Some(78), "{condition}: {said}");
        for wanted in [
            "may be null",
            "a request may leave",
            "!= null && ..",
            ".orValue(",
        ] {
            assert!(said.contains(wanted), "{condition}: {said}");
        }
    }
    for (condition, wanted) in [
        ("theme == \"a\" && n.startsWith(\"x\")", "takes texts"),
        ("theme == \"a\" && n > \"x\"", "two numbers or texts"),
        ("n >= 0.5 ? true : \"no\"", "are of one type"),
    ] {
        let (code, said) = checked(OPTIONAL, "", condition);
        assert_eq!(code, Some(78), "{condition}: {said}");
        assert!(said.contains(wanted), "{condition}: {said}");
    }
}

#[test]
fn what_passes_never_fails_a_request() {
    let conditions = [
        ("sum", "i != null && i + 1 > 0"),
        ("minus", "i != null && -i < 0"),
        ("json", "has(j.a) && j.a > 1"),
        ("item", "labels != null && labels[3] == 'a'"),
        ("macro", "labels != null && labels.exists(l, l == 'cat')"),
        ("theme", "theme == 'animals'"),
        ("sent", "request.labels != null"),
        ("default", "theme.orValue('none').startsWith('n')"),
    ];
    let stages = conditions.map(|(name, condition)| {
        (
            name,
            format!("[[stage]]\nuses = \"hash\"\nif = '''{condition}'''"),
        )
    });
    let pipelines: Vec<_> = stages
        .iter()
        .map(|(name, stages)| (*name, OPTIONAL, stages.as_str()))
        .collect();
    let server = Server::of(folder(&pipelines).path(), &[]);
    let mut client = server.client();
    for (pipeline, fields, expected) in [
        ("sum", &[("i", "9223372036854775807")][..], false),
        ("sum", &[("i", "1")], true),
        ("sum", &[], false),
        ("minus", &[("i", "-9223372036854775808")], false),
        ("minus", &[("i", "3")], true),
        ("json", &[("j", "{\"a\": \"x\"}")], false),
        ("json", &[("j", "{\"a\": 2}")], true),
        ("json", &[("j", "[1]")], false),
        ("json", &[], false),
        ("item", &[("labels", "a")], false),
        ("item", &[("labels", "b,b,b,a")], true),
        ("macro", &[("labels", "dog,cat")], true),
        ("macro", &[("labels", "dog")], false),
        ("macro", &[], false),
        ("theme", &[("theme", "animals")], true),
        ("theme", &[], false),
        ("sent", &[("labels", "cat")], true),
        ("sent", &[], false),
        ("default", &[], true),
        ("default", &[("theme", "x")], false),
    ] {
        assert_eq!(
            runs(&mut client, pipeline, fields),
            expected,
            "{pipeline} {fields:?}"
        );
    }
    let log = server.log();
    assert!(!log.contains("ERROR"), "{log}");
}

const RANKED: &str = "[[stage]]\nuses = \"decode\"\n[[stage]]\nuses = \"embed\"\n[[stage]]\nuses = \"score\"\n[[stage]]\nuses = \"rank\"";

#[test]
fn conditions_see_what_json_holds() {
    let labels = "labels = { type = \"text_list\" }";
    let conditions = [
        ("first", "top_labels[0].label == 'photo'"),
        ("score", "all_scores['photo'] > 0.1"),
        (
            "exists",
            "top_labels.exists(t, t.label == 'photo' && t.score > 0.1)",
        ),
        ("far", "top_labels[900].label == 'photo'"),
        ("missing", "all_scores['no such label'] > 0.1"),
        (
            "chosen",
            "request.labels != null && 'photo' in score.labels",
        ),
        ("ran", "rank.ran && score.ran"),
    ];
    let stages = conditions.map(|(name, condition)| {
        (
            name,
            format!("{RANKED}\n[[stage]]\nuses = \"hash\"\nif = '''{condition}'''"),
        )
    });
    let pipelines: Vec<_> = stages
        .iter()
        .map(|(name, stages)| (*name, labels, stages.as_str()))
        .collect();
    let server = Server::of(folder(&pipelines).path(), &[]);
    let mut client = server.client();
    for (pipeline, labels, expected) in [
        ("first", "photo", true),
        ("score", "photo", true),
        ("exists", "photo", true),
        ("far", "photo", false),
        ("missing", "photo", false),
        ("chosen", "photo", true),
        ("chosen", "", false),
        ("ran", "photo", true),
    ] {
        let ran = runs(&mut client, pipeline, &[("labels", labels)]);
        assert_eq!(ran, expected, "{pipeline}");
    }
    for (condition, wanted) in [
        ("top_labels[0].lable == 'cat'", "did you mean `label`?"),
        ("top_labels[0].score == 'cat'", "never equals"),
        (
            "embedding == null && embedding == embedding",
            "cannot look into it",
        ),
    ] {
        let (code, said) = checked(labels, RANKED, condition);
        assert_eq!(code, Some(78), "{condition}: {said}");
        assert!(said.contains(wanted), "{condition}: {said}");
    }
}

#[test]
fn a_variable_is_a_value_and_its_value_stays_with_the_operator() {
    let key = "key = { type = \"text\" }";
    let stage = |condition: &str| format!("[[stage]]\nuses = \"hash\"\nif = \"{condition}\"");
    let quoted = stage("key == '${API_KEY}'");
    let plain = stage("key == ${API_KEY}");
    let folder = folder(&[("quoted", key, &quoted), ("plain", key, &plain)]);
    for secret in ["s3cret", "it's", "x' || true || 'x", "12345", "true"] {
        let environment = [("API_KEY", secret)];
        assert_eq!(check(folder.path(), &environment).0, Some(0), "{secret}");
        let server = Server::of(folder.path(), &environment);
        let mut client = server.client();
        for pipeline in ["quoted", "plain"] {
            assert!(
                runs(&mut client, pipeline, &[("key", secret)]),
                "{pipeline}: {secret}"
            );
            assert!(
                !runs(&mut client, pipeline, &[("key", "other")]),
                "{pipeline}: {secret}"
            );
            assert!(!runs(&mut client, pipeline, &[]), "{pipeline}: {secret}");
        }
        let shown = client.get("/pipelines").fine().to_string();
        assert!(shown.contains("${API_KEY}"), "{shown}");
        if secret.len() > 5 {
            assert!(!shown.contains(secret), "{shown}");
            assert!(!server.log().contains(secret), "{}", server.log());
        }
    }
    let (code, said) = check(folder.path(), &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("`API_KEY` is not set"), "{said}");
}

#[test]
fn a_picture_seen_before_is_answered_however_it_is_bound() {
    let bound = |inputs: &str| {
        format!(
            "extends = \"builtin:classify\"\n[pipeline]\nname = \"bound\"\nroute = \"POST /bound\"\nsettings_route = \"GET /bound\"\n[[stage]]\nname = \"score\"\ninputs = {{ embedding = {inputs} }}\n"
        )
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bound.toml");
    let data = picture("lossy.webp");
    for (inputs, is_warned, second) in [
        ("\"embed.embedding\"", true, 503),
        ("[\"embed.embedding\", \"recall.embedding\"]", false, 200),
    ] {
        fs::write(&path, bound(inputs)).unwrap();
        let (code, said) = check(folder.path(), &[]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("which may be absent"), is_warned, "{said}");
        let server = Server::of(folder.path(), &[]);
        let mut client = server.client();
        let first = client.post_form("/bound", &[file(&data)]).fine();
        server.settle();
        let again = client.post_form("/bound", &[file(&data)]);
        assert_eq!(again.status, second, "{inputs}");
        match second {
            200 => assert_eq!(again.json()["category"], first["category"]),
            _ => assert_eq!(again.json()["code"], "incomplete_answer"),
        }
    }
}

#[test]
fn a_skip_hides_no_mistake_of_the_client_and_no_answer_that_is_none() {
    let skip = |uses: &str| format!("[[stage]]\nuses = \"{uses}\"\non_error = \"skip\"\n");
    let decode = format!(
        "{}{}",
        skip("decode"),
        &RANKED["[[stage]]\nuses = \"decode\"\n".len()..]
    );
    let all = decode.replace("\"skip\"", "\"skip all\"");
    let folder = folder(&[("skipped", "", &decode), ("all", "", &all)]);
    let feedback = "[pipeline]\nname = \"vote\"\nroute = \"POST /vote\"\n[request]\nimage_hash = { type = \"text\", required = true }\ntheme = { type = \"text\", required = true }\n[response]\nrequire = [\"ok\"]\n[[stage]]\nuses = \"feedback\"\non_error = \"skip\"\nretry = 5\n";
    fs::write(folder.path().join("vote.toml"), feedback).unwrap();
    let server = Server::of(
        folder.path(),
        &[("DATABASE_URL", "mysql://u:p@127.0.0.1:9/x")],
    );
    let mut client = server.client();
    let broken = Part::File {
        name: "file",
        filename: "a.svg",
        content_type: "image/svg+xml",
        data: b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
    };
    let refused = client.post_form("/skipped", std::slice::from_ref(&broken));
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    assert_eq!(refused.json()["stage"], "decode");
    assert_eq!(
        client.post_form("/all", &[broken]).fine()["category"],
        Json::Null
    );
    let vote = json!({"image_hash": "a".repeat(64), "theme": "t"});
    // The first one may wait for the connection that is tried meanwhile.
    client.post_json("/vote", &vote);
    let begun = std::time::Instant::now();
    let answer = client.post_json("/vote", &vote);
    assert_eq!(
        answer.status,
        503,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.json()["stage"], "feedback");
    assert!(answer.header("retry-after").is_some());
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn the_settings_shown_are_those_of_stages_that_are_on() {
    let two = "[[stage]]\nuses = \"decode\"\n[[stage]]\nuses = \"embed\"\n[[stage]]\nuses = \"score\"\nwith = { default_labels = [\"x\", \"y\"], max_labels = 30 }\n[[stage]]\nuses = \"score\"\nname = \"other\"\nenabled = false\nwith = { max_labels = 20 }\n";
    let folder = folder(&[("two", "", two)]);
    let path = folder.path().join("two.toml");
    let toml = fs::read_to_string(&path).unwrap();
    let toml = toml.replace("[request]", "settings_route = \"GET /two\"\n[request]");
    fs::write(&path, toml).unwrap();
    let server = Server::of(folder.path(), &[]);
    let settings = server.client().get("/two").fine();
    assert_eq!(settings["max_labels"], 30, "{settings}");
    assert_eq!(settings["default_labels"], json!(["x", "y"]), "{settings}");
}

#[test]
fn a_reload_keeps_the_counters_of_pipelines_that_did_not_change() {
    let hash = "[[stage]]\nuses = \"hash\"";
    let folder = folder(&[("kept", "", hash), ("changed", "", hash)]);
    let server = Server::of(folder.path(), &[]);
    let mut client = server.client();
    for _ in 0..3 {
        assert!(runs(&mut client, "kept", &[]));
        assert!(runs(&mut client, "changed", &[]));
    }
    let path = folder.path().join("changed.toml");
    let toml = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{toml}\n# changed\n")).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !server.log().contains("pipelines reloaded") {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = |pipelines: &Json, name: &str| {
        let all = pipelines["pipelines"]
            .as_array()
            .or(pipelines.as_array())
            .unwrap();
        let found = all
            .iter()
            .find(|pipeline| pipeline["pipeline"] == *name)
            .unwrap();
        found["stages"][0]["counters"]["ran"].as_u64().unwrap()
    };
    let shown = client.get("/pipelines").fine();
    assert_eq!(
        (ran(&shown, "kept"), ran(&shown, "changed")),
        (3, 0),
        "{shown}"
    );
}
