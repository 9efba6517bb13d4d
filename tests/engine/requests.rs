//! `[request]` and the routes of a pipeline file: what is refused, where, and with which way out.

use engine::pipeline::graph::Graph;
use engine::pipeline::render::{Format, render};
use engine::pipeline::request::{RequestLimits, Source, UnknownFields};
use omnizap_contract::{Input, Output, Outputs, PortType, Value};
use serde_json::{Value as Json, json};

use crate::support::kinds::{TestKind, bind, bind_layers, gives, inline, places, registry};

fn kinds() -> Vec<TestKind> {
    vec![
        gives("first", "text", "one"),
        TestKind::new(
            "takes",
            vec![Input::optional("text", PortType::Text, "text")],
            vec![Output::new("seen", PortType::Bool, "seen").published(Json::Null)],
            inline(|_, _| Ok(Outputs::new().put("seen", true))),
        ),
    ]
}

/// A pipeline with that field in its fourth line.
fn with(field: &str) -> String {
    format!("[pipeline]\nname = \"a\"\n[request]\n{field}\n[[stage]]\nuses = \"first\"\n")
}

/// A pipeline with those lines in its [pipeline], from the third on.
fn piped(lines: &str) -> String {
    format!("[pipeline]\nname = \"a\"\n{lines}\n[[stage]]\nuses = \"first\"\n")
}

