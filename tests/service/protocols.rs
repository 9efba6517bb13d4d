//! Other people's clients as pipelines of TOML: what Misskey asks of its detector, what OpenAI's
//! clients ask for embeddings, and the search over what was classified. `tests/clients` has the real
//! clients.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::{Answer, Client, Part};
use crate::support::program::{Server, omnizap, picture, root};

const KEY: &str = "key-of-the-protocols-0123456789";
/// The classes of a picture, as Misskey calls them.
const CLASSES: [&str; 5] = ["Neutral", "Drawing", "Hentai", "Porn", "Sexy"];
const DETECT: &str = "/v1/detect-images";
const EMBEDDINGS: &str = "/v1/embeddings";

fn extra() -> PathBuf {
    root().join("pipelines/extra")
}

/// A picture of which the built-in model is sure.
fn sample(name: &str) -> Vec<u8> {
    std::fs::read(root().join("models/embedded/samples").join(name)).unwrap()
}

/// A part as Misskey sends it.
fn part<'a>(name: &'a str, content_type: &'a str, data: &'a [u8]) -> Part<'a> {
    Part::File {
        name,
        filename: "image",
        content_type,
        data,
    }
}

fn png<'a>(name: &'a str, data: &'a [u8]) -> Part<'a> {
    part(name, "image/png", data)
}

/// What Misskey reads of an answer: for each picture its classes, or why there are none.
#[track_caller]
fn detected(answer: &Answer) -> Vec<Result<Vec<f64>, String>> {
    let body = answer.fine();
    assert_eq!(body["success"], true, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    let results = body["result"]["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            if result["success"] == false {
                let error = &result["error"];
                assert!(error["message"].is_string(), "{error}");
                return Err(error["code"].as_str().unwrap().to_owned());
            }
            assert_eq!(result["success"], true, "{result}");
            let predictions = result["predictions"].as_array().unwrap();
            let names = predictions
                .iter()
                .map(|one| one["className"].as_str().unwrap());
            assert_eq!(names.collect::<Vec<_>>(), CLASSES);
            let shares = predictions
                .iter()
                .map(|one| one["probability"].as_f64().unwrap());
            let shares: Vec<f64> = shares.collect();
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-4,
                "{shares:?}"
            );
            Ok(shares)
        })
        .collect()
}

#[track_caller]
fn whole_error(answer: &Answer, status: u16, code: &str) {
    let text = answer.told(status);
    let body = answer.json();
    assert_eq!(body["success"], false, "{text}");
    assert_eq!(body["error"]["code"], code, "{text}");
    assert!(body["error"]["message"].is_string(), "{text}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{text}");
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn misskey_gets_five_classes_of_each_picture_in_its_order() {
    let server = Server::of(&extra(), &[]);
    server.ready();
    let client = &mut server.client();
    let pictures = ["wide.png", "gray.jpg", "lossy.webp"].map(picture);
    let alone: Vec<_> = pictures[..2]
        .iter()
        .map(|data| detected(&client.post_form(DETECT, &[png("a", data)])).remove(0))
        .collect();
    assert!(alone.iter().all(Result::is_ok), "{alone:?}");
    assert_ne!(alone[0], alone[1]);
    // Names that sort otherwise than they come, and one that comes twice.
    let parts = [
        png("z", &pictures[1]),
        png("a", &pictures[0]),
        png("z", &pictures[1]),
    ];
    let found = detected(&client.post_form(DETECT, &parts));
    let expected = [&alone[1], &alone[0], &alone[1]];
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    // Ten are taken, and none and eleven are not.
    let names: Vec<String> = (0..11).map(|at| format!("image{at}")).collect();
    let many: Vec<_> = names.iter().map(|name| png(name, &pictures[0])).collect();
    let found = detected(&client.post_form(DETECT, &many[..10]));
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|one| *one == alone[0]), "{found:?}");
    whole_error(&client.post_form(DETECT, &[]), 400, "INVALID_REQUEST");
    whole_error(&client.post_form(DETECT, &many), 413, "REQUEST_TOO_LARGE");
    // All of it is counted as one request.
    let counted = client.counters("misskey", "nsfw");
    assert_eq!(counted["ran"], 2 + 3 + 10, "{counted}");
}

