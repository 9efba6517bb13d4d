//! Pipeline files that extend others: what they change, and where their mistakes are shown.

use std::time::Duration;

use engine::pipeline::config::StageEntry;
use engine::pipeline::graph::{Graph, Source, State};
use engine::pipeline::layers::MAX_LAYERS;
use engine::pipeline::request::DEFAULT_MAX_CHARS;
use omnizap_contract::{OptionSpec, OptionType, PortType};
use serde_json::json;

use crate::support::kinds::{TestKind, bind_layers, gives, places, registry, shows};

fn kinds() -> Vec<TestKind> {
    let options = || {
        let (share, level) = (
            OptionType::Number { min: 0.0, max: 1.0 },
            OptionType::Integer { min: 1, max: 9 },
        );
        vec![
            OptionSpec::new("alpha", share, 0.4, "weight of feedback"),
            OptionSpec::new("level", level, 3, "how much"),
        ]
    };
    vec![
        gives("first", "text", "one").with_options(options()),
        gives("second", "text", "two").with_options(options()),
        gives("third", "text", "three").with_options(vec![OptionSpec::new(
            "level",
            OptionType::Integer { min: 1, max: 99 },
            3,
            "how much",
        )]),
        shows("show", "text"),
    ]
}

const BASE: &str = r#"[pipeline]
name = "base"
route = "POST /base"
deadline_ms = 1000

[request]
word = { type = "text", max_chars = 8 }

[defaults.with]
level = 4

[[stage]]
uses = "first"
with = { alpha = 0.1 }
timeout_ms = 100

[[stage]]
uses = "second"
with = { alpha = 0.9, level = 5 }

[[stage]]
uses = "show"
"#;

/// The graph of a file that extends [`BASE`] and says this.
#[track_caller]
fn over(changes: &str) -> Graph {
    let over = format!("extends = \"base.toml\"\n{changes}");
    bind(&[("over.toml", &*over), ("base.toml", BASE)])
}

#[track_caller]
fn bind(files: &[(&str, &str)]) -> Graph {
    bind_layers(&registry(kinds()), files).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Binds files, the first of which extends others; their one mistake is at this place.
#[track_caller]
fn check(files: &[(&str, &str)], place: (&str, usize, usize), wanted: &str) {
    let mistakes = bind_layers(&registry(kinds()), files).unwrap_err();
    assert_eq!(places(&mistakes), [place], "{mistakes}");
    assert!(mistakes.to_string().contains(wanted), "{mistakes}");
}

/// The same for a file that extends [`BASE`] and says this from its second line on.
#[track_caller]
fn check_over(changes: &str, place: (usize, usize), wanted: &str) {
    let over = format!("extends = \"base.toml\"\n{changes}");
    let files = [("over.toml", &*over), ("base.toml", BASE)];
    check(&files, ("over.toml", place.0, place.1), wanted);
}

fn names(graph: &Graph) -> Vec<&str> {
    let nodes = 0..graph.nodes.len();
    nodes.map(|node| graph.stage_name(node)).collect()
}

#[track_caller]
fn stage<'g>(graph: &'g Graph, name: &str) -> &'g StageEntry {
    let mut stages = graph.file.stages.iter();
    stages.find(|stage| stage.name.get_ref() == name).unwrap()
}

#[track_caller]
fn check_options(graph: &Graph, name: &str, alpha: f64, level: i64) {
    let options = &stage(graph, name).options;
    let found = ["alpha", "level"].map(|option| options.value(option));
    assert_eq!(found, [&json!(alpha), &json!(level)], "{name}");
}

fn origin(stage: &StageEntry) -> Vec<(&str, usize)> {
    let origin = stage.origin.iter();
    origin.map(|(file, line)| (&**file, *line)).collect()
}

#[test]
fn a_stage_is_changed_key_by_key_and_keeps_its_place() {
    let graph = over("[[stage]]\nname = \"second\"\nwith = { level = 7 }\nretry = 2\n");
    assert_eq!(names(&graph), ["first", "second", "show"]);
    check_options(&graph, "second", 0.9, 7);
    let second = stage(&graph, "second");
    assert_eq!((second.retry, second.timeout), (2, None));
    assert_eq!(origin(second), [("base.toml", 18), ("over.toml", 3)]);
    // Who names the kind as well, and it is the same, changes the stage too.
    let graph = over("[[stage]]\nname = \"first\"\nuses = \"first\"\nwith = { level = 7 }\n");
    check_options(&graph, "first", 0.1, 7);
    let first = stage(&graph, "first");
    assert_eq!(first.timeout, Some(Duration::from_millis(100)));
    let untouched = stage(&graph, "second");
    assert_eq!(origin(untouched), [("base.toml", 18)]);
}

