//! Which part of the house may know which other part: kept by reading manifests
//! and sources. Each rule is also shown a planted violation, so that a rule that
//! finds nothing is known to look.
//!
//! `contract <- host <- engine`, `contract <- validator <- main`, `host <- validator`,
//! `contract <- models`, `models, migrations <- services <- stages <- main`,
//! `contract <- stages, services, plugins/examples/*`, and nothing else; no circles, neither
//! between crates nor between the modules of one.

mod circles;
mod licences;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use omnizap_services::{Services, ServicesConfig};
use omnizap_stages::builtins;

use crate::support::program::root;

/// A file's path from the root, and its text.
type File = (String, String);

/// What each of our crates may depend on, of our own.
const ALLOWED_DEPENDENCIES: [(&str, &[&str]); 10] = [
    ("plugins/contract", &[]),
    ("plugins/sdk", &["omnizap-contract"]),
    ("plugins/host", &["omnizap-contract"]),
    ("plugins/validator", &["omnizap-contract", "omnizap-host"]),
    ("models", &["omnizap-contract"]),
    ("migrations", &[]),
    ("stages/pictures", &["omnizap-contract"]),
    (
        "stages/services",
        &["omnizap-contract", "omnizap-models", "omnizap-migrations"],
    ),
    (
        "stages",
        &[
            "omnizap-contract",
            "omnizap-models",
            "omnizap-pictures",
            "omnizap-services",
        ],
    ),
    (
        ".",
        &[
            "omnizap-contract",
            "omnizap-host",
            "omnizap-models",
            "omnizap-services",
            "omnizap-stages",
            "omnizap-validator",
        ],
    ),
];

/// The only places with unsafe code, files or the folders beside them: the two sides of the plugin
/// boundary, the constants that cross it, a setting of the allocator, the mapping of a model's file,
/// the instruction that fetches weights ahead, the kernels of AVX-512 and AMX, and the call of libwebp.
const UNSAFE: [&str; 17] = [
    "engine/allocator",
    "models/files/mapping",
    "models/net/ops/activation/avx512",
    "models/net/ops/ahead",
    "models/net/ops/matrix/avx512",
    "models/net/ops/matrix/avx512/words",
    "models/net/ops/matrix/bf16/amx",
    "models/net/ops/matrix/bf16/avx512",
    "plugins/contract/src/abi",
    "plugins/host/src/call",
    "plugins/host/src/host",
    "plugins/host/src/instance",
    "plugins/host/src/library",
    "plugins/host/src/probe",
    "plugins/sdk/src/glue",
    "plugins/sdk/src/raw",
    "stages/pictures/webp/libwebp",
];

/// The top level of the house; beside it only what tools need.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "engine",
    "stages",
    "plugins",
    "models",
    "pipelines",
    "migrations",
    "tests",
    "README.md",
];
const TOOLS: [&str; 13] = [
    "Cargo.lock",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "NOTICE",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Dockerfile",
    "deny.toml",
    "deploy",
    "docs",
    "fuzz",
];

fn files(folder: &str, extension: &str) -> Vec<File> {
    fn visit(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(folder), extension, &mut found);
    found.sort();
    let files = found.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    files.collect()
}

/// Our own crates that a manifest names.
fn own_dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = ["dependencies", "build-dependencies", "dev-dependencies"];
    let names = tables
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table());
    names
        .flat_map(|table| table.keys())
        .filter(|name| name.starts_with("omnizap"))
        .cloned()
        .collect()
}

fn foreign_dependencies(folder: &str, manifest: &str) -> Vec<String> {
    let allowed = ALLOWED_DEPENDENCIES
        .iter()
        .find(|(known, _)| *known == folder);
    // A plugin, whatever its folder, may know the contract and the SDK only.
    let known = ["omnizap-contract", "omnizap-plugin"];
    let allowed = allowed.map_or(known.as_slice(), |(_, allowed)| allowed);
    let own = own_dependencies(manifest);
    own.into_iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .collect()
}

/// Files of the engine's lib: all but the program's own.
fn is_of_the_lib(path: &str) -> bool {
    path != "engine/main.rs" && path != "engine/cli.rs" && !path.starts_with("engine/cli/")
}

