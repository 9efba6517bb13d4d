//! Labels as they are sent: in both forms, over HTTP and on the command line, of any length.

use serde_json::{Value as Json, json};

use super::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, picture, root, run};

#[test]
fn both_forms_of_a_list_read_alike_everywhere() {
    let server = Server::start();
    let mut client = server.client();
    let data = picture("lossy.webp");
    let path = root().join("tests/fixtures/images/lossy.webp");
    let path = path.to_str().unwrap();
    for (sent, labels) in [
        (r#"["red, cat", "dog"]"#, json!(["red, cat", "dog"])),
        (r#""red, cat",dog"#, json!(["red, cat", "dog"])),
        (r#" "a ""b""" , dog "#, json!([r#"a "b""#, "dog"])),
        ("cat, dog,cat", json!(["cat", "dog"])),
        (r#"5" disk,dog"#, json!([r#"5" disk"#, "dog"])),
    ] {
        let parts = [file(&data), Part::Text("labels", sent)];
        let answer = client.post_form("/classify", &parts).json();
        assert_eq!(answer["labels"], labels, "{sent}");
        let printed = run(&["classify", path, "--labels", sent, "--json"]);
        let printed: Json = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(printed["labels"], labels, "{sent}");
        assert_eq!(printed["all_scores"], answer["all_scores"], "{sent}");
    }
    for sent in [r#""red, cat"#, r#""red" cat,dog"#, "[1]"] {
        let parts = [file(&data), Part::Text("labels", sent)];
        let answer = client.post_form("/classify", &parts);
        answer.refused(422, "invalid_field");
        let printed = run(&["classify", path, "--labels", sent]);
        assert_ne!(printed.status.code(), Some(0), "{sent}");
        assert!(
            String::from_utf8_lossy(&printed.stderr).contains("labels: "),
            "{sent}"
        );
    }
    let theme = run(&["classify", path, "--theme", "a\nb"]);
    assert!(String::from_utf8_lossy(&theme.stderr).contains("theme: holds a control character"));
}

#[test]
fn labels_that_the_model_would_not_read_to_their_end_are_refused() {
    let server = Server::start();
    let data = picture("lossy.webp");
    let long = "a ".repeat(99);
    let labels = json!([format!("{long}x"), format!("{long}y")]).to_string();
    let parts = [file(&data), Part::Text("labels", &labels)];
    let answer = server.client().post_form("/classify", &parts);
    let error = answer.refused(422, "label_too_long");
    assert!(
        error["detail"].as_str().unwrap().contains("label 1"),
        "{error}"
    );
    // Long in characters, and short for the model.
    let labels = json!(["x".repeat(100), "cat"]).to_string();
    let parts = [file(&data), Part::Text("labels", &labels)];
    assert_eq!(server.client().post_form("/classify", &parts).status, 200);
}

#[test]
fn whole_numbers_may_be_written_with_a_point() {
    let server = Server::start();
    let mut client = server.client();
    let gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    for (limit, status) in [
        (json!(3.0), 200),
        (json!("3.0"), 200),
        (json!(3), 200),
        (json!(3.5), 422),
        (json!("nan"), 422),
        (json!(1e300), 422),
        (json!(101.0), 422),
    ] {
        let body = json!({ "file": gif, "similar_limit": limit });
        assert_eq!(
            client.post_json("/classify", &body).status,
            status,
            "{limit}"
        );
    }
}

#[test]
fn what_is_shown_does_not_change_what_is_decided() {
    use crate::support::program::Settings;
    let data = picture("lossy.webp");
    let mut answers = Vec::new();
    for top_k in ["1", "5", "50"] {
        let server = Server::start_with(&Settings {
            environment: &[("CLIP_TOP_K", top_k)],
            ..Settings::default()
        });
        let answer = server
            .client()
            .post_form("/classify", &[file(&data)])
            .json();
        let shown = answer["top_labels"].as_array().unwrap().len();
        assert_eq!(shown.to_string(), top_k);
        answers.push(["all_scores", "category", "entropy"].map(|field| answer[field].clone()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn eval_takes_any_number_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let samples = root().join("models/embedded/samples");
    for (class, name) in [("cat", "cat-sticker.webp"), ("bar_chart", "bar-chart.png")] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        std::fs::copy(samples.join(name), folder.path().join(class).join(name)).unwrap();
    }
    let directory = folder.path().to_str().unwrap();
    let more: Vec<_> = (0..600).map(|n| format!("Nothing {n}")).collect();
    let lines = folder.path().join("more.txt");
    std::fs::write(&lines, format!("{}\nCAT\nNOTHING 1\n", more.join("\n"))).unwrap();
    let list = folder.path().join("more.json");
    std::fs::write(&list, json!(more).to_string()).unwrap();
    let mut reports = Vec::new();
    for file in [&lines, &list] {
        let file = file.to_str().unwrap();
        let done = run(&["eval", directory, "--candidates", file, "--json"]);
        let message = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{message}");
        let report: Json = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(
            (&report["pictures"], &report["candidates"]),
            (&json!(2), &json!(602))
        );
        reports.push(report);
    }
    assert_eq!(reports[0], reports[1]);
}
