//! What the messages about a pipeline file say, and where they point: values from the environment,
//! tabs and wide characters, long lines, encodings, keys that are there twice, strange folders.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::graph::Graph;
use omnizap_contract::{OptionSpec, OptionType};
use serde_json::json;
use tempfile::TempDir;

use crate::support::kinds::{TestKind, bind_layers, gives, places, registry, shows};
use crate::support::program::{root, run};

/// Two lines, after which a stage or a section may come.
const HEAD: &str = "[pipeline]\nname = \"a\"\n";

/// Longest text that one mistake may take, whatever the file holds.
const LONGEST: usize = 3000;

fn kinds() -> Vec<TestKind> {
    let number = OptionType::Number { min: 0.0, max: 1.0 };
    let count = OptionType::Integer { min: 1, max: 9 };
    vec![
        gives("asks", "text", "said").with_options(vec![
            OptionSpec {
                is_secret: true,
                ..OptionSpec::new("api_key", OptionType::Text, "", "a key")
            },
            OptionSpec::new("timeout_ms", count.clone(), 3, "its own time"),
        ]),
        gives("counts", "text", "counted").with_options(vec![
            OptionSpec::new("max_labels", count, 3, "most labels"),
            OptionSpec::new(
                "default_labels",
                OptionType::TextList,
                json!([]),
                "the labels of a request that brings none",
            ),
        ]),
        gives("first", "text", "one").with_options(vec![
            OptionSpec::new("alpha", number, 0.4, "weight of feedback"),
            OptionSpec::new("label", OptionType::Text, "", "what to call it"),
        ]),
        shows("show", "text"),
    ]
}

