//! What binds to what, what is said of bindings that may not be meant, and what the response shows.

use std::time::{Duration, Instant};

use engine::pipeline::graph::Graph;
use engine::pipeline::run::Finished;
use omnizap_contract::{
    Error, ErrorKind, Input, OptionSpec, OptionType, Output, Outputs, PortType, Value,
};
use serde_json::{Value as Json, json};

use crate::support::kinds::{
    TestKind, bind, gives, inline, pipeline, places, registry, shows, text,
};

/// A kind that shows which labels it takes: those that are sent, else its own.
fn labels() -> TestKind {
    let mut echo = Output::new("labels", PortType::TextList, "labels").published(json!([]));
    echo.is_echo = true;
    TestKind::new(
        "labels",
        vec![Input::optional("labels", PortType::TextList, "labels")],
        vec![echo],
        inline(|inputs, _| {
            let sent = inputs.value("labels").cloned();
            let own = || Value::from(vec!["own".into()]);
            Ok(Outputs::new().put("labels", sent.unwrap_or_else(own)))
        }),
    )
}

/// A kind that gives a text where the request asks for it.
fn maybe() -> TestKind {
    TestKind::new(
        "maybe",
        vec![Input::optional("on", PortType::Bool, "whether")],
        vec![Output::new("text", PortType::Text, "text").optional()],
        inline(|inputs, _| {
            Ok(match inputs.value("on") {
                Some(Value::Bool(true)) => Outputs::new().put("text", "maybe"),
                _ => Outputs::new(),
            })
        }),
    )
}

/// A kind that gives numbers of a space: its own name.
fn makes(name: &'static str, space: Option<&'static str>) -> TestKind {
    let numbers = Output::new("numbers", PortType::Text, "numbers");
    TestKind::new(
        name,
        vec![],
        vec![numbers.of_space(space)],
        inline(move |_, _| Ok(Outputs::new().put("numbers", name))),
    )
}

/// A kind that shows, as a field of its own name, which numbers of a space it took.
fn takes(name: &'static str, space: Option<&'static str>) -> TestKind {
    let numbers = Input::required("numbers", PortType::Text, "numbers");
    let took = Output::new("took", PortType::Text, "what it took");
    TestKind::new(
        name,
        vec![numbers.of_space(space)],
        vec![took.published_as(name, Json::Null)],
        inline(|inputs, _| Ok(Outputs::new().put("took", text(inputs, "numbers")))),
    )
}

/// A kind that gives numbers of the space `a` where the request says that it has them.
fn keeps() -> TestKind {
    let numbers = Output::new("numbers", PortType::Text, "numbers").optional();
    TestKind::new(
        "keeps-a",
        vec![Input::optional("on", PortType::Bool, "whether")],
        vec![
            numbers.of_space(Some("a")),
            Output::new("kept", PortType::Bool, "whether it has them"),
        ],
        inline(|inputs, _| {
            let kept = matches!(inputs.value("on"), Some(Value::Bool(true)));
            let given = Outputs::new().put("kept", kept);
            Ok(if kept {
                given.put("numbers", "keeps-a")
            } else {
                given
            })
        }),
    )
}

/// An option of a whole number, which may be a time of the stage's own.
fn own_time(name: &'static str, bounds_run_ms: bool) -> OptionSpec {
    let ty = OptionType::Integer { min: 1, max: 9000 };
    OptionSpec {
        bounds_run_ms,
        ..OptionSpec::new(name, ty, 6000, "a time")
    }
}