#[test]
fn a_new_stage_is_the_last_or_goes_where_it_says_as_one_that_is_changed_does() {
    let new = "uses = \"first\"\nname = \"new\"";
    for (stage, expected) in [
        (new.to_owned(), ["first", "second", "show", "new"]),
        (
            format!("{new}\nafter = \"first\""),
            ["first", "new", "second", "show"],
        ),
        (
            format!("{new}\nbefore = \"first\""),
            ["new", "first", "second", "show"],
        ),
        (
            format!("{new}\n[[stage]]\nname = \"show\"\nafter = \"first\""),
            ["first", "show", "second", "new"],
        ),
        (
            format!("{new}\n[[stage]]\nname = \"second\"\nbefore = \"first\"\nretry = 1"),
            ["second", "first", "show", "new"],
        ),
        // What is new may be an anchor at once.
        (
            format!("{new}\n[[stage]]\nname = \"show\"\nafter = \"new\""),
            ["first", "second", "new", "show"],
        ),
    ] {
        let graph = over(&format!("[[stage]]\n{stage}"));
        assert_eq!(names(&graph), expected, "{stage}");
    }
}

#[test]
fn a_stage_that_uses_another_kind_takes_the_place_and_nothing_else_of_the_first() {
    let graph = over("[[stage]]\nname = \"second\"\nuses = \"first\"\n");
    assert_eq!(names(&graph), ["first", "second", "show"]);
    let second = stage(&graph, "second");
    assert_eq!(second.kind.spec().name, "first");
    assert_eq!(origin(second), [("over.toml", 3)]);
    check_options(&graph, "second", 0.4, 4);
    let graph = over("[[stage]]\nname = \"first\"\nuses = \"second\"\n");
    assert_eq!(stage(&graph, "first").timeout, None);
}

#[test]
fn a_stage_of_the_base_is_switched_off_by_two_lines() {
    let graph = over("[[stage]]\nname = \"second\"\nenabled = false\n");
    assert_eq!(graph.nodes[1].state, State::Disabled);
    assert_eq!(
        graph.nodes[2].inputs,
        [[Source::Stage { node: 0, output: 0 }]]
    );
}

#[test]
fn the_tables_of_pipeline_and_request_are_laid_over_key_by_key() {
    let request = "[request]\nword = { max_chars = 4 }\nmore = { type = \"text\" }\n";
    let graph = over(&format!("[pipeline]\nname = \"over\"\n{request}"));
    let file = &graph.file;
    assert_eq!(file.name.get_ref(), "over");
    let route = file.route.as_ref().unwrap().get_ref();
    assert_eq!(route.to_string(), "POST /base");
    assert_eq!(file.deadline, Duration::from_secs(1));
    let fields = file.request.iter();
    let fields: Vec<_> = fields
        .map(|field| (field.name.get_ref().as_str(), field.ty, field.max_chars))
        .collect();
    assert_eq!(
        fields,
        [
            ("word", PortType::Text, 4),
            ("more", PortType::Text, DEFAULT_MAX_CHARS)
        ]
    );
}

#[test]
fn a_default_reaches_every_stage_that_has_the_option_and_says_nothing_of_it() {
    let new = "[[stage]]\nuses = \"second\"\nname = \"new\"\n";
    let graph = over(new);
    check_options(&graph, "first", 0.1, 4);
    check_options(&graph, "second", 0.9, 5);
    check_options(&graph, "new", 0.4, 4);
    let graph = over(&format!("[defaults.with]\nalpha = 0.3\n{new}"));
    check_options(&graph, "first", 0.1, 4);
    check_options(&graph, "new", 0.3, 4);
    let graph = over(&format!("[defaults.with]\nlevel = 6\n{new}"));
    check_options(&graph, "first", 0.1, 6);
    check_options(&graph, "second", 0.9, 5);
    check_options(&graph, "new", 0.4, 6);
}

#[test]
fn a_wrong_default_is_one_mistake_however_many_stages_it_reaches() {
    let file = |default: &str| {
        let stages = "[[stage]]\nuses = \"first\"\n[[stage]]\nuses = \"second\"\n";
        format!("[pipeline]\nname = \"a\"\n[defaults.with]\n{default}\n{stages}")
    };
    let wrong = file("level = 10");
    let place = ("one.toml", 4, 9);
    check(&[("one.toml", &*wrong)], place, "whole number from 1 to 9");
    let unused = file("levle = 3");
    let place = ("one.toml", 4, 1);
    check(&[("one.toml", &*unused)], place, "did you mean `level`?");
    check(&[("one.toml", &*unused)], place, "has the option `levle`");
}

