//! The fields of a response: who fills them, and in which order they are shown.

use engine::pipeline::graph::Graph;
use omnizap_contract::{Output, Outputs, PortType};
use serde_json::Value as Json;

use crate::support::kinds::{TestKind, bind, bind_layers, gives, inline, places, registry, shows};

fn kinds() -> Vec<TestKind> {
    let output = |ty| Output::new("text", ty, "text").published(Json::Null);
    let number = inline(|_, _| Ok(Outputs::new().put("text", 1.0)));
    let nothing = inline(|_, _| Ok(Outputs::new()));
    let maybe = output(PortType::Text).optional();
    vec![
        gives("first", "text", "one"),
        gives("second", "text", "two"),
        gives("third", "more", "three"),
        shows("show", "text"),
        TestKind::new("count", vec![], vec![output(PortType::Number)], number),
        TestKind::new("maybe", vec![], vec![maybe], nothing),
    ]
}

fn fields(graph: &Graph) -> Vec<&str> {
    let fields = graph.response.iter();
    fields.map(|field| field.name.as_str()).collect()
}

/// A pipeline with the fields `text`, `more` and `seen`, in that order where nothing else is said.
fn ordered(order: &str) -> String {
    let stages = ["first", "third", "show"].map(|kind| format!("[[stage]]\nuses = \"{kind}\"\n"));
    let response = format!("[response]\norder = {order}\n");
    format!("[pipeline]\nname = \"t\"\n{response}{}", stages.concat())
}

#[test]
fn fields_are_shown_in_the_order_that_the_file_says() {
    for (order, expected) in [
        ("[]", ["text", "more", "seen"]),
        ("[\"...\"]", ["text", "more", "seen"]),
        ("[\"seen\"]", ["seen", "text", "more"]),
        ("[\"seen\", \"...\", \"text\"]", ["seen", "more", "text"]),
        ("[\"...\", \"more\", \"text\"]", ["seen", "more", "text"]),
    ] {
        let graph = bind(&registry(kinds()), &ordered(order)).unwrap();
        assert_eq!(fields(&graph), expected, "{order}");
    }
}

#[test]
fn a_field_that_is_not_there_is_a_mistake_in_the_files_own_order_only() {
    let registry = registry(kinds());
    let base = ordered("[\"gone\", \"seen\", \"sene\"]");
    let mistakes = bind_layers(&registry, &[("base.toml", &*base)]).unwrap_err();
    let expected = [("base.toml", 4, 10), ("base.toml", 4, 26)];
    assert_eq!(places(&mistakes), expected, "{mistakes}");

    let base = ("base.toml", &*base);
    let over = ("over.toml", "extends = \"base.toml\"\n");
    let graph = bind_layers(&registry, &[over, base]);
    let graph = graph.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(fields(&graph), ["seen", "text", "more"]);

    let own = "extends = \"base.toml\"\n[response]\norder = [\"more\", \"sene\"]\n";
    let mistakes = bind_layers(&registry, &[("over.toml", own), base]).unwrap_err();
    assert_eq!(places(&mistakes), [("over.toml", 3, 18)], "{mistakes}");
    let said = mistakes.to_string();
    assert!(
        said.contains("no stage publishes the response field `sene`"),
        "{said}"
    );
    assert!(said.contains("did you mean `seen`?"), "{said}");
}

/// A pipeline of two stages; the second is named in line 6.
fn two(first: &str, second: &str) -> String {
    format!("[pipeline]\nname = \"t\"\n[[stage]]\nuses = {first}\n[[stage]]\nuses = {second}\n")
}

#[test]
fn two_stages_that_publish_one_field_are_a_warning() {
    let registry = registry(kinds());
    let warnings = |toml: &str| {
        let graph = bind(&registry, toml);
        graph
            .unwrap_or_else(|mistakes| panic!("{mistakes}"))
            .warnings
    };
    let found = warnings(&two("\"first\"", "\"second\""));
    assert_eq!(places(&found), [("test.toml", 6, 8)], "{found}");
    let said = found.to_string();
    let both = "`first` and `second` both publish the response field `text`";
    assert!(said.contains(both), "{said}");
    assert!(said.contains("the later one is shown: `second`"), "{said}");
    let found = warnings(&two("\"maybe\"", "\"second\""));
    assert_eq!(found.len(), 1, "{found}");
    // One that is off publishes nothing, and what the first may leave out, a second that has a
    // condition gives instead.
    for (first, second) in [
        ("\"first\"", "\"second\"\nenabled = false"),
        ("\"first\"\nenabled = false", "\"second\""),
        ("\"maybe\"", "\"second\"\nif = \"true\""),
    ] {
        let found = warnings(&two(first, second));
        assert!(found.is_empty(), "{found}");
    }
}

#[test]
fn two_types_of_one_field_are_a_mistake() {
    let registry = registry(kinds());
    let mistakes = bind(&registry, &two("\"first\"", "\"count\"")).unwrap_err();
    assert_eq!(places(&mistakes), [("test.toml", 6, 8)], "{mistakes}");
    let said = mistakes.to_string();
    let both = "`first` publishes the response field `text` as text, and `count` as number";
    assert!(said.contains(both), "{said}");
    let off = two("\"first\"\nenabled = false", "\"count\"");
    assert!(bind(&registry, &off).is_ok());
}

#[test]
fn a_stage_does_not_publish_what_the_response_says_of_an_upload() {
    let registry = registry(kinds());
    let file = |filename: &str| {
        let file = format!("file = {{ type = \"bytes\", filename = \"{filename}\" }}");
        format!("[pipeline]\nname = \"t\"\n[request]\n{file}\n[[stage]]\nuses = \"first\"\n")
    };
    let mistakes = bind(&registry, &file("text")).unwrap_err();
    assert_eq!(places(&mistakes), [("test.toml", 6, 8)], "{mistakes}");
    let said = mistakes.to_string();
    let clash = "`first` publishes the response field `text`, which says what the upload of `file`";
    assert!(said.contains(clash), "{said}");
    assert!(
        said.contains("name that field of the request otherwise"),
        "{said}"
    );
    let graph = bind(&registry, &file("called")).unwrap();
    assert_eq!(fields(&graph), ["text", "called"]);
}

#[test]
fn a_field_that_is_named_twice_in_the_order_is_a_mistake() {
    let order = ordered("[\"seen\", \"text\", \"seen\"]");
    let mistakes = bind(&registry(kinds()), &order).unwrap_err();
    assert!(
        mistakes
            .to_string()
            .contains("names the response field `seen` twice"),
        "{mistakes}"
    );
}