#[test]
fn a_bad_picture_of_misskey_is_an_error_in_its_place() {
    let server = Server::of(&extra(), &[]);
    server.ready();
    let client = &mut server.client();
    let good = picture("wide.png");
    let bomb = picture("bomb.png");
    let large = vec![0; (1 << 20) + 1];
    let cut = &good[..good.len() / 2];
    let parts = [
        png("a", &good),
        png("b", b"no picture"),
        png("c", b""),
        part("d", "image/webp", &good),
        png("e", &large),
        png("f", &bomb),
        png("g", cut),
        part("h", "image/jpeg", &good),
    ];
    let found = detected(&client.post_form(DETECT, &parts));
    let codes: Vec<&str> = found
        .iter()
        .map(|one| one.as_ref().err().map_or("fine", String::as_str))
        .collect();
    let expected = [
        "fine",
        "IMAGE_DECODE_FAILED",
        "INVALID_REQUEST",
        "UNSUPPORTED_MEDIA_TYPE",
        "REQUEST_TOO_LARGE",
        "REQUEST_TOO_LARGE",
        "IMAGE_DECODE_FAILED",
        "fine",
    ];
    assert_eq!(codes, expected);
    assert_eq!(found[0], found[7]);
    // What is no file would shift the others.
    let parts = [Part::Text("note", "a cat"), png("a", &good)];
    whole_error(&client.post_form(DETECT, &parts), 400, "INVALID_REQUEST");
    let mut send = |content_type: &str, body: &[u8]| {
        let headers = [("Content-Type", content_type)];
        client.send("POST", DETECT, &headers, body).unwrap()
    };
    let form = "multipart/form-data; boundary=x";
    whole_error(&send(form, b"--y"), 400, "INVALID_REQUEST");
    whole_error(&send("image/png", &good), 415, "UNSUPPORTED_MEDIA_TYPE");
    let body = vec![0; 12_582_913];
    whole_error(&send(form, &body), 413, "REQUEST_TOO_LARGE");
}

#[test]
fn keys_are_asked_for_in_the_form_of_the_protocol() {
    let server = Server::of(&extra(), &[("OMNIZAP_API_KEYS", KEY)]);
    let client = &mut server.client();
    let data = picture("wide.png");
    let refused = client.post_form(DETECT, &[png("a", &data)]);
    whole_error(&refused, 401, "AUTHENTICATION_REQUIRED");
    assert!(refused.header("www-authenticate").is_some());
    let body = json!({ "input": "a cat", "model": "x" }).to_string();
    for (bearer, status) in [("Bearer wrong", 401), (&*format!("Bearer {KEY}"), 200)] {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", bearer),
        ];
        let answer = client.send("POST", EMBEDDINGS, &headers, body.as_bytes());
        let answer = answer.unwrap();
        let text = answer.told(status);
        if status == 401 {
            let error = &answer.json()["error"];
            assert_eq!(error["type"], "authentication_error", "{text}");
            assert_eq!(error["param"], Json::Null, "{text}");
            assert!(!text.contains(KEY), "{text}");
        }
    }
}

fn embed(client: &mut Client, body: &Json) -> Answer {
    client.post_json(EMBEDDINGS, body)
}

/// The vectors of an answer, in the order of what was sent.
#[track_caller]
fn vectors(answer: &Answer) -> Vec<Vec<f64>> {
    let body = answer.fine();
    assert_eq!(body["object"], "list", "{body}");
    assert!(body["model"].is_string(), "{body}");
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": 0, "total_tokens": 0 })
    );
    let data = body["data"].as_array().unwrap().iter();
    data.enumerate()
        .map(|(index, one)| {
            assert_eq!(one["object"], "embedding");
            assert_eq!(one["index"], index);
            match &one["embedding"] {
                Json::Array(numbers) => numbers.iter().map(|x| x.as_f64().unwrap()).collect(),
                Json::String(text) => floats(text),
                other => panic!("{other}"),
            }
        })
        .collect()
}