#[test]
fn a_default_that_every_stage_sets_itself_is_looked_at_all_the_same() {
    let file = |default: &str, kinds: [&str; 2]| {
        let stages =
            kinds.map(|kind| format!("[[stage]]\nuses = \"{kind}\"\nwith = {{ level = 1 }}\n"));
        let stages = stages.concat();
        format!("[pipeline]\nname = \"a\"\n[defaults.with]\nlevel = {default}\n{stages}")
    };
    for (default, wanted) in [
        ("10", "a whole number from 1 to 9, found 10"),
        ("\"much\"", "a whole number from 1 to 9, found \"much\""),
        ("[1]", "a whole number from 1 to 9, found a list"),
    ] {
        let wrong = file(default, ["first", "second"]);
        check(&[("one.toml", &*wrong)], ("one.toml", 4, 9), wanted);
    }
    bind(&[("one.toml", &*file("9", ["first", "second"]))]);
    // It fits one of those that have it, whichever takes it some day.
    for kinds in [["first", "third"], ["third", "first"]] {
        bind(&[("one.toml", &*file("50", kinds))]);
    }
    let wrong = file("100", ["first", "third"]);
    let place = ("one.toml", 4, 9);
    check(&[("one.toml", &*wrong)], place, "a whole number from 1 to");
}

#[test]
fn a_file_in_between_is_changed_like_any_other() {
    let over = "extends = \"between.toml\"\n[[stage]]\nname = \"new\"\nwith = { level = 8 }\n\
                [[stage]]\nname = \"first\"\nwith = { level = 7 }\n";
    let between = "extends = \"base.toml\"\n[[stage]]\nuses = \"second\"\nname = \"new\"\n\
                   with = { alpha = 0.5 }\n[[stage]]\nname = \"first\"\n\
                   with = { level = 6 }\nretry = 1\n";
    let graph = bind(&[
        ("over.toml", over),
        ("between.toml", between),
        ("base.toml", BASE),
    ]);
    assert_eq!(names(&graph), ["first", "second", "show", "new"]);
    check_options(&graph, "new", 0.5, 8);
    check_options(&graph, "first", 0.1, 7);
    let first = origin(stage(&graph, "first"));
    assert_eq!(
        first,
        [("base.toml", 13), ("between.toml", 9), ("over.toml", 6)]
    );
}

#[test]
fn what_is_extended_must_be_there_and_end_somewhere() {
    let over = "extends = \"base.toml\"\n";
    let itself = "extends = \"over.toml\"\n";
    let place = ("over.toml", 1, 11);
    check(&[("over.toml", itself)], place, "over.toml extends itself");
    let circle = [("over.toml", over), ("base.toml", itself)];
    check(&circle, ("base.toml", 1, 11), "over.toml extends itself");
    check(&[("over.toml", over)], place, "there is no base.toml");
    check(&[("over.toml", over)], place, "\"builtin:NAME\"");
    let number = "extends = 3\n";
    check(&[("over.toml", number)], place, "expected a string");
    let broken = "[pipeline]\nname = \"a\"\n[[stage]\n";
    let broken = [("over.toml", over), ("base.toml", broken)];
    check(&broken, ("base.toml", 3, 9), "not TOML");
}

#[test]
fn only_so_many_files_extend_each_other() {
    let names: Vec<String> = (1..=MAX_LAYERS + 1)
        .map(|at| format!("{at}.toml"))
        .collect();
    let each = names[1..].iter();
    let extends: Vec<String> = each.map(|name| format!("extends = {name:?}\n")).collect();
    let last = "[pipeline]\nname = \"deep\"\n";
    let chain = |length: usize| -> Vec<(&str, &str)> {
        let texts = extends[..length - 1].iter().map(String::as_str);
        let names = names.iter().map(String::as_str);
        names.zip(texts.chain([last])).collect()
    };
    let deep = bind(&chain(MAX_LAYERS));
    assert_eq!(deep.file.name.get_ref(), "deep");
    let place = (&*names[MAX_LAYERS - 1], 1, 11);
    check(&chain(MAX_LAYERS + 1), place, "at most 8 files");
}

