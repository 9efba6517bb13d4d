//! The ABI's structs: the C compiler's layout, Rust's, and the one that was first released.

use std::fmt::Write as _;
use std::process::Command;

use omnizap_contract::abi;
use tempfile::TempDir;

use super::succeed;
use crate::support::program::root;

fn table(layouts: &[abi::Layout]) -> String {
    let mut text = String::new();
    for (name, size, fields) in layouts {
        writeln!(text, "{name} {size}").unwrap();
        for (field, offset) in fields {
            writeln!(text, "  {} {offset}", field.trim_start_matches("r#")).unwrap();
        }
    }
    text
}

#[test]
fn the_header_and_rust_agree_on_every_size_and_offset() {
    let layouts = abi::layouts();
    let mut program =
        String::from("#include <stdio.h>\n#include \"omnizap_plugin.h\"\nint main(void) {\n");
    for (name, _, fields) in &layouts {
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));").unwrap();
        for (field, _) in fields {
            let field = field.trim_start_matches("r#");
            writeln!(
                program,
                "printf(\"  {field} %zu\\n\", offsetof({name}, {field}));"
            )
            .unwrap();
        }
    }
    program.push_str("return 0; }\n");
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("layout.c");
    let binary = folder.path().join("layout");
    std::fs::write(&source, program).unwrap();
    succeed(
        Command::new("cc")
            .arg("-I")
            .arg(root().join("plugins/contract/include"))
            .arg(&source)
            .arg("-o")
            .arg(&binary),
    );
    let printed = Command::new(&binary).output().unwrap().stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), table(&layouts));
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_layout_of_abi_1_0_has_not_changed() {
    let path = root().join("tests/fixtures/plugins/abi_1_0.txt");
    let frozen = std::fs::read_to_string(path).unwrap();
    let now = table(&abi::layouts());
    // Structs may grow at their end and new ones may come: every line of the first version
    // but the sizes must still be there, in its place.
    let mut lines = now.lines();
    for wanted in frozen.lines() {
        let is_size = !wanted.starts_with(' ');
        let name = wanted.split(' ').next().unwrap();
        let found = lines.any(|line| {
            if is_size {
                line.split(' ').next() == Some(name)
            } else {
                line == wanted
            }
        });
        assert!(found, "{wanted:?} is gone or moved:\n{now}");
    }
}