/// The numbers whose bytes a text is the base64 of.
fn floats(text: &str) -> Vec<f64> {
    let bytes = STANDARD.decode(text).unwrap();
    let words = bytes.chunks_exact(4);
    let words = words.map(|word| f32::from_le_bytes(word.try_into().unwrap()));
    words.map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "of one space");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A picture as a `data:` URL.
fn data_url(data: &[u8]) -> String {
    format!("data:image/webp;base64,{}", STANDARD.encode(data))
}

#[test]
fn embeddings_come_in_every_form_that_openai_has() {
    let server = Server::of(&extra(), &[]);
    server.ready();
    let client = &mut server.client();
    let cat = data_url(&sample("cat-sticker.webp"));
    let answer = embed(
        client,
        &json!({ "input": "a cat", "model": "x", "user": "me" }),
    );
    assert_eq!(answer.header("x-unknown-fields"), None);
    let one = vectors(&answer).remove(0);
    assert!((dot(&one, &one) - 1.0).abs() < 1e-4);
    assert_eq!(answer.json()["model"], "omnizap-mini");
    // In a list, in base64, with a picture among them.
    let input = json!(["a cat", cat, "a dog", "data: a list of cats, and dogs"]);
    let all = vectors(&embed(client, &json!({ "input": input })));
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], one);
    assert!(
        dot(&all[1], &all[0]) > dot(&all[1], &all[2]),
        "the picture is of a cat"
    );
    let body = json!({ "input": input, "encoding_format": "base64" });
    // What is computed beside others may differ in its last digits.
    let is_same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    let written = vectors(&embed(client, &body));
    assert_eq!(written.len(), all.len());
    for (written, number) in written.iter().zip(&all) {
        assert!(is_same(written, number), "{written:?} and {number:?}");
    }
    let picture = vectors(&embed(client, &json!({ "input": cat })));
    assert!(is_same(&picture[0], &all[1]), "{picture:?}");
    let count = one.len();
    for body in [
        json!({ "input": "a cat", "dimensions": count, "encoding_format": "float" }),
        json!({ "input": ["a cat"], "dimensions": null, "encoding_format": null }),
    ] {
        let found = vectors(&embed(client, &body));
        assert_eq!((found.len(), &found[0]), (1, &one), "{body}");
    }
    // The trace of each run, where it is asked for.
    let traced = [("Content-Type", "application/json"), ("X-Trace", "1")];
    let body = json!({ "input": ["a", "b"] }).to_string();
    let answer = client
        .send("POST", EMBEDDINGS, &traced, body.as_bytes())
        .unwrap();
    let answer = answer.fine();
    assert_eq!(answer["trace"].as_array().unwrap().len(), 2, "{answer}");
}

#[test]
fn what_cannot_be_embedded_is_told_as_openai_tells_it() {
    let server = Server::of(&extra(), &[]);
    server.ready();
    let client = &mut server.client();
    let broken = data_url(b"no picture");
    for (body, says, code) in [
        (json!({}), "required", "missing_field"),
        (json!({ "input": [] }), "required", "missing_field"),
        (json!({ "input": "" }), "must not be empty", "missing_field"),
        (json!({ "input": ["a", " "] }), "input[1]", "missing_field"),
        (
            json!({ "input": [1, 2, 3] }),
            "input[0]: expected text",
            "invalid_field",
        ),
        (json!({ "input": [[1]] }), "found a list", "invalid_field"),
        (
            json!({ "input": { "a": 1 } }),
            "found an object",
            "invalid_field",
        ),
        (json!({ "input": ["a", null] }), "input[1]", "invalid_field"),
        (
            json!({ "input": "data:image/png;base64,!" }),
            "not base64",
            "invalid_field",
        ),
        (
            json!({ "input": "data:text/plain;base64,YQ==" }),
            "not accepted",
            "unsupported_file_type",
        ),
        (json!({ "input": broken }), "no picture", "not_an_image"),
        (
            json!({ "input": ["a", broken] }),
            "input[1]: file is no picture",
            "not_an_image",
        ),
        (
            json!({ "input": "a", "encoding_format": "int8" }),
            "expected float or base64",
            "unsupported_encoding_format",
        ),
        (
            json!({ "input": "a", "dimensions": 3 }),
            "no other count",
            "unsupported_dimensions",
        ),
    ] {
        let answer = embed(client, &body);
        let text = answer.told(400);
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{body}: {text}");
        assert_eq!(error["code"], code, "{body}: {text}");
        assert!(
            error["message"].as_str().unwrap().contains(says),
            "{body}: {text}"
        );
        assert_eq!(error["param"], Json::Null, "{body}: {text}");
    }
    let many = vec!["a"; 2049];
    let answer = embed(client, &json!({ "input": many }));
    answer.told(413);
    assert_eq!(answer.json()["error"]["code"], "too_many_items");
    let headers = [("Content-Type", "application/json")];
    let answer = client.send("POST", EMBEDDINGS, &headers, b"{").unwrap();
    answer.told(400);
    assert_eq!(answer.json()["error"]["code"], "malformed_json");
}