fn kinds() -> Vec<TestKind> {
    let sees_text = |name| {
        TestKind::new(
            name,
            vec![Input::optional("text", PortType::Text, "text")],
            vec![Output::new("saw", PortType::Text, "text").published(json!("neutral"))],
            inline(|inputs, _| {
                let text = inputs.value("text").cloned();
                Ok(Outputs::new().put("saw", text.unwrap_or_else(|| "nothing".into())))
            }),
        )
    };
    vec![
        gives("first", "text", "one"),
        gives("second", "text", "two"),
        shows("show", "text"),
        sees_text("sees"),
        labels(),
        maybe(),
        makes("makes-a", Some("a")),
        makes("makes-b", Some("b")),
        makes("makes-any", None),
        takes("takes-a", Some("a")),
        takes("takes-b", Some("b")),
        takes("takes-any", None),
        keeps(),
        gives("waits", "text", "waited").with_options(vec![own_time("patience_ms", true)]),
        gives("counts", "text", "counted").with_options(vec![own_time("timeout_ms", false)]),
        TestKind::new(
            "image",
            vec![],
            vec![Output::new("image", PortType::Image, "pixels")],
            inline(|_, _| Err(Error::new(ErrorKind::Unavailable, "none"))),
        ),
        TestKind::new(
            "vector",
            vec![],
            vec![
                Output::new("vector", PortType::Json, "numbers"),
                Output::new("model", PortType::Text, "model").published(Json::Null),
            ],
            inline(|_, _| {
                let vector = Value::from(json!([0.6, 0.8]));
                Ok(Outputs::new().put("vector", vector).put("model", "small"))
            }),
        ),
        TestKind::new(
            "away",
            vec![],
            vec![Output::new("ok", PortType::Bool, "whether").published(json!(false))],
            inline(|_, _| {
                let away = Error::new(ErrorKind::Unavailable, "the store is away");
                Err(away.with_retry_after(Duration::from_secs(7)))
            }),
        ),
    ]
}

fn file(request: &str, stages: &str) -> String {
    format!("[pipeline]\nname = \"t\"\n[request]\n{request}\n{stages}\n")
}

