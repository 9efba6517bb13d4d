//! What a server refuses, breaks or repeats: what is remembered of it, what counts as a failure,
//! and what the operator reads.

use omnizap_services::llm::LlmError;

use super::mock::Mock;
use super::*;

const KEY: &str = "sk-SECRET-0123456789abcdef";

/// Set in a process of its own, in which a test finds other variables than here.
const CHILD: &str = "OMNIZAP_TEST_CHILD";

/// Asks, and gives what is logged where there is no answer.
async fn fault(llm: &Llm) -> String {
    error(llm, Duration::from_secs(20)).await.to_string()
}

async fn error(llm: &Llm, limit: Duration) -> LlmError {
    let question = Question::new("m".into(), vec!["cat".into()]);
    llm.expand(question, limit).await.unwrap_err()
}

fn refusal(status: u16, text: &str) -> Json {
    json!({"status": status, "text": text})
}

/// Runs a test of this file alone, in a process with these variables.
fn in_a_child(test: &str, variables: &[(&str, &str)]) {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    let output = command
        .args([&name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{failed}"
    );
}

fn is_a_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[tokio::test]
async fn what_a_server_takes_is_remembered() {
    let no_schema = json!({
        "if": "json_schema", "status": 400,
        "json": {"error": {"message": "This response_format type is unavailable now"}},
    });
    let no_limit = json!({
        "if": "max_completion_tokens", "status": 422,
        "json": {"detail": [{"loc": ["body", "max_completion_tokens"]}]},
    });
    let server = Mock::start(vec![no_schema, no_limit, json!("good")]).await;
    let rig = rig(&server.url);
    assert!(ask(&rig.llm, &["cat"], 20_000).await.used);
    assert_eq!(server.asked().len(), 3);
    for label in ["dog", "fox"] {
        assert!(ask(&rig.llm, &[label], 20_000).await.used);
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 5, "each of the others once");
    let last: Json = serde_json::from_str(&asked[4]).unwrap();
    assert_eq!(last["response_format"], json!({"type": "json_object"}));
    assert_eq!(last["max_tokens"], 1024);
    assert!(last.get("max_completion_tokens").is_none());
    assert_eq!(rig.llm.degraded(), None);

    // A stage with a key of its own asks the same server.
    let own = rig.llm.under(LlmConfig {
        api_key: Some("another-key".into()),
        base_url: None,
    });
    assert!(ask(&own, &["owl"], 20_000).await.used);
    assert_eq!(server.asked().len(), 6);
}

/// What the last question asked for: the form of the answer, and its longest.
fn last_form(server: &Mock) -> [Json; 3] {
    let asked = server.asked();
    let last: Json = serde_json::from_str(asked.last().unwrap()).unwrap();
    let form = last["response_format"]["type"].clone();
    [
        form,
        last["max_completion_tokens"].clone(),
        last["max_tokens"].clone(),
    ]
}

#[tokio::test]
async fn what_a_server_takes_is_remembered_where_it_does_not_say_what_it_refuses() {
    let silent = json!({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]});
    let no_schema =
        |status: u16, json: Json| json!({"if": "json_schema", "status": status, "json": json});
    let no_form =
        |status: u16, json: Json| json!({"if": "response_format", "status": status, "json": json});
    let parameters = "No endpoints found that can handle the requested parameters.";
    let object = [json!("json_object"), Json::Null, json!(1024)];
    let plain = [Json::Null, Json::Null, json!(1024)];
    for (refusal, asked, expected) in [
        (
            no_schema(501, json!({"error": "not implemented"})),
            2,
            &object,
        ),
        (
            no_schema(404, json!({"error": {"message": parameters}})),
            2,
            &object,
        ),
        (no_schema(200, silent.clone()), 2, &object),
        (no_schema(422, json!({"detail": "bad"})), 2, &object),
        (no_form(501, json!({"error": "not implemented"})), 3, &plain),
        (
            no_form(404, json!({"error": {"message": parameters}})),
            3,
            &plain,
        ),
        (no_form(200, silent), 3, &plain),
        (no_form(422, json!({"detail": "bad"})), 3, &plain),
    ] {
        let server = Mock::start(vec![refusal.clone(), json!("good")]).await;
        let rig = rig(&server.url);
        assert!(ask(&rig.llm, &["cat"], 20_000).await.used, "{refusal}");
        assert_eq!(server.asked().len(), asked, "{refusal}");
        assert!(ask(&rig.llm, &["dog"], 20_000).await.used, "{refusal}");
        assert_eq!(server.asked().len(), asked + 1, "{refusal}");
        assert_eq!(&last_form(&server), expected, "{refusal}");
        assert_eq!(rig.llm.degraded(), None, "{refusal}");
    }
}