#[test]
fn the_document_tells_the_forms_of_the_protocols() {
    let server = Server::of(&extra(), &[]);
    let document = server.client().get("/openapi.json").fine();
    let detect = &document["paths"][DETECT]["post"];
    let form = &detect["requestBody"]["content"]["multipart/form-data"]["schema"];
    assert_eq!(form["additionalProperties"]["format"], "binary", "{form}");
    assert_eq!(
        form["required"],
        Json::Null,
        "a picture has any name: {form}"
    );
    let answer = &detect["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(answer["properties"]["success"], json!({ "const": true }));
    let results = &answer["properties"]["result"]["properties"]["results"]["items"];
    assert!(results["anyOf"].as_array().unwrap().len() > 2, "{results}");
    // 422 is told as 400, and so the document knows no other.
    assert_eq!(detect["responses"]["422"], Json::Null);
    let embeddings = &document["paths"][EMBEDDINGS]["post"];
    let body = &embeddings["requestBody"]["content"]["application/json"]["schema"];
    let input = body["properties"]["input"]["anyOf"].as_array().unwrap();
    let types: Vec<_> = input
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["string", "array"]);
    let told = |path: &str, status: &str, answer: &Answer| {
        let content = &document["paths"][path]["post"]["responses"][status]["content"];
        let schema = &content["application/json"]["schema"];
        let faults = super::schema::faults(&document, schema, &answer.json());
        assert!(faults.is_empty(), "{path} {status}: {faults:#?}");
    };
    let client = &mut server.client();
    let (data, none) = (picture("wide.png"), b"no picture".to_vec());
    let answer = client.post_form(DETECT, &[png("a", &data), png("b", &none)]);
    told(DETECT, "200", &answer);
    told(DETECT, "400", &client.post_form(DETECT, &[]));
    told(
        EMBEDDINGS,
        "200",
        &embed(client, &json!({ "input": ["a", "b"] })),
    );
    told(EMBEDDINGS, "400", &embed(client, &json!({ "input": [1] })));
}

/// The names of what a search found, and whether there is more.
#[track_caller]
fn found(answer: &Answer) -> (Vec<String>, bool) {
    let body = answer.fine();
    let images = body["similar_images"].as_array().unwrap().iter();
    let names = images.map(|image| image["asset_id"].as_str().unwrap_or("none").to_owned());
    (names.collect(), body["similar_more"].as_bool().unwrap())
}

