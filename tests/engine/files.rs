//! Mistakes in pipeline files: all at once, each with its place and the way out.

use omnizap_contract::{Input, OptionSpec, OptionType, Output, Outputs, PortType};

use crate::support::kinds::{TestKind, bind, gives, inline, registry, shows, text};

fn kinds() -> Vec<TestKind> {
    let number = OptionType::Number { min: 0.0, max: 1.0 };
    let loops = || {
        TestKind::new(
            "echo",
            vec![Input::required("text", PortType::Text, "text")],
            vec![Output::new("text", PortType::Text, "text")],
            inline(|inputs, _| Ok(Outputs::new().put("text", text(inputs, "text")))),
        )
    };
    vec![
        gives("first", "text", "one").with_options(vec![OptionSpec::new(
            "alpha",
            number,
            0.4,
            "weight of feedback",
        )]),
        shows("show", "text"),
        loops(),
        TestKind::new(
            "measure",
            vec![Input::required("picture", PortType::Image, "a picture")],
            vec![Output::new("entropy", PortType::Number, "nats")],
            inline(|_, _| Ok(Outputs::new().put("entropy", 0.0))),
        ),
    ]
}

const EIGHT_MISTAKES: &str = include_str!("../fixtures/pipelines/eight_mistakes.toml");
const EIGHT_MESSAGES: &str = include_str!("../fixtures/pipelines/eight_mistakes.txt");

#[test]
fn eight_mistakes_are_reported_in_one_run() {
    let mistakes = bind(&registry(kinds()), EIGHT_MISTAKES).unwrap_err();
    let report = format!("{mistakes}\n");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/pipelines/eight_mistakes.txt"
        );
        std::fs::write(path, &report).unwrap();
    } else {
        assert_eq!(
            report, EIGHT_MESSAGES,
            "UPDATE_SNAPSHOTS=1 writes the new text"
        );
    }
    assert_eq!(mistakes.len(), 8);
}

#[track_caller]
fn check(toml: &str, position: (usize, usize), wanted: &str) {
    let mistakes = bind(&registry(kinds()), toml).unwrap_err();
    let first = mistakes.iter().next().unwrap();
    let place = first.place();
    assert_eq!((place.line, place.column), position, "{mistakes}");
    assert!(first.to_string().contains(wanted), "{mistakes}");
    assert_eq!(mistakes.len(), 1, "{mistakes}");
}