#[tokio::test]
async fn a_way_that_took_all_the_time_is_not_gone_twice() {
    let replies = vec![
        json!({"if": "json_schema", "json": {"choices": [{"message": {"content": ""}}]}}),
        json!({"times": 1, "delay_ms": 30_000, "text": "too late"}),
        json!("good"),
    ];
    let server = Mock::start(replies).await;
    let rig = rig(&server.url);
    // Opening the database for the first time would take part of the limit.
    while rig.store.expansion("none").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&rig.llm, &["cat"], 2000).await, nothing("error"));
    assert_eq!(server.asked().len(), 2);
    assert!(ask(&rig.llm, &["dog"], 20_000).await.used);
    assert_eq!(server.asked().len(), 3);
    assert_eq!(last_form(&server)[0], "json_object");
}

#[tokio::test]
async fn a_server_that_understands_nothing_any_more_is_asked_from_the_beginning() {
    let words = json!({"choices": [{"message": {"content": "{\"subtags\": [\"a\"]}"}}]});
    let replies = vec![
        json!({"times": 1, "if": "json_schema", "status": 422, "json": {"detail": "bad"}}),
        json!({"times": 1, "json": words}),
        json!({"times": 3, "status": 422, "json": {"detail": "bad"}}),
        json!("good"),
    ];
    let server = Mock::start(replies).await;
    let rig = rig(&server.url);
    assert!(ask(&rig.llm, &["cat"], 20_000).await.used);
    assert_eq!(ask(&rig.llm, &["dog"], 20_000).await, nothing("error"));
    assert_eq!(server.asked().len(), 5, "each form that was left, once");
    assert!(ask(&rig.llm, &["fox"], 20_000).await.used);
    assert_eq!(last_form(&server)[0], "json_schema");
}

#[tokio::test]
async fn a_server_that_has_changed_is_asked_from_the_beginning() {
    let replies = vec![
        json!({"times": 1, "if": "json_schema", "status": 400, "text": "no json_schema"}),
        json!({"times": 1, "if": "json_object", "json": {"choices": [
            {"message": {"content": "{\"subtags\": [\"a\"]}"}}]}}),
        json!({"if": "json_schema", "json": {"choices": [
            {"message": {"content": "{\"subtags\": [\"b\"]}"}}]}}),
        refusal(400, "response_format must be json_schema"),
    ];
    let server = Mock::start(replies).await;
    let rig = rig(&server.url);
    assert!(ask(&rig.llm, &["cat"], 20_000).await.used);
    let answer = ask(&rig.llm, &["dog"], 20_000).await;
    assert_eq!(answer.expansion["subtags"], json!(["b"]));
    let asked = server.asked().len();
    assert!(ask(&rig.llm, &["fox"], 20_000).await.used);
    assert_eq!(server.asked().len(), asked + 1);
}