#[test]
fn stored_pictures_are_found_by_text_and_by_picture_in_pages() {
    // The pipelines that are served where nothing else is said.
    let server = Server::start();
    server.ready();
    let client = &mut server.client();
    let names = [
        "dog-sticker.webp",
        "pizza-sticker.webp",
        "bar-chart.png",
        "qr-code.png",
    ];
    for name in names {
        let data = sample(name);
        let parts = [file(&data), Part::Text("asset_id", name)];
        client.post_form("/classify", &parts).fine();
    }
    for (text, name) in [
        ("a dog", names[0]),
        ("pizza", names[1]),
        ("a bar chart", names[2]),
    ] {
        let (first, more) =
            found(&client.post_json("/search", &json!({ "text": text, "limit": 1 })));
        assert_eq!(first, [name], "{text}");
        assert!(more, "{text}");
    }
    // Pages follow each other, and the last one says so.
    let page = |client: &mut Client, offset: usize| {
        let body = json!({ "text": "a dog", "threshold": -1, "limit": 3, "offset": offset });
        found(&client.post_json("/search", &body))
    };
    let (first, more) = page(client, 0);
    assert!(more && first.len() == 3, "{first:?}");
    let (last, more) = page(client, 3);
    assert!(!more && last.len() == 1, "{last:?}");
    let mut all = [first, last].concat();
    all.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(page(client, 4), (vec![], false));
    // By a picture: one that is stored is not found itself, and a threshold keeps the others away.
    let dog = sample(names[0]);
    let parts = [file(&dog), Part::Text("threshold", "-1")];
    let (others, _) = found(&client.post_form("/search", &parts));
    assert_eq!(others.len(), 3, "{others:?}");
    assert!(!others.iter().any(|name| name == names[0]), "{others:?}");
    let parts = [file(&dog), Part::Text("threshold", "0.999")];
    assert_eq!(found(&client.post_form("/search", &parts)), (vec![], false));
    // What a browser sends of a file that nobody chose.
    let unchosen = Part::File {
        name: "file",
        filename: "",
        content_type: "application/octet-stream",
        data: b"",
    };
    client
        .post_form("/search", &[Part::Text("text", "a dog"), unchosen])
        .fine();
    let answer = client.post_form("/search", &[file(&dog)]).fine();
    assert_eq!(answer["model"], "omnizap-mini");
    assert!(answer["image_hash"].is_string(), "{answer}");
    let counted = client.counters("search", "recall");
    assert!(counted["ran"].as_u64() > Some(0), "{counted}");
    // One of the two, and bounds.
    let text = json!({ "text": "a" });
    for (parts, code) in [
        (vec![], "missing_field"),
        (vec![Part::Text("text", " ")], "missing_field"),
        (vec![Part::Text("text", "a"), file(&dog)], "repeated_field"),
        (vec![file(b"none")], "not_an_image"),
    ] {
        client.post_form("/search", &parts).refused(422, code);
    }
    for (field, value) in [
        ("threshold", 2),
        ("limit", 0),
        ("limit", 101),
        ("offset", -1),
    ] {
        let mut body = text.clone();
        body[field] = json!(value);
        let refused = client
            .post_json("/search", &body)
            .refused(422, "invalid_field");
        assert!(
            refused["detail"].as_str().unwrap().starts_with(field),
            "{refused}"
        );
    }
}