#[test]
fn a_change_of_what_is_not_there_is_told_the_nearest() {
    let mistyped = "[[stage]]\nname = \"secnod\"\nretry = 1\n";
    check_over(mistyped, (3, 8), "there is no stage `secnod` to be changed");
    check_over(mistyped, (3, 8), "did you mean `second`?");
    let new = "[[stage]]\nuses = \"first\"\nname = \"new\"\n";
    let after = format!("{new}after = \"frist\"\n");
    check_over(&after, (5, 9), "`after`: there is no stage `frist`");
    check_over(&after, (5, 9), "did you mean `first`?");
    let both = format!("{new}after = \"first\"\nbefore = \"show\"\n");
    check_over(&both, (6, 10), "not both");
}

#[test]
fn a_file_changes_a_stage_in_one_place() {
    let twice =
        "[[stage]]\nname = \"second\"\nretry = 1\n[[stage]]\nname = \"second\"\nretry = 2\n";
    check_over(twice, (6, 8), "says twice what stage `second` is");
    check_over(twice, (6, 8), "first at line 3");
    check_over(twice, (6, 8), "put both into one [[stage]]");
    let new = "[[stage]]\nuses = \"first\"\nname = \"new\"\n[[stage]]\nname = \"new\"\nretry = 1\n";
    check_over(new, (6, 8), "first at line 4");
    let named_by_use = "[[stage]]\nuses = \"third\"\n[[stage]]\nname = \"third\"\nretry = 1\n";
    check_over(named_by_use, (5, 8), "first at line 3");
    // Each of two files may.
    let over = "extends = \"between.toml\"\n[[stage]]\nname = \"first\"\nretry = 1\n";
    let between = "extends = \"base.toml\"\n[[stage]]\nname = \"first\"\nretry = 2\n";
    let graph = bind(&[
        ("over.toml", over),
        ("between.toml", between),
        ("base.toml", BASE),
    ]);
    assert_eq!(stage(&graph, "first").retry, 1);
}

#[test]
fn who_doubles_a_stage_of_the_base_is_told_how_to_change_it() {
    let double = "[[stage]]\nuses = \"second\"\nretry = 1\n";
    check_over(double, (3, 8), "the other at line 18 of base.toml");
    check_over(double, (3, 8), "write name = \"second\" instead of uses");
    check_over(double, (3, 8), "name = \"second-2\"");
}

const EIGHT_OVER: &str = r#"extends = "base.toml"

[defaults.with]
levle = 2                                   # 1: no stage has such an option

[[stage]]
name = "secnod"                             # 2: there is no such stage to change
retry = 1

[[stage]]
uses = "first"
name = "new"
after = "frist"                             # 3: nor to come after

[[stage]]
name = "show"
run = "sometimes"                           # 4: not a word that `run` takes
"#;

const EIGHT_BASE: &str = r#"[pipeline]
name = "base"
deadline_ms = 0                             # 5: out of bounds

[request]
word = { type = "text", max_chars = -1 }    # 6: out of bounds

[[stage]]
uses = "first"
with = { alpha = "much" }                   # 7: not a number

[[stage]]
uses = "second"

[[stage]]
uses = "show"
inputs = { text = "frist.text" }            # 8: there is no such stage
"#;

#[test]
fn eight_mistakes_in_two_files_are_reported_in_one_run_each_at_its_place() {
    let files = [("over.toml", EIGHT_OVER), ("base.toml", EIGHT_BASE)];
    let mistakes = bind_layers(&registry(kinds()), &files).unwrap_err();
    let expected = [
        (("over.toml", 4, 1), "has the option `levle`"),
        (("over.toml", 7, 8), "no stage `secnod` to be changed"),
        (("over.toml", 13, 9), "`after`: there is no stage `frist`"),
        (("over.toml", 17, 7), "\"always\" or \"on demand\""),
        (("base.toml", 3, 15), "`deadline_ms`"),
        (("base.toml", 6, 37), "`max_chars`"),
        (
            ("base.toml", 10, 18),
            "a number from 0 to 1, found \"much\"",
        ),
        (("base.toml", 17, 19), "there is no stage named `frist`"),
    ];
    assert_eq!(
        places(&mistakes),
        expected.map(|(place, _)| place),
        "{mistakes}"
    );
    for (mistake, ((file, line, column), said)) in mistakes.iter().zip(expected) {
        let mistake = mistake.to_string();
        // The place is in the text for people too, above the line itself.
        let place = format!("{file}:{line}:{column}: ");
        assert!(mistake.starts_with(&place), "{mistake}");
        assert!(mistake.contains(said), "{mistake}");
        let text = if file == "over.toml" {
            EIGHT_OVER
        } else {
            EIGHT_BASE
        };
        let shown = text.lines().nth(line - 1).unwrap();
        assert!(
            mistake.contains(&format!("{line} | {shown}\n")),
            "{mistake}"
        );
    }
}