#[tokio::test]
async fn to_find_the_form_is_no_failure_and_to_find_none_is_one() {
    let never = Mock::start(vec![refusal(400, "json_schema, max_tokens: no")]).await;
    let rig = rig(&never.url);
    for label in 0..FAILURES_TO_OPEN {
        assert_eq!(rig.llm.degraded(), None, "{label}");
        assert_eq!(
            ask(&rig.llm, &[&label.to_string()], 20_000).await,
            nothing("error")
        );
    }
    assert!(rig.llm.degraded().is_some());
    assert_eq!(
        never.asked().len(),
        3 * FAILURES_TO_OPEN as usize,
        "bounded"
    );
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_opened_again() {
    // It says that it keeps the connection, and closes it.
    let script = json!({"frame": "gone", "json": {"choices": [
        {"message": {"content": "{\"subtags\": [\"a\"]}"}}]}});
    let server = Mock::start(vec![script]).await;
    let rig = rig(&server.url);
    for label in 0..10 {
        assert!(
            ask(&rig.llm, &[&label.to_string()], 20_000).await.used,
            "{label}"
        );
    }
    assert_eq!(rig.llm.degraded(), None);
}

#[tokio::test]
async fn the_key_is_in_no_error() {
    let echo = format!("Incorrect API key provided: Bearer {KEY}. Find it at ..");
    let json = json!({"error": {"message": echo, "code": "invalid_api_key"}}).to_string();
    let page = format!("<html>Authorization: bearer {}</html>", KEY.to_lowercase());
    // The key straddles what is read of a refusal, and what is logged of it.
    let at_the_end = format!("{}{KEY}", "x".repeat(4096 - 12));
    let at_the_edge = format!("{}{KEY}", "x".repeat(380));
    let cut = format!("key {}****", &KEY[..18]);
    for (status, text) in [
        (401, json.as_str()),
        (401, &page),
        (400, &echo),
        (500, &json),
        (503, &page),
        (401, &at_the_end),
        (401, &at_the_edge),
        (401, &cut),
        (200, &json),
        (200, &page),
        (200, KEY),
    ] {
        let mut reply = refusal(status, text);
        reply["headers"] = json!({"x-should-retry": "false"});
        let server = Mock::start(vec![reply]).await;
        let folder = tempfile::tempdir().unwrap();
        let llm = llm(&server.url, Some(KEY), &store(folder.path()));
        let error = error(&llm, Duration::from_secs(20)).await;
        let shown = format!("{error} {error:?}").to_lowercase();
        for part in KEY.to_lowercase().as_bytes().windows(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!shown.contains(part), "{status} {text}: {shown}");
        }
        assert!(error.to_string().chars().count() < 600, "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

/// One that URLs, pages and JSON write otherwise.
const ODD_KEY: &str = "sk+A/b=c&0123<4567/89ab==cdef";

#[tokio::test]
async fn the_key_is_in_no_error_however_it_is_written() {
    let percent = ODD_KEY.bytes().map(|byte| format!("%{byte:02x}"));
    let percent = percent.collect::<Vec<_>>().concat();
    let url = "sk%2BA%2Fb%3Dc%260123%3C4567%2F89ab%3D%3Dcdef";
    let page = "sk&plus;A&#x2F;b&#61;c&amp;0123&lt;4567&sol;89ab&equals;=cdef";
    let unicode = ODD_KEY
        .replace('+', "\\u002b")
        .replace('/', "\\/")
        .replace('&', "\\u0026");
    // `Bearer KEY`, the key, `u:KEY`.
    let base64 = [
        "QmVhcmVyIHNrK0EvYj1jJjAxMjM8NDU2Ny84OWFiPT1jZGVm",
        "c2srQS9iPWMmMDEyMzw0NTY3Lzg5YWI9PWNkZWY=",
        "dTpzaytBL2I9YyYwMTIzPDQ1NjcvODlhYj09Y2RlZg==",
    ];
    let written = [ODD_KEY, &percent, url, page, &unicode]
        .into_iter()
        .chain(base64);
    for written in written {
        let server = Mock::start(vec![refusal(401, &format!("wrong: {written} !"))]).await;
        let folder = tempfile::tempdir().unwrap();
        let llm = llm(&server.url, Some(ODD_KEY), &store(folder.path()));
        let error = error(&llm, Duration::from_secs(20)).await.to_string();
        assert!(
            error.contains("wrong: ") && error.contains("***"),
            "{error}"
        );
        for part in written.as_bytes().windows(12) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!error.contains(part), "{written}: {error}");
        }
    }
}

#[tokio::test]
async fn the_key_is_in_no_word() {
    let content = format!(
        "{{\"subtags\": [\"tabby\", \"{KEY}\", \"{}\", \"of {}\"]}}",
        KEY.replace("SECRET", "S\\u0045CRET"),
        KEY.replace('-', "%2D"),
    );
    let reply = json!({"json": {"choices": [{"message": {"content": content}}]}});
    let server = Mock::start(vec![reply]).await;
    let folder = tempfile::tempdir().unwrap();
    let llm = llm(&server.url, Some(KEY), &store(folder.path()));
    let answer = ask(&llm, &["cat"], 20_000).await;
    // Two that are the same are one, before the key is hidden in it.
    let words = json!(["tabby", "***", "of ***"]);
    assert_eq!(answer.expansion["subtags"], words);
}

#[tokio::test]
async fn an_error_says_what_the_server_said() {
    for (reply, expected) in [
        (
            refusal(401, r#"{"error": {"message": "wrong key"}}"#),
            "401 Unauthorized wrong key",
        ),
        (
            refusal(
                404,
                r#"{"error": {"message": "no such model", "code": "m"}}"#,
            ),
            "no such model (m)",
        ),
        (refusal(302, ""), "302 Found"),
        (
            refusal(200, r#"{"error": {"message": "overloaded", "code": 502}}"#),
            "overloaded (502)",
        ),
        (refusal(200, "<html>"), "not JSON"),
        (
            refusal(200, r#"{"choices": []}"#),
            "choices[0].message.content",
        ),
        (
            refusal(200, r#"{"choices": [{"message": {"content": " "}}]}"#),
            "an empty text at choices[0].message.content",
        ),
        (
            json!({"json": {"choices": [{"message": {"content": "no"}}]}}),
            "no JSON object",
        ),
        (json!({"frame": "break"}), "broke"),
        (
            json!({"text": "x", "headers": {"content-encoding": "br"}}),
            "was not asked for",
        ),
    ] {
        let server = Mock::start(vec![reply]).await;
        let fault = fault(&rig(&server.url).llm).await;
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
}

#[tokio::test]
async fn an_error_says_why_the_server_was_not_reached() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    // One that speaks HTTP where TLS is expected.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            let _ = socket.read(&mut hello).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    // A name of that form is refused without asking anybody.
    let nobody = format!("http://{}.invalid/v1", "a".repeat(64));
    for (url, expected) in [
        (format!("http://{closed}/v1"), "the connection was refused"),
        (nobody, "its name was not found"),
        (format!("https://{plain}/v1"), "TLS"),
    ] {
        let rig = rig(&url);
        if rig.llm.check().is_ok() && rig.llm.lacks().is_some() {
            // Here are no certificates, and that is what it says.
            continue;
        }
        let fault = fault(&rig.llm).await;
        assert!(
            fault.contains(expected) && fault.contains(&url),
            "{expected}: {fault}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_says_what_came_before() {
    // The second request gets no answer: the server holds the connection.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let busy = "HTTP/1.1 503 X\r\nretry-after: 0\r\ncontent-length: 11\r\n\
                connection: close\r\n\r\nstarting up";
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut request = [0; 8192];
        assert!(first.read(&mut request).await.unwrap() > 0);
        first.write_all(busy.as_bytes()).await.unwrap();
        first.shutdown().await.unwrap();
        let held = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
        drop(held);
    });
    let rig = rig(&url);
    // Opening the database for the first time would take part of the limit.
    while rig.store.expansion("none").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = error(&rig.llm, Duration::from_secs(5)).await;
    assert!(matches!(&error, LlmError::Slow { .. }), "{error}");
    assert!(error.to_string().contains("starting up"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    if !is_a_child() {
        let test = "a_proxy_that_is_not_there_is_named";
        // Nobody listens at the port of `tcpmux`.
        return in_a_child(test, &[("HTTP_PROXY", "http://127.0.0.1:1")]);
    }
    let fault = fault(&rig("http://host.invalid/v1").llm).await;
    assert!(
        fault.contains("refused") && fault.contains("HTTP_PROXY"),
        "{fault}"
    );
}

#[tokio::test]
async fn without_certificates_http_works_and_https_says_why_not() {
    if !is_a_child() {
        let test = "without_certificates_http_works_and_https_says_why_not";
        let nowhere = [
            ("SSL_CERT_FILE", "/nonexistent"),
            ("SSL_CERT_DIR", "/nonexistent"),
        ];
        return in_a_child(test, &nowhere);
    }
    let server = Mock::start(vec![json!("good")]).await;
    let rig = rig(&server.url);
    assert!(ask(&rig.llm, &["cat"], 20_000).await.used);
    assert_eq!((rig.llm.degraded(), rig.llm.lacks()), (None, None));

    let expected = "no CA certificates were found: install ca-certificates or set SSL_CERT_FILE";
    let secure = llm("https://127.0.0.1:1/v1", Some(KEY), &rig.store);
    let kind = LlmExpand::new(secure.clone());
    let options = options(&kind, []);
    let Runner::Async(stage) = kind.build(&options).await.unwrap() else {
        panic!("an async stage");
    };
    assert_eq!(stage.idle().as_deref(), Some(expected));
    assert!(stage.health().degraded.unwrap().contains(expected));
    assert_eq!(ask(&secure, &["dog"], 20_000).await, nothing("error"));
    assert!(fault(&secure).await.contains(expected));
    // What was kept is an answer all the same, and a stage with an address of its own goes on.
    assert!(ask(&secure, &["cat"], 20_000).await.used);
    let own = secure.under(LlmConfig {
        api_key: Some(KEY.into()),
        base_url: Some(server.url.clone()),
    });
    assert!(ask(&own, &["dog"], 20_000).await.used);
    assert_eq!(own.degraded(), None);

    let without_key = llm("https://127.0.0.1:1/v1", None, &rig.store);
    assert!(without_key.check().is_ok());
    assert_eq!(without_key.degraded(), None, "nothing is asked");
    assert_eq!(
        without_key.lacks().as_deref(),
        Some("there is no OPENAI_API_KEY")
    );
}