/// What `omnizap check` says of a file.
fn checked(toml: &str) -> (Option<i32>, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, toml).unwrap();
    let output = omnizap(folder.path())
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn mistakes_in_templates_are_told_with_their_place() {
    let head = r#"[pipeline]
name = "wrong"
route = "POST /wrong"
[request]
file = { type = "bytes", required = true, each = 3 }
[[stage]]
uses = "hash"
[[stage]]
uses = "decode"
[[stage]]
uses = "nsfw"
[response]
"#;
    // The template begins at line 13.
    for (response, place, says) in [
        (
            "template = { all = \"{each\" }",
            ":13:21:",
            "`{` is not closed by `}`",
        ),
        (
            "template = { all = \"{each}\", a = \"x } y\" }",
            ":13:37:",
            "`}` closes nothing",
        ),
        (
            "template = { all = \"{each}\", a = \"{}\" }",
            ":13:35:",
            "names no value",
        ),
        (
            "template = { all = \"{each}\", a = \"{nsfw_scor}\" }",
            ":13:36:",
            "did you mean `nsfw_score`?",
        ),
        (
            "template = { all = \"{each}\", a = \"{nsfw_classes.pron}\" }",
            ":13:36:",
            "did you mean `porn`?",
        ),
        (
            "template = { all = \"{each}\", a = \"{is_nsfw.x}\" }",
            ":13:36:",
            "is bool and has no `x`",
        ),
        (
            "template = { all = \"{each}\", a = \"{index}\" }",
            ":13:36:",
            "of an item",
        ),
        (
            "template = { all = \"x {each}\" }",
            ":13:24:",
            "stands within a text",
        ),
        ("template = [\"{each}\", \"{each}\"]", ":13:25:", "twice"),
        (
            "template = { a = 1 }",
            ":13:12:",
            "no place for what comes of",
        ),
        (
            "each = { a = \"{nsfw_score}\" }",
            ":5:1:",
            "no place for what comes of",
        ),
        (
            "template = \"{each}\"\neach = { a = \"{error.code}\" }",
            ":14:16:",
            "in the templates of errors",
        ),
        (
            "template = \"{each}\"\n[[response.error]]\ntemplate = \"{nsfw_score}\"",
            ":15:14:",
            "has no fields",
        ),
        (
            "template = \"{each}\"\n[[response.error]]\ntemplate = \"{error.cod}\"",
            ":15:14:",
            "an error has no `cod`",
        ),
        (
            "template = \"{each}\"\n[[response.error]]\nof = [200]\ntemplate = \"\"",
            ":15:7:",
            "a status from 400 to 599",
        ),
        (
            "template = \"{each}\"\n[[response.error]]\nof = [422]",
            ":14:1:",
            "one has no `template`",
        ),
        (
            "template = \"{each}\"\n[[response.error]]\ntemplate = \"\"\n[[response.error]]\n\
             of = [422]\ntemplate = \"\"",
            ":16:1:",
            "it is never shown",
        ),
        (
            "template = \"{each}\"\n[[response.each_error]]\nstatus = 400\ntemplate = \"\"",
            ":15:1:",
            "unknown key `status`",
        ),
        ("templat = { a = 1 }", ":13:1:", "did you mean `template`?"),
        (
            "template = \"{each}\"\norder = [\"nsfw_score\"]\neach = { a = 1 }",
            ":14:10:",
            "the template says what an answer shows",
        ),
    ] {
        let (code, said) = checked(&format!("{head}{response}\n"));
        assert_eq!(code, Some(78), "{response}: {said}");
        assert!(
            said.contains(&format!("wrong.toml{place}")),
            "{response}: {said}"
        );
        assert!(said.contains(says), "{response}: {said}");
    }
    for (from, to, says) in [
        (", each = 3", "", "no field of [request] has `each`"),
        ("each = 3", "each = 0", "from 1 to 2048"),
        ("each = 3", "any_nam = true", "did you mean `any_name`?"),
        (
            "[request]",
            "one_of = [\"file\"]\n[request]",
            "names less than two fields",
        ),
        (
            "[request]",
            "one_of = [\"file\", \"fle\"]\n[request]",
            "did you mean `file`?",
        ),
        (
            "[[stage]]\nuses = \"hash\"",
            "other = { type = \"bytes\", each = 2 }\n[[stage]]\nuses = \"hash\"",
            "`file` has it already",
        ),
        (
            "[[stage]]\nuses = \"hash\"",
            "note = { type = \"text\", accept = [\"image/*\"] }\n[[stage]]\nuses = \"hash\"",
            "does nothing for a text without `data_url`",
        ),
    ] {
        let file = format!("{head}template = {{ all = \"{{each}}\" }}\neach = {{ a = 1 }}\n");
        let (code, said) = checked(&file.replacen(from, to, 1));
        assert_eq!(code, Some(78), "{to}: {said}");
        assert!(said.contains(says), "{to}: {said}");
    }
    // What a variable holds is text, and no place of a value.
    let file = format!("{head}template = {{ all = \"{{each}}\", a = \"${{PATH:-}}{{{{x}}}}\" }}\n");
    let (code, said) = checked(&file);
    assert_eq!(code, Some(0), "{said}");
}
