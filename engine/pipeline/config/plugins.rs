//! The `[[plugin]]` tables of a pipeline file, or of the `plugins.toml` beside it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use omnizap_contract::common::digest::{DIGITS, Sha256Hex};
use toml::Spanned;

use super::keys::{MAX_PLUGINS, PLUGIN, names};
use crate::pipeline::diagnostic::{Diagnostics, SourceText};
use crate::pipeline::interpolate::Environment;
use crate::pipeline::layers::Layers;
use crate::pipeline::reader::Reader;
use crate::pipeline::tree::{Item, Node};

/// The file beside the pipelines that allows plugins to all of them.
pub const PLUGINS_FILE: &str = "plugins.toml";

/// A plugin that a file allows.
#[derive(Clone, Debug)]
pub struct PluginEntry {
    /// The file that allows it.
    pub source: SourceText,
    /// Where.
    pub span: Range<usize>,
    /// The library; a relative path starts at the folder of the file that names it.
    pub path: PathBuf,
    /// The SHA-256 that the library must have.
    pub sha256: Spanned<Sha256Hex>,
}

/// Reads the plugins that a pipeline's files allow.
#[must_use]
pub fn read_plugins(
    layers: &Layers,
    environment: Environment<'_>,
) -> (Vec<PluginEntry>, Diagnostics) {
    let mut reader = Reader::new(&layers.source, environment);
    let plugins = read_list(&mut reader, layers.root.get("plugin"));
    (plugins, reader.diagnostics)
}

/// Reads a file that allows plugins and holds nothing else.
#[must_use]
pub fn read_allowed(
    source: &SourceText,
    environment: Environment<'_>,
) -> (Vec<PluginEntry>, Diagnostics) {
    let mut reader = Reader::new(source, environment);
    let Some(root) = reader.parse(0) else {
        return (Vec::new(), reader.diagnostics);
    };
    let entries = reader.entries(&root, "the file", &["plugin"]);
    let plugins = read_list(&mut reader, entries.get("plugin"));
    (plugins, reader.diagnostics)
}

fn read_list(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<PluginEntry> {
    let Some(node) = node else {
        return Vec::new();
    };
    let Item::List(items) = node.get_ref() else {
        reader.wrong_type(node, "`plugin`", "a list of tables, written [[plugin]]");
        return Vec::new();
    };
    if items.len() > MAX_PLUGINS {
        let many = format!("{} plugins: at most {MAX_PLUGINS} are allowed", items.len());
        let many = reader.at(node.span(), many);
        reader.report(many);
        return Vec::new();
    }
    let plugins = items.iter();
    plugins
        .filter_map(|item| read_plugin(reader, item))
        .collect()
}

fn read_plugin(reader: &mut Reader<'_>, node: &Node) -> Option<PluginEntry> {
    let table = reader.table(node, "`plugin`")?;
    let entries = reader.entries(table, "`plugin`", &names(&PLUGIN));
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
    let Some(hash) = Sha256Hex::parse(sha256.get_ref()) else {
        let wrong = format!("`sha256`: expected {DIGITS} hexadecimal digits");
        let wrong = reader.at(sha256.span(), wrong);
        reader.report(wrong.help("`omnizap plugins allow FILE` writes the whole entry"));
        return None;
    };
    let file = reader.source.file_of(path.span().start);
    let folder = Path::new(&**file).parent();
    let folder = folder.unwrap_or(Path::new("")).to_owned();
    Some(PluginEntry {
        source: reader.source.clone(),
        span: path.span(),
        path: folder.join(path.get_ref()),
        sha256: Spanned::new(sha256.span(), hash),
    })
}
