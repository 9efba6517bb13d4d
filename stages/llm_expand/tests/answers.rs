//! What servers and models answer, and what the Python service made of it.
//!
//! `answers.json` has a case a line: the server's `replies` (see [`Mock::start`]), the `words` that
//! we take from them (a good answer's where they are not named, null for none), how often the
//! server is `asked`, and what the `predecessor` made of it where that is something else, with the
//! reason (`why`). It was run on the same bytes: its code, with openai 3.57.

use super::mock::Mock;
use super::*;

const CASES: &str = include_str!("answers.json");

/// The words of an answer, list by list; null where it was not used.
fn words(answer: &Answer) -> Json {
    let lists = ["subtags", "style_traits", "emotions", "pack_suggestions"];
    if !answer.used {
        return Json::Null;
    }
    lists.map(|list| answer.expansion[list].clone()).into()
}

#[tokio::test]
async fn what_the_python_service_used_is_used() {
    let cases: Vec<Json> = serde_json::from_str(CASES).unwrap();
    let good = json!([["tabby", "kitten"], ["flat"], ["calm"], ["Cats"]]);
    let mut used_by_predecessor = 0;
    let mut faults = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (number, case) in cases.iter().enumerate() {
        let name = &case["name"];
        let expected = case.get("words").unwrap_or(&good);
        let predecessor = case.get("predecessor").unwrap_or(expected);
        used_by_predecessor += usize::from(!predecessor.is_null());
        assert!(
            !expected.is_null() || predecessor.is_null() || case["why"].is_string(),
            "{name}: not used, and no reason"
        );

        let server = Mock::start(case["replies"].as_array().unwrap().clone()).await;
        // Answers are kept by the labels: each case has one of its own.
        let label = number.to_string();
        let llm = llm(&server.url, Some("secret-key"), &store);
        let found = words(&ask(&llm, &[&label], 20_000).await);
        if found != *expected {
            faults.push(format!("{name}: {found} instead of {expected}"));
        }
        let asked = server.asked().len();
        if case["asked"]
            .as_u64()
            .is_some_and(|times| times != asked as u64)
        {
            faults.push(format!(
                "{name}: asked {asked} times, not {}",
                case["asked"]
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        cases.len() >= 64 && used_by_predecessor >= 46,
        "{used_by_predecessor} of {}",
        cases.len()
    );
}