#[track_caller]
fn fine(toml: &str) -> Graph {
    bind(&registry(kinds()), toml).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The one mistake of a file, at its place, with all of these in what is said of it.
#[track_caller]
fn refused(toml: &str, place: (usize, usize), wanted: &[&str]) {
    let mistakes = bind(&registry(kinds()), toml).unwrap_err();
    let expected = [("test.toml", place.0, place.1)];
    assert_eq!(places(&mistakes), expected, "{mistakes}");
    let said = mistakes.to_string();
    for wanted in wanted {
        assert!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
}

/// The warnings about routes.
#[track_caller]
fn hidden(toml: &str) -> Vec<String> {
    let warnings = fine(toml).warnings;
    let said = warnings.iter().map(ToString::to_string);
    said.filter(|warning| warning.contains("takes the place of"))
        .collect()
}

fn default(graph: &Graph) -> Option<Json> {
    let field = &graph.file.request[0];
    field.default.as_ref().map(Value::to_json)
}

#[test]
fn a_route_that_nobody_would_reach_is_refused_with_the_reason() {
    for (route, reason) in [
        (
            "POST /slash/",
            "the path ends in `/`; write \"POST /slash\"",
        ),
        ("GET /x/", "write \"GET /x\""),
        ("POST /../x", "clients take the part `..` out"),
        ("POST /a/../b", "clients take the part `..` out"),
        ("GET /a/.", "clients take the part `.` out"),
        ("PUT /x", "PUT is not served: GET, POST or DELETE"),
        ("post /x", "methods are upper case; write \"POST /x\""),
        ("POST /ü", "`ü` is not ASCII"),
        ("GET /x?a=b", "a query is no part of a route"),
        ("/x", "the method is missing"),
    ] {
        let wanted = [reason, "such as \"POST /classify\""];
        let quoted = format!("{route:?}");
        refused(&piped(&format!("route = {quoted}")), (3, 9), &wanted);
        let settings = piped(&format!("settings_route = {quoted}"));
        refused(&settings, (3, 18), &wanted);
    }
    let id = "route = \"POST /{id}\"\n[request]\nid = { type = \"text\", from = \"path\" }";
    fine(&piped(id));
    refused(
        &piped("route = \"POST /{id}\""),
        (3, 9),
        &["no request field `id` is `from = \"path\"`"],
    );
}

#[test]
fn the_route_and_the_route_of_the_settings_are_two() {
    let both = |route: &str, settings: &str| {
        piped(&format!(
            "route = \"{route}\"\nsettings_route = \"{settings}\""
        ))
    };
    refused(
        &both("GET /same", "GET /same"),
        (4, 18),
        &["`route` and `settings_route` are both GET /same"],
    );
    refused(
        &both("POST /x", "POST /settings"),
        (4, 18),
        &["shown to GET, not to POST", "write \"GET /settings\""],
    );
    fine(&both("POST /same", "GET /same"));
    // The place is in the file that can be changed.
    let base = piped("settings_route = \"GET /same\"");
    let over = "extends = \"base.toml\"\n[pipeline]\nroute = \"GET /same\"\n";
    let files = [("over.toml", over), ("base.toml", &*base)];
    let mistakes = bind_layers(&registry(kinds()), &files).unwrap_err();
    assert_eq!(places(&mistakes), [("over.toml", 3, 9)], "{mistakes}");
}

#[test]
fn a_route_that_hides_one_of_the_program_is_a_warning() {
    for path in ["/health", "/health/live", "/health/ready", "/pipelines"] {
        for key in ["route", "settings_route"] {
            let said = hidden(&piped(&format!("{key} = \"GET {path}\"")));
            assert_eq!(said.len(), 1, "{path}: {said:?}");
            let what = format!("`{key}`: GET {path} takes the place of");
            assert!(said[0].contains(&what), "{}", said[0]);
            assert!(said[0].starts_with("test.toml:3:"), "{}", said[0]);
        }
        assert_eq!(hidden(&piped(&format!("route = \"POST {path}\""))).len(), 0);
    }
    // One with parameters comes behind those of the program.
    let any = "route = \"GET /{id}\"\n[request]\nid = { type = \"text\", from = \"path\" }";
    assert_eq!(hidden(&piped(any)).len(), 0);
}

#[test]
fn a_default_is_held_against_its_type_and_bounds() {
    for (field, expected) in [
        (
            "a = { type = \"text_list\", default = [\"a\", \" b \", \"\"] }",
            json!(["a", "b"]),
        ),
        (
            "a = { type = \"text_list\", default = 'x, \"y, z\"' }",
            json!(["x", "y, z"]),
        ),
        ("a = { type = \"text_list\", default = [] }", json!([])),
        ("a = { type = \"text\", default = \"\" }", json!("")),
        ("a = { type = \"number\", default = 1 }", json!(1.0)),
        ("a = { type = \"integer\", default = \"5\" }", json!(5)),
        ("a = { type = \"bool\", default = \"on\" }", json!(true)),
        (
            "a = { type = \"json\", default = [1, \"x\"] }",
            json!([1, "x"]),
        ),
    ] {
        assert_eq!(default(&fine(&with(field))), Some(expected), "{field}");
    }
    for (written, expected) in [
        (
            "{ b = 1, c = [true, { d = \"x\" }] }",
            json!({ "b": 1, "c": [true, { "d": "x" }] }),
        ),
        ("'{\"b\": 1, \"c\": []}'", json!({ "b": 1, "c": [] })),
        ("' [1, \"x\"] '", json!([1, "x"])),
        ("\"${A:-{}}\"", json!({})),
        // Any other text is itself; in quotes of JSON it may be any.
        ("\"plain\"", json!("plain")),
        ("\"5\"", json!("5")),
        ("\"[draft] a\"", json!("[draft] a")),
        ("'\"[draft]\"'", json!("[draft]")),
        ("'\"a\" and \"b\"'", json!("\"a\" and \"b\"")),
    ] {
        let field = with(&format!("a = {{ type = \"json\", default = {written} }}"));
        assert_eq!(default(&fine(&field)), Some(expected), "{written}");
    }
    // A variable that is set to nothing is none.
    let unset = "a = { type = \"number\", default = \"${A:-}\" }";
    assert_eq!(default(&fine(&with(unset))), None);
    for (field, column, wanted) in [
        (
            "a = { type = \"text_list\", default = 3 }",
            37,
            "expected a list of strings, for it is of type text_list, found the integer 3",
        ),
        (
            "a = { type = \"text_list\", default = [\"a\", 1] }",
            43,
            "an item of `default` of request field `a`: expected a string",
        ),
        (
            "a = { type = \"text_list\", default = [\"a\", \"b\"], max_items = 1 }",
            37,
            "more than 1 items",
        ),
        (
            "a = { type = \"text_list\", default = [\"abc\"], item_max_chars = 2 }",
            37,
            "an item has 3 characters, at most 2",
        ),
        (
            "a = { type = \"text\", max_chars = 2, default = \"long\" }",
            47,
            "4 characters, at most 2 are allowed",
        ),
        (
            "a = { type = \"text\", one_line = true, default = \"a\\nb\" }",
            49,
            "holds a control character",
        ),
        (
            "a = { type = \"number\", min = 0, max = 1, default = 9 }",
            52,
            "expected a number from 0 to 1, found 9",
        ),
        (
            "a = { type = \"integer\", default = 1.5 }",
            35,
            "expected a whole number",
        ),
        (
            "a = { type = \"bool\", default = 1 }",
            32,
            "expected true or false, for it is of type bool, found the integer 1",
        ),
        (
            "a = { type = \"text\", default = { b = 1 } }",
            32,
            "expected a string, for it is of type text, found a table",
        ),
        (
            "a = { type = \"json\", default = '{b: 1}' }",
            32,
            "it looks like JSON and is none: key must be a string",
        ),
        (
            "a = { type = \"json\", default = \"[draft]\" }",
            32,
            "a text that only looks so stands in quotes within the quotes",
        ),
        (
            "a = { type = \"json\", default = { b = 1979-05-27 } }",
            38,
            "a list or a table, found the date 1979-05-27",
        ),
    ] {
        let said = ["`default` of request field `a`", wanted];
        refused(&with(field), (4, column), &said);
    }
}

#[test]
fn bounds_that_contradict_each_other_are_refused_at_their_place() {
    refused(
        &with("a = { type = \"number\", min = 5, max = 1, default = 9 }"),
        (4, 39),
        &["no number is at least 5 (`min`) and at most 1 (`max`)"],
    );
    refused(
        &with("a = { type = \"integer\", max = 0.8, min = 0.2 }"),
        (4, 31),
        &["no whole number"],
    );
    fine(&with("a = { type = \"number\", min = 1, max = 1 }"));
    refused(
        &with("a = { type = \"text\", required = true, default = \"x\" }"),
        (4, 49),
        &["a required field has no default", "required = false"],
    );
    refused(
        &with("a = { type = \"number\", min = \"nan\" }"),
        (4, 30),
        &["`min` of request field `a`: expected a number"],
    );
    let few = "max_fields = 1\n[request]\na = { type = \"text\", required = true }\n\
        b = { type = \"text\", required = true }";
    refused(
        &piped(few),
        (3, 14),
        &["`max_fields` is 1, and 2 fields of [request] are required"],
    );
}

#[test]
fn what_a_file_extends_gives_way_where_it_would_contradict() {
    let base = with("a = { type = \"text\", max_chars = 8, default = \"x\" }");
    let bound = |changes: &str| {
        let over = format!("extends = \"base.toml\"\n[request]\n{changes}\n");
        let files = [("over.toml", &*over), ("base.toml", &*base)];
        bind_layers(&registry(kinds()), &files)
    };
    let graph = bound("a = { required = true }").unwrap();
    assert!(graph.file.request[0].required);
    assert_eq!(default(&graph), None);
    let graph = bound("a = { type = \"number\", default = 1 }").unwrap();
    assert_eq!(graph.file.request[0].ty, PortType::Number);
    let mistakes = bound("a = { max_items = 3 }").unwrap_err();
    assert_eq!(places(&mistakes), [("over.toml", 3, 7)], "{mistakes}");
}

#[test]
fn a_key_that_does_nothing_for_the_type_is_refused() {
    for (ty, key, types) in [
        ("text", "filename = \"n\"", "it is for bytes"),
        ("text", "content_type = \"n\"", "it is for bytes"),
        ("text", "min = 1", "it is for number, integer"),
        ("text", "max = 1", "it is for number, integer"),
        ("text", "max_items = 1", "it is for text_list"),
        ("number", "max_items = 1", "it is for text_list"),
        ("number", "item_max_chars = 1", "it is for text_list"),
        ("number", "max_chars = 1", "it is for text, json"),
        ("text_list", "max_chars = 1", "it is for text, json"),
        ("bool", "one_line = true", "it is for text"),
        ("bytes", "default = \"x\"", "it is for text, text_list"),
    ] {
        let (name, _) = key.split_once(' ').unwrap();
        let what = format!("`{name}` of request field `a` does nothing for the type {ty}");
        let field = format!("a = {{ type = \"{ty}\", {key} }}");
        let column = field.find(key).unwrap() + 1;
        refused(&with(&field), (4, column), &[&what, types, "keys of a "]);
    }
    // A text may be a file by its `data:` URL.
    for key in ["accept = [\"image/png\"]", "max_bytes = 3"] {
        let (name, _) = key.split_once(' ').unwrap();
        let what = format!("`{name}` of request field `a` does nothing for a text without");
        let field = format!("a = {{ type = \"text\", {key} }}");
        let column = field.find(key).unwrap() + 1;
        refused(
            &with(&field),
            (4, column),
            &[&what, "data_url", "max_chars"],
        );
    }
    fine(&with(
        "a = { type = \"bytes\", accept = [\"image/*\", \"Text/Plain\", \"*/*\"], max_bytes = 3 }",
    ));
    refused(
        &with("a = { type = \"bytes\", accept = [\"image/png\", \"png\"] }"),
        (4, 46),
        &["\"png\" is no media type", "\"image/png\""],
    );
}

#[test]
fn the_names_of_a_requests_ports_are_each_of_one_thing() {
    refused(
        &with("f = { type = \"bytes\", filename = \"n\", content_type = \"n\" }"),
        (4, 54),
        &[
            "`content_type` of request field `f`",
            "`n` is the name of `filename`",
        ],
    );
    refused(
        &with("n = { type = \"text\" }\nf = { type = \"bytes\", filename = \"n\" }"),
        (5, 34),
        &["`n` is the name of the request field `n` already"],
    );
    refused(
        &with("f = { type = \"bytes\", filename = \"f\" }"),
        (4, 34),
        &["`f` is the name of the request field `f` already"],
    );
    refused(
        &with(
            "f = { type = \"bytes\", filename = \"n\" }\ng = { type = \"bytes\", content_type = \"n\" }",
        ),
        (5, 38),
        &["`n` is the name of `filename` of request field `f` already"],
    );
}

#[test]
fn a_name_that_says_nothing_is_refused() {
    for (name, reason) in [
        ("\"\"", "a name is not empty"),
        ("\" \"", "a name is not only blanks"),
        ("\"a\\nb\"", "it holds a control character"),
        ("true", "in a condition that is a value"),
        ("null", "in a condition that is a value"),
    ] {
        let field = format!("{name} = {{ type = \"text\" }}");
        refused(&with(&field), (4, 1), &["cannot be called", reason]);
        let port = name.trim_matches('"');
        let extra = format!("f = {{ type = \"bytes\", filename = \"{port}\" }}");
        refused(&with(&extra), (4, 34), &["cannot be called", reason]);
    }
    for name in ["my-field", "\"ação\"", "in", "for", "\"a b\""] {
        fine(&with(&format!("{name} = {{ type = \"text\" }}")));
    }
}

#[test]
fn fields_may_come_from_the_query_and_files_not() {
    let graph = fine(&with("a = { type = \"text\", from = \"query\" }"));
    assert_eq!(graph.file.request[0].source, Source::Query);
    refused(
        &with("a = { type = \"bytes\", from = \"query\" }"),
        (4, 1),
        &[
            "a query string carries no `bytes`",
            "text, text_list, number",
        ],
    );
    refused(
        &with("a = { type = \"text\", from = \"qeury\" }"),
        (4, 29),
        &["did you mean `query`?"],
    );
}

#[test]
fn a_pipeline_has_limits_of_its_own() {
    assert_eq!(fine(&piped("")).file.limits, RequestLimits::default());
    let limits =
        "max_body_bytes = 10\nmax_in_flight = 2\nmax_fields = 3\nunknown_fields = \"refuse\"";
    let expected = RequestLimits {
        max_body_bytes: Some(10),
        max_in_flight: Some(2),
        max_fields: Some(3),
        unknown_fields: UnknownFields::Refuse,
    };
    assert_eq!(fine(&piped(limits)).file.limits, expected);
    for (line, column, wanted) in [
        ("max_body_bytes = 0", 18, "a whole number from 1 to"),
        ("max_in_flight = -1", 17, "a whole number from 1 to"),
        ("max_fields = \"many\"", 14, "a whole number from 1 to"),
        (
            "unknown_fields = \"drop\"",
            18,
            "expected \"tell\" or \"refuse\"",
        ),
        ("max_body = 1", 1, "did you mean `max_body_bytes`?"),
    ] {
        refused(&piped(line), (3, column), &[wanted]);
    }
}

#[test]
fn names_cannot_break_a_drawing_of_the_graph() {
    let toml = piped("").replace(
        "uses = \"first\"",
        "uses = \"first\"\nname = 'a \"b\" [c] %%{x}%%'\n[[stage]]\nuses = \"takes\"",
    );
    let toml = toml.replace("name = \"a\"", "name = 'p \"q\" \\'");
    let graph = fine(&toml);
    let mermaid = render(&graph, Format::Mermaid);
    let label = "s0[\"a #quot;b#quot; #91;c#93; #37;#37;#123;x#125;#37;#37;\"]";
    assert!(mermaid.contains(label), "{mermaid}");
    assert!(mermaid.contains("s0 -->|\"text\"| s1"), "{mermaid}");
    let dot = render(&graph, Format::Dot);
    assert!(dot.starts_with(r#"digraph "p \"q\" \\" {"#), "{dot}");
    assert!(dot.contains(r#"label="a \"b\" [c] %%{x}%%"]"#), "{dot}");
}

#[test]
fn nothing_is_made_of_a_field_that_is_ignored() {
    let taken = |ignored: bool, stage: &str| {
        format!(
            "[pipeline]\nname = \"a\"\n[request]\ntext = {{ type = \"text\", ignored = {ignored} }}\n\
             [[stage]]\nuses = \"takes\"\n{stage}\n"
        )
    };
    let by_hand = "inputs = { text = \"request.text\" }";
    let asked = "if = 'request.text == \"x\"'";
    for stage in ["", by_hand, asked] {
        fine(&taken(false, stage));
    }
    let graph = fine(&taken(true, ""));
    assert!(graph.nodes[0].inputs[0].is_empty(), "it binds to nothing");
    for stage in [by_hand, asked] {
        let mistakes = bind(&registry(kinds()), &taken(true, stage)).unwrap_err();
        let said = mistakes.to_string();
        let what = "the request field `text` has `ignored`: nothing is made of it";
        assert!(said.contains(what), "{said}");
    }
}