#[test]
fn each_mistake_is_found_at_its_place() {
    check("[pipeline]\nname = \"a\"\n[[stage]\n", (3, 9), "not TOML");
    check("", (1, 1), "no [pipeline] section");
    check("[pipeline]\nroute = \"GET /x\"", (1, 1), "no `name`");
    check(
        "[pipeline]\nname = \"a\"\nroute = \"FETCH /x\"",
        (3, 9),
        "POST /classify",
    );
    check(
        "[pipeline]\nname = \"a\"\nrout = \"GET /x\"",
        (3, 1),
        "did you mean `route`?",
    );
    check(
        "[pipeline]\nname = 3",
        (2, 8),
        "expected a string, found the integer 3",
    );
    check(
        "[pipeline]\nname = \"a\"\ndeadline_ms = 0",
        (3, 15),
        "from 1 to",
    );
    let request = |field: &str| format!("[pipeline]\nname = \"a\"\n[request]\nfile = {field}");
    check(&request("{}"), (4, 1), "has no `type`");
    check(
        &request("{ type = \"byte\" }"),
        (4, 17),
        "did you mean `bytes`?",
    );
    check(
        &request("{ type = \"image\" }"),
        (4, 17),
        "carries no `image`",
    );
    check(
        &request("{ type = \"text\", max_chars = -1 }"),
        (4, 37),
        "from 1 to",
    );
    check(
        &request("{ type = \"text\", default = 1 }"),
        (4, 35),
        "type text",
    );
    let stage = |rest: &str| format!("[pipeline]\nname = \"a\"\n[[stage]]\n{rest}");
    check(&stage("name = \"x\""), (3, 1), "has no `uses`");
    check(
        &stage("uses = \"first\"\non_error = \"ignore\""),
        (5, 12),
        "\"fail\" or \"skip\"",
    );
    check(&stage("uses = \"first\"\nretry = 9"), (5, 9), "from 0 to 5");
    check(
        &stage("uses = \"first\"\nenabled = \"maybe\""),
        (5, 11),
        "true or false",
    );
    check(
        &stage("uses = \"first\"\nwith = { alpha = \"${A}\" }"),
        (5, 18),
        "`A` is not set",
    );
    check(
        &stage("uses = \"first\"\nwith = { alpha = \"${A:-2}\" }"),
        (5, 18),
        "a number from 0 to 1",
    );
    check(
        &stage("uses = \"first\"\nname = \"a.b\""),
        (5, 8),
        "cannot name a stage",
    );
    let show = |rest: &str| {
        stage(&format!(
            "uses = \"first\"\n[[stage]]\nuses = \"show\"\n{rest}"
        ))
    };
    check(
        &show("inputs = { txt = \"first.text\" }"),
        (7, 12),
        "did you mean `text`?",
    );
    check(
        &show("inputs = { text = \"first\" }"),
        (7, 19),
        "stage.port",
    );
    check(
        &show("inputs = { text = \"frist.text\" }"),
        (7, 19),
        "did you mean `first`?",
    );
    check(
        &show("inputs = { text = \"first.txt\" }"),
        (7, 19),
        "did you mean `text`?",
    );
    check(
        &show("inputs = { text = \"request.text\" }"),
        (7, 19),
        "no field `text`",
    );
    check(&show("if = \"text\""), (7, 7), "expected true or false");
    check(&show("if = \"txt == 'a'\""), (7, 7), "did you mean `text`?");
}

#[test]
fn an_unknown_stage_hides_no_other_mistake_and_causes_none() {
    let toml = "[pipeline]\nname = \"a\"\n[[stage]]\nuses = \"frist\"\n[[stage]]\nuses = \"show\"";
    check(toml, (4, 8), "did you mean `first`?");
    let toml = "[pipeline]\nname = \"a\"\n[[stage]]\nuses = \"zzz\"\n[[stage]]\nuses = \"show\"";
    check(toml, (4, 8), "expected one of: echo, first, measure, show");
}

#[test]
fn a_later_producer_is_named_as_the_way_out() {
    let toml = "[pipeline]\nname = \"a\"\n[[stage]]\nuses = \"show\"\n[[stage]]\nuses = \"first\"";
    check(toml, (4, 8), "`first` gives one: move it before this stage");
}

#[test]
fn a_route_and_the_fields_from_its_path_fit_together() {
    const STAGE: &str = "[[stage]]\nuses = \"first\"\n";
    let with = |route: &str, fields: &str| {
        let pipeline = "[pipeline]\nname = \"a\"\nroute = ";
        format!("{pipeline}\"{route}\"\n[request]\n{fields}\n{STAGE}")
    };
    let hash = "hash = { type = \"text\", from = \"path\" }";
    let bound = bind(&registry(kinds()), &with("DELETE /images/{hash}", hash));
    bound.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    check(
        &with("GET /images/{hash}", "hash = { type = \"text\" }"),
        (3, 9),
        "hash = { type = \"text\", from = \"path\" }",
    );
    check(&with("GET /images", hash), (5, 1), "which has no `{hash}`");
    check(
        &with("GET /{hash}/{hash}", hash),
        (3, 9),
        "`{hash}` is in it twice",
    );
    check(
        &with(
            "GET /{hash}",
            "hash = { type = \"bytes\", from = \"path\" }",
        ),
        (5, 1),
        "text, number, integer, bool",
    );
    check(
        &with("GET /hash", "hash = { type = \"text\", from = \"paht\" }"),
        (5, 32),
        "did you mean `path`?",
    );
    check(&with("GET /{hash", ""), (3, 9), "GET /images/{hash}");
}
