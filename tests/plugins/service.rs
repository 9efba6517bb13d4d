//! The examples, in Rust and in C, between built-in stages, over HTTP.

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{allowed, build, compile};
use crate::support::http::{Answer, Part};
use crate::support::program::{Server, Settings, omnizap, picture};

const COLOURS: &str = "plugins/examples/dominant-colours/dominant_colours.c";

/// A pipeline with both examples, or without.
fn pipeline(plugins: &str, is_on: bool) -> String {
    format!(
        "{plugins}[pipeline]\nname = \"look\"\nroute = \"POST /look\"\n[request]\n\
         file = {{ type = \"bytes\", required = true }}\ncompare_phash = {{ type = \"text\" }}\n\
         [[stage]]\nuses = \"hash\"\n[[stage]]\nuses = \"decode\"\n\
         [[stage]]\nuses = \"example/phash\"\nenabled = {is_on}\nwith = {{ max_distance = 4 }}\n\
         [[stage]]\nuses = \"example/dominant-colours\"\nenabled = {is_on}\n"
    )
}

fn look(server: &Server, compare: Option<&str>) -> Answer {
    let data = picture("wide.png");
    let mut parts = vec![Part::File {
        name: "file",
        filename: "a.png",
        content_type: "image/png",
        data: &data,
    }];
    parts.extend(compare.map(|hash| Part::Text("compare_phash", hash)));
    server.client().post_form("/look", &parts)
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("look.toml"), text).unwrap();
}

#[test]
fn examples_answer_between_built_in_stages_and_come_and_go_by_one_word() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("lib")).unwrap();
    let libraries = folder.path().join("lib");
    let phash = build("omnizap-phash", &libraries);
    let colours = compile(COLOURS, &[], &libraries, "colours.so");
    let plugins = format!("{}{}", allowed(&phash), allowed(&colours));
    let settings = Settings {
        pipelines: Some(folder.path()),
        ..Settings::default()
    };

    write(folder.path(), &pipeline(&plugins, true));
    let server = Server::start_with(&settings);
    let answer = look(&server, None);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let answer = answer.json();
    let hash = answer["phash"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 16, "{answer}");
    assert_eq!(answer["near_duplicate"], false);
    assert_eq!(answer["image_hash"].as_str().unwrap().len(), 64);
    let shares = answer["dominant_colours"].as_array().unwrap();
    assert!(!shares.is_empty() && shares.len() <= 3, "{answer}");
    assert!(shares[0]["colour"].as_str().unwrap().starts_with('#'));
    assert_eq!(look(&server, Some(&hash)).json()["near_duplicate"], true);
    let wrong = look(&server, Some("xyz"));
    assert_eq!(
        (wrong.status, &wrong.json()["stage"]),
        (422, &json!("example/phash"))
    );
    drop(server);

    write(folder.path(), &pipeline(&plugins, false));
    let off = look(&Server::start_with(&settings), None).json();
    assert_eq!(
        (&off["phash"], &off["dominant_colours"]),
        (&Json::Null, &json!([]))
    );

    write(folder.path(), &pipeline(&plugins, true));
    let safe = Settings {
        pipelines: Some(folder.path()),
        environment: &[("OMNIZAP_SAFE", "true")],
        ..Settings::default()
    };
    let safe = look(&Server::start_with(&safe), None).json();
    assert_eq!(
        (&safe["phash"], &safe["dominant_colours"]),
        (&Json::Null, &json!([]))
    );
}

#[test]
fn check_knows_ports_and_options_and_refuses_another_hash() {
    let folder = TempDir::new().unwrap();
    let colours = compile(COLOURS, &[], folder.path(), "colours.so");
    let check = |text: &str| {
        write(folder.path(), text);
        let output = omnizap(folder.path())
            .arg("check")
            .arg(folder.path().join("look.toml"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let plugins = allowed(&colours);
    let stage = "[pipeline]\nname = \"look\"\n[request]\nfile = { type = \"bytes\", required = true }\n[[stage]]\nuses = \"decode\"\n[[stage]]\nuses = \"example/dominant-colours\"\n";
    let said = check(&format!("{plugins}{stage}with = {{ cuont = 3 }}\n"));
    assert!(said.contains("did you mean `count`?"), "{said}");
    let said = check(&format!("{plugins}{stage}with = {{ count = 99 }}\n"));
    assert!(said.contains("a whole number from 1 to 16"), "{said}");
    let end = plugins.trim_end().trim_end_matches('"').len();
    let last = if plugins.as_bytes()[end - 1] == b'0' {
        '1'
    } else {
        '0'
    };
    let other = format!("{}{last}\"\n", &plugins[..end - 1]);
    let said = check(&format!("{other}{stage}"));
    assert!(
        said.contains("look.toml:3:10: the plugin is refused"),
        "{said}"
    );
}