#[track_caller]
fn fine(toml: &str) -> Graph {
    bind(&registry(kinds()), toml).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[track_caller]
fn warned(toml: &str, wanted: &[&str]) {
    let said: Vec<_> = fine(toml)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    let said = said.join("\n");
    for wanted in wanted {
        assert!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
}

#[track_caller]
fn silent(toml: &str) {
    let graph = fine(toml);
    assert!(graph.warnings.is_empty(), "{}", graph.warnings);
}

#[track_caller]
fn refused(toml: &str, wanted: &[&str]) {
    let said = bind(&registry(kinds()), toml).unwrap_err().to_string();
    for wanted in wanted {
        assert!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
}

async fn run(toml: &str, sent: &[(&str, Value)]) -> Finished {
    let pipeline = pipeline(kinds(), toml).await;
    let values = pipeline.request_values(|port| {
        let known = sent.iter().find(|(name, _)| *name == port);
        known.map(|(_, value)| value.clone())
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    pipeline.run(values, "test".into(), deadline).await
}

async fn answer(toml: &str, sent: &[(&str, Value)]) -> Json {
    Json::Object(run(toml, sent).await.result.unwrap())
}

const MAYBE: &str = "[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"maybe\"\n";

#[tokio::test]
async fn a_binding_by_hand_to_what_may_be_absent_is_pointed_out_and_may_name_what_stands_in() {
    let on = "on = { type = \"bool\" }";
    let show = |inputs: &str| file(on, &format!("{MAYBE}[[stage]]\nuses = \"show\"\n{inputs}"));
    let firm = show("inputs = { text = \"maybe.text\" }");
    warned(
        &firm,
        &[
            "`maybe.text`",
            "`maybe` may leave it out",
            "\"first.text\"",
            "is skipped then",
        ],
    );
    assert_eq!(answer(&firm, &[]).await["seen"], "neutral");
    let listed = show("inputs = { text = [\"maybe.text\", \"first.text\"] }");
    silent(&listed);
    assert_eq!(answer(&listed, &[]).await["seen"], "one");
    let on = [("on", Value::Bool(true))];
    assert_eq!(answer(&listed, &on).await["seen"], "maybe");
    silent(&show(""));
    silent(&show("inputs = { text = \"first.text\" }"));
}

#[tokio::test]
async fn an_input_may_be_unbound_and_a_required_one_may_not() {
    let sees = |inputs: &str| {
        file(
            "",
            &format!("[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"sees\"\n{inputs}"),
        )
    };
    assert_eq!(answer(&sees(""), &[]).await["saw"], "one");
    let unbound = sees("inputs = { text = \"none\" }");
    silent(&unbound);
    assert_eq!(answer(&unbound, &[]).await["saw"], "nothing");
    let show =
        "[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"show\"\ninputs = { text = \"none\" }";
    refused(
        &file("", show),
        &["needs its input `text`", "cannot be unbound"],
    );
    refused(&sees("inputs = { text = [] }"), &["1 to 16 sources"]);
    refused(
        &sees("inputs = { text = [\"none\", \"first.text\"] }"),
        &["names no output"],
    );
    refused(&sees("name = \"none\""), &["cannot name a stage"]);
}

#[tokio::test]
async fn two_of_one_kind_do_not_feed_each_other_what_they_took_for_their_own() {
    let two = "[[stage]]\nuses = \"labels\"\nname = \"kinds\"\npublish = { labels = \"kinds\" }\n[[stage]]\nuses = \"labels\"\nname = \"animals\"\n";
    let sent = [("labels", Value::from(vec!["sent".into()]))];
    let asked = file("labels = { type = \"text_list\" }", two);
    silent(&asked);
    let given = answer(&asked, &sent).await;
    assert_eq!(
        (&given["kinds"], &given["labels"]),
        (&json!(["sent"]), &json!(["sent"]))
    );
    let given = answer(&asked, &[]).await;
    assert_eq!(
        (&given["kinds"], &given["labels"]),
        (&json!(["own"]), &json!(["own"]))
    );
    // By hand it still can.
    let by_hand = format!("{two}inputs = {{ labels = \"kinds.labels\" }}");
    silent(&file("labels = { type = \"text_list\" }", &by_hand));
}

#[test]
fn fields_that_nothing_takes_are_pointed_out() {
    let labels = "[[stage]]\nuses = \"labels\"\n";
    let with = |field: &str| file(field, labels);
    silent(&with("labels = { type = \"text_list\" }"));
    warned(
        &with("labels = { type = \"text\" }"),
        &[
            "`labels` is text",
            "`labels` takes `labels` as text_list",
            "type = \"text_list\"",
        ],
    );
    warned(
        &with("lables = { type = \"text_list\" }"),
        &[
            "nothing takes the request field `lables`",
            "did you mean `labels`?",
        ],
    );
    warned(
        &with("theme = { type = \"text\" }"),
        &["nothing takes the request field `theme`"],
    );
    silent(&file(
        "theme = { type = \"text\" }",
        &format!("{labels}if = \"theme == 'a'\""),
    ));
    // A stage that is off takes it once it is on.
    silent(&file(
        "labels = { type = \"text_list\" }",
        &format!("{labels}enabled = false"),
    ));
}

#[tokio::test]
async fn a_field_of_the_response_is_renamed_hidden_or_shown() {
    let two = |first: &str, second: &str| {
        file(
            "",
            &format!(
                "[[stage]]\nuses = \"vector\"\n{first}\n[[stage]]\nuses = \"vector\"\nname = \"other\"\n{second}"
            ),
        )
    };
    warned(&two("", ""), &["both publish the response field `model`"]);
    let renamed = two(
        "",
        "publish = { model = \"other_model\", vector = \"numbers\" }",
    );
    silent(&renamed);
    let given = answer(&renamed, &[]).await;
    assert_eq!(
        given,
        json!({"model": "small", "other_model": "small", "numbers": [0.6, 0.8]})
    );
    let hidden = two(
        "publish = false",
        "publish = { model = false, vector = \"vector\" }",
    );
    assert_eq!(answer(&hidden, &[]).await, json!({"vector": [0.6, 0.8]}));
    refused(
        &two("publish = { modle = \"x\" }", ""),
        &["has no output `modle`", "did you mean `model`?"],
    );
    refused(
        &two("publish = { model = \"\" }", ""),
        &["cannot name a field"],
    );
    refused(&two("publish = { model = 1 }", ""), &["or false"]);
    refused(&two("publish = true", ""), &["false for nothing of it"]);
    refused(
        &file(
            "",
            "[[stage]]\nuses = \"image\"\npublish = { image = \"image\" }",
        ),
        &["no response shows that"],
    );
    let order = "[response]\norder = [\"other_model\", \"model\"]\nrequire = [\"other_model\"]\n";
    fine(&format!("{renamed}\n{order}"));
}

#[tokio::test]
async fn an_answer_without_what_it_must_have_is_none() {
    let ok = "[response]\nrequire = [\"ok\"]\n[[stage]]\nuses = \"away\"\non_error = \"skip\"";
    let failure = run(&file("", ok), &[]).await.result.unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
    assert_eq!(failure.stage.as_deref(), Some("away"));
    assert_eq!(failure.error.retry_after(), Some(Duration::from_secs(7)));
    assert!(failure.error.message().contains("`ok`"), "{failure}");
    let seen = format!(
        "[response]\nrequire = [\"seen\"]\n{MAYBE}[[stage]]\nuses = \"show\"\nif = \"on == true\""
    );
    let seen = file("on = { type = \"bool\" }", &seen);
    let failure = run(&seen, &[]).await.result.unwrap_err();
    assert_eq!(failure.error.code(), "incomplete_answer");
    let on = [("on", Value::Bool(true))];
    assert_eq!(answer(&seen, &on).await["seen"], "maybe");
}

#[test]
fn what_a_condition_cannot_see_is_told_with_the_way_out() {
    let condition = |text: &str| {
        file(
            "my-field = { type = \"text\" }\nfile = { type = \"bytes\" }\n\"ação\" = { type = \"text\" }",
            &format!(
                "{MAYBE}[[stage]]\nuses = \"show\"\nif = \"\"\"{text}\"\"\"\n[[stage]]\nuses = \"labels\""
            ),
        )
    };
    refused(
        &condition("labels == ['a']"),
        &["`labels` gives it", "move `labels` before"],
    );
    refused(
        &condition("labels.ran"),
        &["comes after this stage", "move `labels` before it"],
    );
    refused(&condition("seen == 'a'"), &["what this stage gives itself"]);
    refused(&condition("my-field == 'a'"), &["write `my-field`"]);
    refused(&condition("ação == 'a'"), &["in backticks"]);
    refused(
        &condition("file == 'a'"),
        &["cannot look into it", "has(file)"],
    );
    refused(
        &condition("first == 'a'"),
        &["is a stage", "first.text", "first.ran"],
    );
    refused(
        &condition("request.fiel == null"),
        &["no field `fiel`", "did you mean `file`?"],
    );
    refused(
        &condition("first.txt == 'a'"),
        &["no output `txt`", "did you mean `text`?"],
    );
    refused(
        &condition("maybe.text.contains('a')"),
        &["`maybe` may leave it out"],
    );
    for text in [
        "has(file)",
        "file != null",
        "`my-field` == 'a'",
        "request.`my-field` == 'a'",
        "`ação` != null",
        "first.ran && first.text.contains('o')",
        "text.contains('o')",
    ] {
        fine(&condition(text));
    }
}

#[test]
fn who_gives_what_is_missing_is_told() {
    let show = file("", "[[stage]]\nuses = \"show\"");
    refused(
        &show,
        &[
            "needs the input `text`",
            "`first`",
            "put it before this stage",
        ],
    );
    // Another text is hardly what is meant.
    let named = "[[stage]]\nuses = \"vector\"\n[[stage]]\nuses = \"show\"";
    let said = bind(&registry(kinds()), &file("", named))
        .unwrap_err()
        .to_string();
    assert!(!said.contains("vector.model"), "{said}");
}

#[test]
fn times_that_never_come_to_pass_are_pointed_out() {
    let stage = |more: &str| {
        format!("[pipeline]\nname = \"t\"\ndeadline_ms = 100\n[[stage]]\nuses = \"first\"\n{more}")
    };
    warned(
        &stage("timeout_ms = 5000"),
        &["5000", "deadline 100", "deadline_ms"],
    );
    silent(&stage("timeout_ms = 50"));
}

#[test]
fn a_time_of_the_stage_itself_is_known_by_its_mark_and_not_by_its_name() {
    let stage = |uses: &str, option: &str| {
        let more = format!("uses = {uses:?}\ntimeout_ms = 2000\nwith = {{ {option} }}");
        file("", &format!("[[stage]]\n{more}"))
    };
    warned(
        &stage("waits", "patience_ms = 2000"),
        &["ends it before its own option `patience_ms` of 2000 does"],
    );
    warned(&stage("waits", ""), &["`patience_ms` of 6000"]);
    silent(&stage("waits", "patience_ms = 1999"));
    silent(&stage("counts", "timeout_ms = 6000"));
}

/// Stages of these kinds, one after the other.
fn stages(uses: &[&str]) -> String {
    let stages = uses.iter();
    stages
        .map(|uses| format!("[[stage]]\nuses = {uses:?}\n"))
        .collect()
}

#[tokio::test]
async fn each_takes_what_is_of_its_own_space() {
    for uses in [
        ["makes-a", "makes-b", "takes-a", "takes-b"],
        ["makes-b", "makes-a", "takes-a", "takes-b"],
        ["makes-b", "makes-a", "takes-b", "takes-a"],
        ["makes-a", "takes-a", "makes-b", "takes-b"],
    ] {
        let toml = file("", &stages(&uses));
        silent(&toml);
        let given = answer(&toml, &[]).await;
        let expected = json!({"takes-a": "makes-a", "takes-b": "makes-b"});
        assert_eq!(given, expected, "{uses:?}");
    }
    // What is of no known space fits all, and is the nearer one as ever.
    let any = file("", &stages(&["makes-a", "makes-any", "takes-b"]));
    assert_eq!(answer(&any, &[]).await["takes-b"], "makes-any");
    let any = file("", &stages(&["makes-a", "makes-b", "takes-any"]));
    assert_eq!(answer(&any, &[]).await["takes-any"], "makes-b");
}

#[test]
fn what_is_of_another_space_is_refused_where_it_is_bound() {
    let said = "input `numbers` of `takes-b` is of the model `b` and `makes-a.numbers` of `a`: \
                give both stages the same model";
    let bind_numbers = |uses: &[&str], from: &str| {
        let bound = format!("{}inputs = {{ numbers = {from} }}", stages(uses));
        file("", &bound)
    };
    for (uses, from, line, column) in [
        (&["makes-a", "takes-b"][..], "\"makes-a.numbers\"", 9, 22),
        (
            &["makes-a", "makes-b", "takes-b"],
            "[\"makes-b.numbers\", \"makes-a.numbers\"]",
            11,
            42,
        ),
    ] {
        let toml = bind_numbers(uses, from);
        refused(&toml, &[said]);
        let mistakes = bind(&registry(kinds()), &toml).unwrap_err();
        assert_eq!(places(&mistakes), [("test.toml", line, column)], "{toml}");
    }
    let other = bind_numbers(&["makes-b", "makes-a", "takes-b"], "\"makes-a.numbers\"");
    refused(
        &other,
        &[said, "or bind it to `makes-b.numbers`, which is of"],
    );
    for (uses, from) in [
        (["makes-any", "takes-b"], "\"makes-any.numbers\""),
        (["makes-a", "takes-any"], "\"makes-a.numbers\""),
        (["makes-b", "takes-b"], "\"makes-b.numbers\""),
    ] {
        silent(&bind_numbers(&uses, from));
    }
    // The same is said where nothing else is there to be taken.
    let alone = file("", &stages(&["makes-a", "takes-b"]));
    refused(&alone, &[said]);
    let mistakes = bind(&registry(kinds()), &alone).unwrap_err();
    assert_eq!(places(&mistakes), [("test.toml", 8, 8)]);
    refused(
        &file("", &stages(&["makes-a", "takes-b", "makes-b"])),
        &[said, "`makes-b` gives one: move it before this stage"],
    );
}

#[tokio::test]
async fn what_is_off_is_of_no_space() {
    let with = |a: bool, b: bool, from: &str| {
        let stages = format!(
            "[[stage]]\nuses = \"makes-a\"\nenabled = {a}\n[[stage]]\nuses = \"makes-b\"\n\
             enabled = {b}\n[[stage]]\nuses = \"takes-b\"\n{from}\n"
        );
        file("", &stages)
    };
    let both = "inputs = { numbers = [\"makes-a.numbers\", \"makes-b.numbers\"] }";
    refused(&with(true, true, both), &["give both stages the same"]);
    let chosen = with(false, true, both);
    silent(&chosen);
    assert_eq!(answer(&chosen, &[]).await["takes-b"], "makes-b");
    // Without what it needs it is pruned, as it is where nothing is of a space.
    fine(&with(false, false, ""));
    fine(&with(true, true, "enabled = false"));
    fine(&with(true, true, &format!("{both}\nenabled = false")));
}

#[tokio::test]
async fn what_is_kept_of_another_space_does_not_stand_in_and_that_is_pointed_out() {
    let on = "on = { type = \"bool\" }";
    let kept = |space: &str| {
        let stages = format!(
            "[[stage]]\nuses = \"keeps-a\"\n[[stage]]\nuses = \"makes-{space}\"\nif = \"!kept\"\n\
             [[stage]]\nuses = \"takes-{space}\"\n"
        );
        file(on, &stages)
    };
    let yes = [("on", Value::Bool(true))];
    silent(&kept("a"));
    assert_eq!(answer(&kept("a"), &yes).await["takes-a"], "keeps-a");
    assert_eq!(answer(&kept("a"), &[]).await["takes-a"], "makes-a");
    let said = "the `if` of `makes-b` asks `keeps-a`, whose `numbers` is of the model `a` and not, \
                as `takes-b` takes it, of `b`: where `makes-b` does not run, `takes-b` is skipped";
    warned(&kept("b"), &[said, "give all three the same model"]);
    assert_eq!(answer(&kept("b"), &yes).await["takes-b"], Json::Null);
    assert_eq!(answer(&kept("b"), &[]).await["takes-b"], "makes-b");
    let by_hand = format!("{}inputs = {{ numbers = \"makes-b.numbers\" }}", kept("b"));
    warned(&by_hand, &[said]);
    // Two that run side by side are not meant to stand in for each other.
    silent(&file(
        on,
        &stages(&["keeps-a", "makes-a", "makes-b", "takes-a", "takes-b"]),
    ));
}

#[test]
fn what_an_answer_must_have_is_there() {
    let gate = |require: &str, more: &str| {
        format!(
            "[pipeline]\nname = \"t\"\n{require}\n[request]\non = {{ type = \"bool\" }}\n[[stage]]\nuses = \"first\"\nif = \"on == true\"\n[[stage]]\nuses = \"show\"\n{more}\n[[stage]]\nuses = \"sees\"\nif = \"CONDITION\"\n"
        )
    };
    let required = "[response]\nrequire = [\"seen\"]";
    for condition in [
        "seen.contains('o')",
        "show.seen == 'x' || !seen.contains('o')",
        "text.contains('o')",
    ] {
        fine(&gate(required, "").replace("CONDITION", condition));
        fine(&gate(required, "on_error = \"skip\"").replace("CONDITION", condition));
        refused(
            &gate("", "").replace("CONDITION", condition),
            &["may be null"],
        );
    }
}