fn bind_source(source: SourceText, variables: &[(&str, &str)]) -> Result<Graph, Diagnostics> {
    let environment = |name: &str| {
        let mut known = variables.iter();
        let found = known.find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let mut graphs = bind_all(&[source], &registry(kinds()), &environment)?;
    Ok(graphs.remove(0))
}

fn bind(toml: &str, variables: &[(&str, &str)]) -> Result<Graph, Diagnostics> {
    bind_source(SourceText::new("test.toml", toml), variables)
}

/// A file with one stage, of which the fifth line is this.
fn stage(line: &str) -> String {
    format!("{HEAD}[[stage]]\nuses = \"first\"\n{line}\n")
}

/// The text of the one mistake of a file, which is at this place.
#[track_caller]
fn told(source: SourceText, variables: &[(&str, &str)], place: (usize, usize)) -> String {
    let mistakes = bind_source(source, variables).unwrap_err();
    let expected = [("test.toml", place.0, place.1)];
    assert_eq!(places(&mistakes), expected, "{mistakes}");
    let told = mistakes.iter().next().unwrap().to_string();
    assert!(told.len() < LONGEST, "{} bytes", told.len());
    told
}

#[track_caller]
fn check(toml: &str, variables: &[(&str, &str)], place: (usize, usize), wanted: &[&str]) {
    let told = told(SourceText::new("test.toml", toml), variables, place);
    for wanted in wanted {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}

#[test]
fn a_default_may_be_another_variable() {
    let alpha = |variables: &[(&str, &str)]| {
        let file = stage("with = { alpha = \"${A:-${B:-0.5}}\" }");
        let graph = bind(&file, variables).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        graph.file.stages[0].options.value("alpha").clone()
    };
    assert_eq!(alpha(&[]), json!(0.5));
    assert_eq!(alpha(&[("A", ""), ("B", "0.25")]), json!(0.25));
    assert_eq!(alpha(&[("A", "0.75"), ("B", "none")]), json!(0.75));
    let file = stage("with = { alpha = \"${A:-${B:-0.5}}\" }");
    // What a variable holds is no text of the file.
    check(&file, &[("A", "${B}")], (5, 18), &["found \"${B}\""]);
    let unclosed = stage("with = { alpha = \"${A:-${B:-0.5}\" }");
    check(&unclosed, &[], (5, 18), &["`${` is not closed by `}`"]);
    let deep = "${A:-".repeat(9) + &"}".repeat(9);
    let deep = stage(&format!("with = {{ label = \"{deep}\" }}"));
    check(&deep, &[], (5, 18), &["more than 8 variables"]);
}

#[test]
fn a_wrong_value_from_the_environment_is_shown_with_where_it_is_from() {
    for (line, value, column) in [
        ("timeout_ms = \"${V}\"", "abc", 14),
        ("timeout_ms = \"${V}\"", "0", 14),
        ("timeout_ms = \"${V}\"", "", 14),
        ("retry = \"${V}\"", "9", 9),
        ("max_in_flight = \"${V}\"", "many", 17),
        ("enabled = \"${V}\"", "maybe", 11),
    ] {
        let found = format!("found {value:?} (from \"${{V}}\")");
        check(&stage(line), &[("V", value)], (5, column), &[&found]);
    }
    let deadline = "[pipeline]\nname = \"a\"\ndeadline_ms = \"${V:-soon}\"\n";
    let found = "found \"soon\" (from \"${V:-soon}\")";
    check(deadline, &[], (3, 15), &[found]);
    // Without a variable there is nothing more to say.
    let plain = stage("retry = \"nine\"");
    check(&plain, &[], (5, 9), &["found the string \"nine\"\n"]);
    // A table is never the text of a variable, which may be a secret.
    let told = told(
        SourceText::new("test.toml", &*stage("with = \"${V}\"")),
        &[("V", "s3cret")],
        (5, 8),
    );
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn a_wrong_word_or_option_from_the_environment_is_shown_with_where_it_is_from() {
    for (line, value, column, said) in [
        ("run = \"${V}\"", "now", 7, "found \"now\" (from \"${V}\")"),
        (
            "on_error = \"${V}\"",
            "stop",
            12,
            "found \"stop\" (from \"${V}\")",
        ),
        (
            "on_error = \"${V:-stop}\"",
            "",
            12,
            "found \"stop\" (from \"${V:-stop}\")",
        ),
        (
            "with = { alpha = \"${V}\" }",
            "much",
            18,
            "found \"much\" (from \"${V}\")",
        ),
        (
            "with = { alpha = \"${V}\" }",
            "7",
            18,
            "from 0 to 1, found \"7\" (from \"${V}\")",
        ),
    ] {
        check(&stage(line), &[("V", value)], (5, column), &[said]);
    }
    let route = format!("{HEAD}route = \"${{V}}\"\n");
    let said = "`route` (from \"${V}\"): \"PUT /x\": PUT is not served";
    check(&route, &[("V", "PUT /x")], (3, 9), &[said]);
    let uses = format!("{HEAD}[[stage]]\nuses = \"${{V}}\"\n");
    let said = "there is no stage `frist` (from \"${V}\")";
    check(&uses, &[("V", "frist")], (4, 8), &[said]);
    let field = |key: &str| format!("{HEAD}[request]\nx = {{ {key} }}\n");
    let ty = field("type = \"${V}\"");
    let said = "a request carries no `txt` (from \"${V}\")";
    check(&ty, &[("V", "txt")], (4, 14), &[said]);
    let default = field("type = \"number\", default = \"${V}\"");
    let said = "`default` of request field `x` (from \"${V}\"): expected a number, found \"many\"";
    check(&default, &[("V", "many")], (4, 34), &[said]);
    let unknown = format!("{HEAD}unknown_fields = \"${{V}}\"\n");
    let said = "found \"drop\" (from \"${V}\")";
    check(&unknown, &[("V", "drop")], (3, 18), &[said]);
    // Without a variable there is nothing more to say.
    let plain = stage("run = \"now\"");
    check(&plain, &[], (5, 7), &["found \"now\"\n"]);
    // A secret is not shown, wherever it is from.
    let secret = format!("{HEAD}[[stage]]\nuses = \"asks\"\nwith = {{ api_key = 3 }}\n");
    check(&secret, &[], (5, 20), &["found something else\n"]);
}

/// What is said of a file with these lines in a stage that takes a key; it does not hold the key.
#[track_caller]
fn told_without_key(file: &str, wanted: &str) {
    let told = bind(file, &[]).unwrap_err().to_string();
    assert!(told.contains(wanted), "{wanted}: {told}");
    assert!(!told.contains("sk-"), "{told}");
}

#[test]
fn a_line_of_broken_toml_shows_no_secret() {
    let head = format!("{HEAD}[[stage]]\nuses = \"asks\"\n");
    let twice = format!("{head}[stage.with]\napi_key = \"sk-1\"\napi_key = 'sk-2' # sk\n");
    let said =
        "duplicate key `api_key`: the first is at line 6\n7 | api_key = '...' # sk\n  | ^^^^^^^\n";
    told_without_key(&twice, said);
    let inline = format!("{head}with = {{ api_key = \"sk-1\", api_key = \"sk-2\" }}\n");
    let said = "\n5 | with = { api_key = \"...\", api_key = \"...\" }\n  |                           ^^^^^^^\n";
    told_without_key(&inline, said);
    // It need not be called like a secret.
    let other = format!("{head}with = {{ a = \"sk-1\", a = \"sk-2\" }}\n");
    told_without_key(&other, "duplicate key `a`");
    for broken in [
        "with = { api_key = \"sk-1\" label = 3 }",
        "with = { api_key = \"sk-1 }",
        "with = { \"my token\" = \"sk-\\q\" }",
        "with.PASSWORD = 'sk-1",
    ] {
        told_without_key(&format!("{head}{broken}\n"), "5:");
    }
    // Any other line is shown.
    check(
        &stage("label = \"a\\q\""),
        &[],
        (5, 12),
        &["5 | label = \"a\\q\"\n"],
    );
}

#[test]
fn a_secret_is_hidden_wherever_it_was_written_by_mistake() {
    let head = format!("{HEAD}[[stage]]\nuses = \"asks\"\n");
    let misspelt = format!("{head}with = {{ api_kye = \"sk-1\" }}\n");
    told_without_key(&misspelt, "did you mean `api_key`?");
    let misplaced = format!("{head}api_key = \"sk-1\"\n");
    told_without_key(&misplaced, "with = { api_key = .. }");
    let default =
        format!("{HEAD}[defaults.with]\napi_kye = \"sk-1\"\n[[stage]]\nuses = \"asks\"\n");
    told_without_key(&default, "did you mean `api_key`?");
    // One that no stage takes is a secret all the same.
    let idle = format!(
        "{HEAD}[defaults]\nwith = {{ api_key = \"sk-1\", label = 1 }}\n[[stage]]\nuses = \"asks\"\n\
         with = {{ api_key = \"${{KEY:-}}\" }}\n"
    );
    told_without_key(&idle, "has the option `label`");
    // What stands in for a variable is in the file.
    let filled = format!("{head}with = {{ api_key = \"${{KEY:-sk-1}}\", label = 1 }}\n");
    told_without_key(&filled, "unknown key `label`");
    let variable = format!("{head}with = {{ api_key = \"${{KEY:-}}\", label = 1 }}\n");
    check(
        &variable,
        &[],
        (5, 32),
        &["5 | with = { api_key = \"${KEY:-}\", label = 1 }\n"],
    );
    // Where a stage goes is looked at before it is known what is secret.
    let over = "extends = \"base.toml\"\n\
        stage = [{ uses = \"asks\", after = \"frist\", with = { api_key = \"sk-1\" } }]\n";
    let base = stage("");
    let files = [("over.toml", over), ("base.toml", &*base)];
    let told = bind_layers(&registry(kinds()), &files).unwrap_err();
    let told = told.to_string();
    assert!(told.contains("there is no stage `frist`"), "{told}");
    assert!(!told.contains("sk-"), "{told}");
}

#[test]
fn an_option_that_is_called_or_placed_otherwise_is_told_how_it_is() {
    let of = |kind: &str, line: &str| format!("{HEAD}[[stage]]\nuses = \"{kind}\"\n{line}\n");
    for (line, column, help) in [
        (
            "with = { labels = [\"a\"] }",
            10,
            "did you mean `default_labels`?",
        ),
        (
            "with = { labels = \"a,b\" }",
            10,
            "did you mean `default_labels`?",
        ),
        (
            "with = { lables = [\"a\"] }",
            10,
            "did you mean `default_labels`?",
        ),
        (
            "with = { max_lables = 3 }",
            10,
            "did you mean `max_labels`?",
        ),
        (
            "labels = [\"a\"]",
            1,
            "options stand in a table of their own: with = { default_labels = .. }",
        ),
        ("max_labels = 3", 1, "with = { max_labels = .. }"),
        ("max_label = 3", 1, "with = { max_labels = .. }"),
        ("tiemout_ms = 3", 1, "did you mean `timeout_ms`?"),
        (
            "with = { retry = 3 }",
            10,
            "`retry` is a key of the stage itself",
        ),
        (
            "with = { if = \"true\" }",
            10,
            "write it beside `uses`, not in `with`",
        ),
        ("zzz = 3", 1, "expected one of: enabled, if, inputs"),
    ] {
        check(&of("counts", line), &[], (5, column), &[help]);
    }
    // What is both a key and an option is what it is called where it stands.
    let both = "with = { timeout_ms = 5 }\ntimeout_ms = 100";
    bind(&of("asks", both), &[]).unwrap();
    let default =
        |line: &str| format!("{HEAD}[defaults.with]\n{line}\n[[stage]]\nuses = \"counts\"\n");
    let labels = default("labels = [\"a\"]");
    let said = [
        "no stage of this file has the option `labels`",
        "did you mean `default_labels`?",
    ];
    check(&labels, &[], (4, 1), &said);
}

#[test]
fn the_carets_are_under_the_mistake_whatever_is_before_it() {
    let tab = "\twith = { alpha = \"much\" }";
    let tabs = "with = {\talpha\t= \"much\" }";
    let wide = "with = { label = \"日本🐈e\u{301}\", alpha = \"much\" }";
    for (line, column, carets) in [
        (tab, 19, format!("\t{}^^^^^^", " ".repeat(17))),
        (tabs, 18, "        \t     \t  ^^^^^^".to_owned()),
        (wide, 35, format!("{}^^^^^^", " ".repeat(36))),
    ] {
        let shown = format!("\n5 | {line}\n  | {carets}\n");
        check(&stage(line), &[], (5, column), &[&shown]);
    }
}

#[test]
fn a_byte_order_mark_counts_for_nothing() {
    let file = format!("\u{FEFF}x = 1\n{HEAD}");
    check(
        &file,
        &[],
        (1, 1),
        &["unknown key `x`", "\n1 | x = 1\n  | ^\n"],
    );
    let source = SourceText::decode("test.toml", file.as_bytes());
    told(source, &[], (1, 1));
}

#[test]
fn a_file_that_is_no_utf_8_is_told_with_its_first_such_byte_and_the_way_out() {
    let decoded = |bytes: &[u8]| SourceText::decode("test.toml", bytes);
    let latin = decoded(b"[pipeline]\nname = \"caf\xE9\"\nnote = \"\xE9\"\n");
    let told_latin = told(latin.clone(), &[], (2, 12));
    assert!(told_latin.contains("the byte 0xE9"), "{told_latin}");
    assert!(
        told_latin.contains("save the file as UTF-8"),
        "{told_latin}"
    );
    for mark in ["\u{FEFF}", ""] {
        let text = format!("{mark}{HEAD}");
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wide = told(decoded(&bytes), &[], (1, 1));
        assert!(wide.contains("the file is UTF-16"), "{wide}");
        assert!(wide.contains("1 | [pipeline]\n"), "{wide}");
    }
    // It hides no mistake of another file.
    let other = SourceText::new("other.toml", format!("{HEAD}x = 1\n"));
    let both = bind_all(&[latin, other], &registry(kinds()), &|_| None).unwrap_err();
    let expected = [("other.toml", 3, 1), ("test.toml", 2, 12)];
    assert_eq!(places(&both), expected, "{both}");
}

#[test]
fn a_header_of_too_many_parts_has_its_line() {
    let file = format!("{HEAD}\n[a{}]\nx = 1\n", ".a".repeat(3000));
    check(
        &file,
        &[],
        (4, 1),
        &["too many parts", "\n4 | [a.a.a", "...\n"],
    );
}

/// Telling of each would take minutes, and nobody reads that much.
#[test]
fn of_very_many_mistakes_the_first_are_told_and_how_many_more_there_are() {
    let keys = (0..100_000).map(|at| format!("k{at} = 1\n"));
    let mistakes = bind(&format!("{HEAD}{}", keys.collect::<String>()), &[]).unwrap_err();
    assert_eq!(mistakes.iter().count(), 256);
    assert_eq!(mistakes.len(), 100_000);
    let text = mistakes.to_string();
    assert!(text.contains("\nand 99744 more\n"));
    assert!(text.ends_with("\n100000 errors"));
}

#[test]
fn a_long_line_or_value_is_cut() {
    let long = "x".repeat(200_000);
    let label = stage(&format!(
        "with = {{ label = \"{long}\", alpha = \"much\" }}"
    ));
    let column = "with = { label = \"".len() + long.len() + "\", alpha = ".len() + 1;
    check(
        &label,
        &[],
        (5, column),
        &["5 | ...xx", "alpha = \"much\" }\n"],
    );
    for (line, column) in [
        (format!("with = {{ alpha = \"{long}\" }}"), 18),
        (format!("timeout_ms = \"{long}\""), 14),
        (format!("enabled = \"{long}\""), 11),
        (format!("{long} = 1"), 1),
        (format!("with = {{ {long} = 1 }}"), 10),
    ] {
        check(&stage(&line), &[], (5, column), &["xx ... xx", "xx...\n"]);
    }
    let many: String = (0..3000).fold(String::new(), |mut list, at| {
        let _ = write!(list, "\"label {at}\", ");
        list
    });
    let list = stage(&format!("with = {{ alpha = [{many}] }}"));
    check(&list, &[], (5, 18), &["found a list", "...\n"]);
}

#[test]
fn a_key_or_table_that_is_there_twice_is_told_with_the_line_of_the_first() {
    let file = format!(
        "{HEAD}[request]\nword = {{ type = \"text\" }}\n[[stage]]\nuses = \"first\"\n\
         uses = \"show\"\n[request]\nword = 3\nnonsense = 1\n"
    );
    let mistakes = bind(&file, &[]).unwrap_err();
    let expected = [("test.toml", 7, 1), ("test.toml", 8, 2)];
    assert_eq!(places(&mistakes), expected, "{mistakes}");
    let told = mistakes.to_string();
    for wanted in [
        "duplicate key `uses`: the first is at line 6",
        "duplicate table `[request]`: the first is at line 3",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
    let one = format!("{HEAD}[stage]\nuses = \"first\"\n[[stage]]\nuses = \"show\"\n[[stage]]\n");
    let wanted = "`[[stage]]` is `[stage]` at line 3: write both the same way";
    check(&one, &[], (5, 3), &[wanted]);
}

#[test]
fn what_is_passed_over_in_a_folder_is_told_and_what_is_hidden_is_no_pipeline() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(root().join("pipelines/feedback.toml"), file("a.toml")).unwrap();
    for name in [".x.toml", "._a.toml", "b.TOML", "c.yaml"] {
        std::fs::write(file(name), "no pipeline").unwrap();
    }
    symlink(file("gone"), file("x.toml")).unwrap();
    let path = folder.path().to_str().unwrap();
    let checked = run(&["check", "--pipelines", path]);
    let warned = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{warned}");
    assert_eq!(warned.matches("passed over in").count(), 1, "{warned}");
    for name in [
        "b.TOML (",
        "c.yaml (",
        "x.toml (a link that leads to no file)",
    ] {
        assert!(warned.contains(name), "{warned}");
    }
    assert!(!warned.contains(".x.toml ("), "{warned}");
}

#[test]
fn why_a_file_cannot_be_read_is_told_once() {
    let missing = run(&["check", "nowhere.toml"]);
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(78), "{told}");
    assert!(told.contains("there is no file nowhere.toml"), "{told}");
    let missing = run(&["check", "--pipelines", "nowhere"]);
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(78), "{told}");
    assert_eq!(told.matches("nowhere").count(), 1, "{told}");
    assert!(told.matches("os error 2").count() <= 1, "{told}");
}
