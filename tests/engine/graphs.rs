//! How stages bind to each other, and what switching one off does.

use engine::pipeline::graph::{Source, State};
use omnizap_contract::{Input, Output, Outputs, PortType};

use crate::support::kinds::{TestKind, bind, gives, inline, registry, shows};

fn kinds() -> Vec<TestKind> {
    vec![
        gives("first", "text", "one"),
        gives("second", "text", "two"),
        shows("show", "text"),
        TestKind::new(
            "other",
            vec![Input::required("seen", PortType::Text, "text")],
            vec![Output::new("number", PortType::Number, "number")],
            inline(|_, _| Ok(Outputs::new().put("number", 1.0))),
        ),
    ]
}

const TWO: &str = r#"
[pipeline]
name = "test"
[[stage]]
uses = "first"
enabled = true
[[stage]]
uses = "second"
enabled = true
[[stage]]
uses = "show"
[[stage]]
uses = "other"
"#;

#[test]
fn a_later_output_shadows_an_earlier_one() {
    let graph = bind(&registry(kinds()), TWO).unwrap();
    assert_eq!(
        graph.nodes[2].inputs,
        [[
            Source::Stage { node: 1, output: 0 },
            Source::Stage { node: 0, output: 0 }
        ]]
    );
    assert_eq!(graph.nodes[2].depends_on, [0, 1]);
}

#[test]
fn a_disabled_stage_gives_way_to_the_next_earlier_producer() {
    let toml = TWO.replacen(
        "uses = \"second\"\nenabled = true",
        "uses = \"second\"\nenabled = false",
        1,
    );
    let graph = bind(&registry(kinds()), &toml).unwrap();
    assert_eq!(graph.nodes[1].state, State::Disabled);
    assert_eq!(
        graph.nodes[2].inputs,
        [[Source::Stage { node: 0, output: 0 }]]
    );
}

#[test]
fn what_required_only_disabled_stages_is_pruned_with_the_reason() {
    let toml = TWO.replace("enabled = true", "enabled = false");
    let graph = bind(&registry(kinds()), &toml).unwrap();
    let State::Pruned(reason) = &graph.nodes[2].state else {
        panic!("{:?}", graph.nodes[2].state);
    };
    assert!(
        reason.contains("`text`") && reason.contains("`second`, which is disabled"),
        "{reason}"
    );
    let State::Pruned(reason) = &graph.nodes[3].state else {
        panic!("{:?}", graph.nodes[3].state);
    };
    assert!(reason.contains("`show`, which is pruned"), "{reason}");
    assert!(graph.order.is_empty());
    let seen = graph
        .response
        .iter()
        .find(|field| field.name == "seen")
        .unwrap();
    assert_eq!(
        (seen.sources.len(), &seen.neutral),
        (0, &serde_json::json!("neutral"))
    );
}

#[test]
fn a_response_that_requires_a_pruned_field_is_refused_with_the_chain_of_reasons() {
    let toml = format!("{TWO}\n[response]\nrequire = [\"seen\"]")
        .replace("enabled = true", "enabled = false");
    let message = bind(&registry(kinds()), &toml).unwrap_err().to_string();
    assert!(message.contains("requires `seen`"), "{message}");
    assert!(
        message.contains("`first` is disabled") && message.contains("`show` was pruned"),
        "{message}"
    );
}

#[test]
fn a_binding_by_hand_sees_only_what_it_names() {
    let toml = TWO.replace(
        "uses = \"show\"",
        "uses = \"show\"\ninputs = { text = \"first.text\" }",
    );
    let graph = bind(&registry(kinds()), &toml).unwrap();
    assert_eq!(
        graph.nodes[2].inputs,
        [[Source::Stage { node: 0, output: 0 }]]
    );
}

#[test]
fn a_request_field_is_the_last_resort() {
    let toml = TWO.replace(
        "[[stage]]\nuses = \"first\"",
        "[request]\ntext = { type = \"text\" }\n[[stage]]\nuses = \"first\"",
    );
    let graph = bind(&registry(kinds()), &toml).unwrap();
    assert_eq!(graph.nodes[2].inputs[0].last(), Some(&Source::Request(0)));
    let off = toml.replace("enabled = true", "enabled = false");
    let graph = bind(&registry(kinds()), &off).unwrap();
    assert_eq!(graph.nodes[2].inputs, [[Source::Request(0)]]);
}
