//! A pipeline file and what it extends, parsed once each and laid over each other.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use omnizap_contract::common::names::suggestion;
use toml::Spanned;

use super::diagnostic::{BUILTIN, Diagnostics, SourceText};
use super::interpolate::Environment;
use super::reader::Reader;
use super::tree::{Item, Node, Table};

/// Largest pipeline file, in bytes.
pub const MAX_FILE_LEN: u64 = 1 << 20;

/// Most files that extend each other.
pub const MAX_LAYERS: usize = 8;

/// Finds the pipeline that a file extends: by the text of its `extends`, and the name of the file
/// that says so. The message of an error says what was expected.
pub type FindBase<'a> = &'a dyn Fn(&str, &str) -> Result<SourceText, String>;

/// A pipeline's texts as one tree.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The texts: first that of the file itself, then that of what it extends, and so on.
    pub source: SourceText,
    pub(super) root: Table,
}

impl Layers {
    /// Parses a file and what it extends. Only the texts, as far as they were read, where one of
    /// them is not TOML or not there.
    pub fn parse(
        source: &SourceText,
        environment: Environment<'_>,
        find: FindBase<'_>,
    ) -> (Result<Self, SourceText>, Diagnostics) {
        let mut reader = Reader::new(source, environment);
        let root = read_layers(&mut reader, find);
        let source = reader.source.clone();
        let layers = match root {
            Some(root) => Ok(Self { source, root }),
            None => Err(source),
        };
        (layers, reader.diagnostics)
    }
}

fn read_layers(reader: &mut Reader<'_>, find: FindBase<'_>) -> Option<Table> {
    let mut layers: Vec<Table> = Vec::new();
    let (mut name, mut start) = (reader.source.name.clone(), 0);
    let mut seen = vec![name.clone()];
    loop {
        let mut root = reader.parse(start)?;
        let extends = root.remove("extends");
        if !layers.is_empty() {
            // They are about that pipeline, which this file makes another one of.
            root.remove("test");
        }
        layers.push(root);
        let Some(extends) = extends else {
            break;
        };
        let wanted = reader.string(&extends, "`extends`")?;
        let refused = match find(&wanted, &name) {
            Ok(base) if seen.contains(&base.name) => {
                format!("{} extends itself", base.name)
            }
            Ok(_) if layers.len() == MAX_LAYERS => {
                format!("at most {MAX_LAYERS} files may extend each other")
            }
            Ok(base) => {
                name = base.name.clone();
                seen.push(name.clone());
                start = reader.source.append(&base);
                continue;
            }
            Err(message) => message,
        };
        let whence = reader.whence(&extends);
        let refused = reader.at(extends.span(), format!("`extends`{whence}: {refused}"));
        reader.report(refused.help(format!(
            "expected \"{BUILTIN}NAME\", or a path from the folder of this file"
        )));
        return None;
    }
    let mut root = layers.pop()?;
    while let Some(over) = layers.pop() {
        lay_over(reader, &mut root, over);
    }
    Some(root)
}

/// Lays a file over what it extends.
fn lay_over(reader: &mut Reader<'_>, root: &mut Table, over: Table) {
    for (key, node) in over {
        if key.get_ref() == "stage" && root.get("stage").is_none() {
            root.insert(
                key.clone(),
                Spanned::new(node.span(), Item::List(Vec::new())),
            );
        }
        match (key.get_ref().as_str(), root.get_mut(key.get_ref()), node) {
            ("stage", Some(Item::List(stages)), node) if node.get_ref().as_list().is_some() => {
                lay_stages_over(reader, stages, node);
            }
            ("plugin", Some(Item::List(plugins)), node) if node.get_ref().as_list().is_some() => {
                if let Item::List(more) = node.into_inner() {
                    plugins.extend(more);
                }
            }
            ("pipeline" | "response" | "request" | "defaults", Some(Item::Table(below)), node)
                if node.get_ref().as_table().is_some() =>
            {
                // What an answer looks like is one thing, of one file.
                let depth = usize::from(key.get_ref() != "response");
                if let Item::Table(over) = node.into_inner() {
                    below.lay_over(over, depth);
                }
            }
            (_, _, node) => root.insert(key, node),
        }
    }
}

/// The name of a stage, as far as it is known before variables are filled in.
fn stage_name(stage: &Node) -> Option<&str> {
    let table = stage.get_ref().as_table()?;
    let name = table.get("name").or_else(|| table.get("uses"))?;
    name.get_ref().as_str()
}

fn text<'t>(stage: &'t Node, key: &str) -> Option<&'t str> {
    stage.get_ref().as_table()?.get(key)?.get_ref().as_str()
}

/// Where a stage says how it is called.
fn name_span(stage: &Node) -> Range<usize> {
    let table = stage.get_ref().as_table();
    let name = table.and_then(|table| table.get("name").or_else(|| table.get("uses")));
    name.map_or(stage.span(), Spanned::span)
}

