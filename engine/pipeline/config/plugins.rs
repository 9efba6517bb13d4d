//! The `[[plugin]]` tables of a pipeline file, or of the `plugins.toml` beside it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::pipeline::diagnostic::{Diagnostics, SourceText};
use crate::pipeline::interpolate::Environment;
use crate::pipeline::reader::{Node, Reader};

/// The file beside the pipelines that allows plugins to all of them.
pub const PLUGINS_FILE: &str = "plugins.toml";
/// Most plugins of one file.
const MAX_PLUGINS: usize = 64;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// A plugin that a file allows.
#[derive(Clone, Debug)]
pub struct PluginEntry {
    /// The file that allows it.
    pub source: SourceText,
    /// Where.
    pub span: Range<usize>,
    /// The library; a relative path starts at the folder of the file that names it.
    pub path: PathBuf,
    /// The SHA-256 that the library must have, in lower-case hexadecimal.
    pub sha256: Spanned<String>,
}

/// Reads the plugins that a file allows. `only_plugins` says that the file may hold nothing
/// else; mistakes in other parts of a pipeline file are for its own reader.
pub fn read_plugins(
    source: &SourceText,
    only_plugins: bool,
    environment: Environment<'_>,
) -> (Vec<PluginEntry>, Diagnostics) {
    let mut reader = Reader::new(source, environment);
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        if only_plugins {
            reader.report_not_toml(&errors);
        }
        return (Vec::new(), reader.diagnostics);
    }
    let entries = if only_plugins {
        reader.entries(root.get_ref(), "the file", &["plugin"])
    } else {
        reader.any_entries(root.get_ref())
    };
    let Some(node) = entries.get("plugin") else {
        return (Vec::new(), reader.diagnostics);
    };
    let DeValue::Array(items) = node.get_ref() else {
        reader.wrong_type(node, "`plugin`", "a list of tables, written [[plugin]]");
        return (Vec::new(), reader.diagnostics);
    };
    if items.len() > MAX_PLUGINS {
        let many = format!("{} plugins: at most {MAX_PLUGINS} are allowed", items.len());
        let many = reader.at(node.span(), many);
        reader.report(many);
        return (Vec::new(), reader.diagnostics);
    }
    let plugins = items
        .iter()
        .filter_map(|item| read_plugin(&mut reader, item));
    let plugins: Vec<_> = plugins.collect();
    (plugins, reader.diagnostics)
}

fn read_plugin(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PluginEntry> {
    let table = reader.table(node, "`plugin`")?;
    let entries = reader.entries(table, "`plugin`", &["path", "sha256"]);
    let mut given = Vec::new();
    for key in ["path", "sha256"] {
        match entries.get(key) {
            Some(value) => given.push(reader.spanned_string(value, &format!("`{key}`"))),
            None => {
                let missing = reader.at(node.span(), format!("a plugin has no `{key}`"));
                reader.report(missing.help("`omnizap plugins allow FILE` writes the whole entry"));
                given.push(None);
            }
        }
    }
    let sha256 = given.pop()??;
    let path = given.pop()??;
    let hash = sha256.get_ref();
    if hash.len() != DIGITS
        || !hash
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        let wrong = format!("`sha256`: expected {DIGITS} hexadecimal digits in lower case");
        let wrong = reader.at(sha256.span(), wrong);
        reader.report(wrong.help("`omnizap plugins allow FILE` writes the whole entry"));
        return None;
    }
    let folder = Path::new(&*reader.source.name).parent();
    let folder = folder.unwrap_or(Path::new("")).to_owned();
    Some(PluginEntry {
        source: reader.source.clone(),
        span: path.span(),
        path: folder.join(path.get_ref()),
        sha256,
    })
}