/// What a file of the engine's lib says that only the program may say.
fn names_in_the_engine(text: &str, stages: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for word in [
        "omnizap_stages",
        "omnizap_services",
        "omnizap_validator",
        "omnizap_models",
        "omnizap_migrations",
        "sea_orm",
        "burn::",
    ] {
        if text.contains(word) {
            found.push(word.to_owned());
        }
    }
    for stage in stages {
        if text.contains(&format!("\"{stage}\"")) {
            found.push(format!("the stage {stage}"));
        }
    }
    let lower = text.to_lowercase();
    for word in [
        "mobileclip",
        "omnizap-mini",
        "clip_image",
        "clip_label",
        "clip_llm",
        "insert into",
        "select ",
    ] {
        if lower.contains(word) {
            found.push(word.to_owned());
        }
    }
    found
}

/// The modules of the built-in stages, as the one list of them spells them.
fn stage_modules(list: &str) -> Vec<String> {
    let mut modules: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Arc::new("))
        .filter_map(|rest| rest.split("::").next())
        .map(str::to_owned)
        .collect();
    modules.sort();
    modules.dedup();
    modules
}

/// The other stages that a stage's file refers to.
fn stages_imported(module: &str, text: &str, modules: &[String]) -> Vec<String> {
    let others = modules.iter().filter(|other| *other != module);
    others
        .filter(|other| {
            ["crate", "super"].iter().any(|base| {
                let path = format!("{base}::{other}");
                text.match_indices(&path).any(|(at, _)| {
                    let next = text[at + path.len()..].chars().next();
                    next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
                })
            })
        })
        .cloned()
        .collect()
}

/// True where a file allows itself unsafe code; every crate denies it.
fn allows_unsafe(text: &str) -> bool {
    let allowed = text.lines().map(str::trim_start);
    let mut allowed = allowed.filter(|line| !line.starts_with("//"));
    allowed.any(|line| {
        let allows = line.starts_with("unsafe_code") || line.contains("(unsafe_code");
        allows && !line.contains("forbid(")
    })
}

fn may_be_unsafe(path: &str) -> bool {
    UNSAFE.iter().any(|place| {
        let below = path.strip_prefix(place);
        below.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

fn builtin_names() -> Vec<String> {
    let services = Services::new(ServicesConfig::default());
    let kinds = builtins(&services);
    kinds
        .iter()
        .map(|kind| kind.spec().name.to_string())
        .collect()
}

#[test]
fn crates_depend_only_on_what_they_may_know() {
    for (name, manifest) in files("plugins", "toml")
        .iter()
        .filter(|(name, _)| name.ends_with("Cargo.toml"))
    {
        let folder = name.trim_end_matches("/Cargo.toml");
        assert_eq!(foreign_dependencies(folder, manifest), [""; 0], "{name}");
    }
    for (folder, _) in ALLOWED_DEPENDENCIES {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert_eq!(foreign_dependencies(folder, &manifest), [""; 0], "{folder}");
    }
    let planted = "[dependencies]\nomnizap-stages = { path = \"../stages\" }";
    assert_eq!(foreign_dependencies("models", planted), ["omnizap-stages"]);
    assert_eq!(
        foreign_dependencies("plugins/any", planted),
        ["omnizap-stages"]
    );
    assert_eq!(
        foreign_dependencies(
            "plugins/contract",
            "[dependencies]\nomnizap-contract = \"1\""
        ),
        ["omnizap-contract"]
    );
}

#[test]
fn the_engine_names_no_stage_no_model_and_no_table() {
    let stages = builtin_names();
    assert!(stages.contains(&"decode".to_owned()), "{stages:?}");
    let files = files("engine", "rs");
    assert!(
        files
            .iter()
            .any(|(name, _)| name == "engine/pipeline/run.rs")
    );
    for (name, text) in files.iter().filter(|(name, _)| is_of_the_lib(name)) {
        assert_eq!(names_in_the_engine(text, &stages), [""; 0], "{name}");
    }
    for planted in [
        "use omnizap_stages::builtins;",
        "if kind == \"decode\" {}",
        "let model = \"MobileCLIP-S1\";",
        "SELECT embedding FROM images",
    ] {
        assert_eq!(names_in_the_engine(planted, &stages).len(), 1, "{planted}");
    }
}

#[test]
fn no_stage_imports_another() {
    let list = std::fs::read_to_string(root().join("stages/lib.rs")).unwrap();
    let modules = stage_modules(&list);
    assert_eq!(modules.len(), builtin_names().len(), "{modules:?}");
    for (name, text) in files("stages", "rs") {
        let path = name.trim_start_matches("stages/").trim_end_matches(".rs");
        let module = path.split('/').next().unwrap();
        if modules.iter().any(|known| known == module) {
            assert_eq!(stages_imported(module, &text, &modules), [""; 0], "{name}");
        }
        assert!(!text.contains("engine::"), "{name} knows the engine");
    }
    assert_eq!(
        stages_imported("embed", "use crate::decode::Decode;", &modules),
        ["decode"]
    );
    assert_eq!(
        stages_imported("embed", "super::decode", &modules),
        ["decode"]
    );
    assert_eq!(
        stages_imported("embed", "use crate::decode_tables;", &modules),
        [""; 0]
    );
}

/// Where a stage names a port or an option by a string, or gives an option a second default.
fn strings_for_constants(text: &str) -> Vec<&'static str> {
    const SIGNS: [&str; 6] = [
        "inputs.value(",
        "outputs.value(",
        ".put(\"",
        "options.value(",
        "options.as_map(",
        "OptionSpec::",
    ];
    let mut found: Vec<&str> = SIGNS
        .into_iter()
        .filter(|sign| text.contains(sign))
        .collect();
    let reads = text.match_indices("options.get(");
    for (at, _) in reads {
        let statement = text[at..].split(';').next().unwrap_or_default();
        if statement.contains(".unwrap_or(") {
            found.push("a second default");
        }
    }
    found
}

#[test]
fn stages_name_ports_and_options_by_constants_and_a_default_once() {
    let list = std::fs::read_to_string(root().join("stages/lib.rs")).unwrap();
    let modules = stage_modules(&list);
    let mut seen = 0;
    for (name, text) in files("stages", "rs") {
        let path = name.trim_start_matches("stages/").trim_end_matches(".rs");
        let mut parts = path.split('/');
        let is_stage = parts
            .next()
            .is_some_and(|part| modules.iter().any(|known| known == part));
        if is_stage && parts.all(|part| part != "tests") {
            let text = circles::without_tests(&text);
            assert_eq!(strings_for_constants(&text), [""; 0], "{name}");
            seen += 1;
        }
    }
    assert!(seen > modules.len(), "{seen}");
    let planted = "let x = inputs.value(\"theme\");\nlet y = options.get(ALPHA).unwrap_or(0.4);";
    let found = strings_for_constants(planted);
    assert_eq!(found, ["inputs.value(", "a second default"]);
}

#[test]
fn the_top_level_is_the_one_of_the_design() {
    let listed = std::process::Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let top: BTreeSet<&str> = listed
        .lines()
        .filter_map(|path| path.split('/').next())
        .collect();
    for name in top {
        let known = TOP_LEVEL.contains(&name) || TOOLS.contains(&name) || name.starts_with('.');
        assert!(known, "{name} is not of the design's top level");
    }
}

#[test]
fn unsafe_code_is_at_the_boundary_only() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"deny\""));
    let mut seen = BTreeSet::new();
    for folder in [
        "engine",
        "stages",
        "models",
        "migrations",
        "plugins",
        "tests",
    ] {
        for (name, manifest) in files(folder, "toml") {
            // A workspace of its own is built by hand only, and is no part of the program.
            if name.ends_with("Cargo.toml") && !manifest.contains("[workspace]") {
                let inherits = manifest.contains("[lints]\nworkspace = true");
                assert!(inherits, "{name} does not take the workspace's lints");
            }
        }
        for (name, text) in files(folder, "rs") {
            if name != "tests/architecture.rs" && allows_unsafe(&text) {
                assert!(may_be_unsafe(&name), "{name} allows unsafe code");
                seen.insert(name);
            }
        }
    }
    assert_eq!(seen.len(), UNSAFE.len(), "{seen:?}");
    let engine = std::fs::read_to_string(root().join("engine/lib.rs")).unwrap();
    assert!(engine.contains("#![forbid(unsafe_code)]"));
    assert!(allows_unsafe("#![allow(unsafe_code, reason = \"fast\")]"));
    assert!(allows_unsafe("#[expect(\n    unsafe_code,\n)]"));
    assert!(!allows_unsafe("// allow(unsafe_code) would not do"));
    assert!(may_be_unsafe("plugins/sdk/src/glue/call.rs"));
    assert!(!may_be_unsafe("plugins/host/src/host_of_others.rs"));
}