/// Each stage of `over` changes the one of its name, or is a new one.
fn lay_stages_over(reader: &mut Reader<'_>, stages: &mut Vec<Node>, over: Node) {
    let Item::List(over) = over.into_inner() else {
        return;
    };
    // The stages of this file, each with the place of its name.
    let mut said: HashMap<String, usize> = HashMap::new();
    for mut stage in over {
        let goes = place(reader, &mut stage);
        if let Some(name) = stage_name(&stage) {
            let at = name_span(&stage);
            let first = *said.entry(name.to_owned()).or_insert(at.start);
            // Without a `name` it would be another stage, not the same one changed again.
            if first != at.start && text(&stage, "name").is_some() {
                let line = reader.source.place(first).line;
                let twice =
                    format!("this file says twice what stage `{name}` is, first at line {line}");
                let twice = reader.at(at, twice);
                reader.report(twice.help("put both into one [[stage]]"));
                continue;
            }
        }
        let named = text(&stage, "name").map(str::to_owned);
        let below = named.as_deref().and_then(|named| {
            let mut each = stages.iter();
            each.position(|below| stage_name(below) == Some(named))
        });
        let uses = text(&stage, "uses");
        let stage = match below {
            Some(below) if uses.is_none() || uses == text(&stages[below], "uses") => {
                let mut changed = stages[below].clone();
                if let (Item::Table(changed), Item::Table(over)) =
                    (changed.get_mut(), stage.into_inner())
                {
                    changed.lay_over(over, 1);
                }
                changed
            }
            // It is of another kind, so nothing but its place stays.
            Some(_) => stage,
            None => {
                if let (Some(named), None) = (&named, uses) {
                    let unknown = format!("there is no stage `{named}` to be changed");
                    let unknown = reader.at(name_span(&stage), unknown);
                    let names = stages.iter().filter_map(stage_name);
                    reader.report(unknown.nearest(named, names));
                    continue;
                }
                stage
            }
        };
        let own = below.unwrap_or(stages.len());
        if let Some(below) = below {
            stages.remove(below);
        }
        let to = match goes {
            None => own,
            Some((where_to, anchor)) => {
                let name = anchor.get_ref();
                let found = stages
                    .iter()
                    .position(|stage| stage_name(stage) == Some(name));
                match found {
                    Some(found) => found + usize::from(where_to == "after"),
                    None => {
                        let what = format!("`{where_to}`: there is no stage `{name}`");
                        let unknown = reader.at(anchor.span(), what);
                        let names = stages.iter().filter_map(stage_name);
                        let help = suggestion(name, names).unwrap_or_default();
                        reader.report(unknown.help(help));
                        own
                    }
                }
            }
        };
        stages.insert(to.min(stages.len()), stage);
    }
}

/// Where a stage is to go, taken out of its table.
fn place(reader: &mut Reader<'_>, stage: &mut Node) -> Option<(&'static str, Spanned<String>)> {
    let Item::Table(table) = stage.get_mut() else {
        return None;
    };
    let mut found = None;
    for key in ["after", "before"] {
        let Some(node) = table.remove(key) else {
            continue;
        };
        let Some(anchor) = reader.spanned_string(&node, &format!("`{key}`")) else {
            continue;
        };
        if found.is_some() {
            let both = reader.at(
                node.span(),
                "a stage goes `after` another or `before` it, not both",
            );
            reader.report(both);
        }
        found.get_or_insert((key, anchor));
    }
    found
}

/// A path without the steps up that it takes back, for names that people read.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        let is_up = part == Component::ParentDir;
        match normal.components().next_back() {
            Some(Component::Normal(_)) if is_up => {
                normal.pop();
            }
            _ => normal.push(part),
        }
    }
    normal
}

/// Finds a base among the pipelines that the program brings, by name and text, or on disk: by its
/// path from the folder of the file that extends it.
///
/// # Errors
/// What was expected.
pub fn find_base(
    builtins: &[(&str, &str)],
    wanted: &str,
    extended_by: &str,
) -> Result<SourceText, String> {
    let folder = |file: &str| Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    // What the program brings extends only what the program brings.
    let name = match (
        wanted.strip_prefix(BUILTIN),
        extended_by.strip_prefix(BUILTIN),
    ) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(by)) => {
            let path = normal(&folder(by).join(wanted)).with_extension("");
            Some(path.display().to_string())
        }
        (None, None) => None,
    };
    if let Some(name) = name {
        let found = builtins.iter().find(|(known, _)| *known == name);
        let Some((_, text)) = found else {
            let names = builtins.iter().map(|(known, _)| *known);
            let help = suggestion(&name, names).unwrap_or_default();
            return Err(format!("the program brings no pipeline `{name}`: {help}"));
        };
        return Ok(SourceText::new(format!("{BUILTIN}{name}"), *text));
    }
    let path = folder(extended_by).join(wanted);
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
    let metadata = std::fs::metadata(&path).map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(cannot(&"it is no file"));
    }
    if metadata.len() > MAX_FILE_LEN {
        return Err(cannot(&format!("it is larger than {MAX_FILE_LEN} bytes")));
    }
    let bytes = std::fs::read(&path).map_err(|error| cannot(&error))?;
    // Steps up through a link lead elsewhere than the name says.
    let short = normal(&path);
    let is_same = short.canonicalize().ok() == path.canonicalize().ok();
    let name = if is_same { &short } else { &path };
    Ok(SourceText::decode(name.display().to_string(), &bytes))
}
