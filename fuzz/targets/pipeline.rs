//! A pipeline file: read, checked and bound with the built-in stages, and shown.

use std::sync::OnceLock;

use engine::pipeline::Registry;
use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::{Diagnostics, SourceText};
use engine::pipeline::render::{Format, render};
use omnizap_services::{Services, ServicesConfig};

const NAME: &str = "fuzzed.toml";
/// What one mistake takes at most when it is shown: message, line of the file, way out.
const MAX_SHOWN: usize = 32 << 10;

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let services = Services::new(ServicesConfig::default());
        Registry::new(omnizap_stages::builtins(&services)).expect("names of their own")
    })
}

/// Some names have a value, most have none.
fn environment(name: &str) -> Option<String> {
    match name.len() % 4 {
        0 => Some(String::new()),
        1 => Some(format!("{name}: \"it's\" ${{{name}}}")),
        _ => None,
    }
}

pub fn run(data: &[u8]) -> bool {
    let source = SourceText::decode(NAME, data);
    let bind = || bind_all(std::slice::from_ref(&source), registry(), &environment);
    match bind() {
        Ok(graphs) => {
            let [graph] = &graphs[..] else {
                panic!("{} pipelines of one file", graphs.len());
            };
            check(&graph.warnings, &source);
            for format in [Format::Text, Format::Mermaid, Format::Dot, Format::Json] {
                let shown = render(graph, format);
                // Every stage and each port that it has are shown, whatever the file is.
                let most = (64 << 10) + 64 * data.len() + (64 << 10) * graph.nodes.len();
                assert!(shown.len() <= most, "{} bytes of {format:?}", shown.len());
                if format == Format::Json {
                    let json: serde_json::Value =
                        serde_json::from_str(&shown).expect("JSON that can be read");
                    assert!(json.is_object());
                }
            }
            let again =
                bind().unwrap_or_else(|mistakes| panic!("refused the second time: {mistakes}"));
            assert_eq!(again[0].order, graph.order);
            true
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a mistake");
            check(&mistakes, &source);
            false
        }
    }
}

/// Each mistake is at a place of the file, says what, and is bounded.
fn check(mistakes: &Diagnostics, source: &SourceText) {
    let lines = source.text.split('\n').count();
    // Of the rest it is told how many they are.
    let told = mistakes.iter().count();
    assert!(told <= 256.min(mistakes.len()), "{told} mistakes");
    for mistake in mistakes.iter() {
        let place = mistake.place();
        assert_eq!(&**place.file, NAME);
        assert!((1..=lines).contains(&place.line), "line {}", place.line);
        assert!(place.column >= 1);
        let shown = mistake.to_string();
        let at = format!("{NAME}:{}:{}: ", place.line, place.column);
        let message = shown.strip_prefix(&at).unwrap_or_else(|| panic!("{shown}"));
        super::check_message(message, MAX_SHOWN);
    }
}
