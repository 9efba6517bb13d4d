//! A pipeline file, read and checked on its own: TOML in, a [`PipelineFile`] or
//! all of its mistakes out. What depends on how stages fit together is
//! [`super::graph`]'s.

mod case;
pub mod keys;
mod plugins;
mod response;
mod route;
mod stage;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{Error, Kind, OptionSpec, Options};
use toml::Spanned;

use self::case::read_cases;
pub use self::plugins::{PLUGINS_FILE, PluginEntry, read_allowed, read_plugins};
pub use self::response::{Answer, ErrorForm, Of};
pub use self::route::{OwnRoute, Route};
use self::stage::{read_stages, report_duplicate_names};
use super::case::Case;
use super::condition::Condition;
use super::diagnostic::{Diagnostics, SourceText};
use super::interpolate::Environment;
use super::layers::Layers;
use super::options::{check_default, is_written, meant};
use super::reader::{Entries, Reader};
use super::registry::Registry;
use super::request::{Field, RequestLimits, check_one_of, read_limits, read_one_of, read_request};
use super::tree::{Node, Table};

/// The deadline of a request whose pipeline sets no `deadline_ms`.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Most stages of a pipeline.
pub const MAX_STAGES: usize = 256;
/// Longest `description`, in characters.
pub const MAX_DESCRIPTION: usize = 1000;
/// Largest `retry`.
pub const MAX_RETRIES: u32 = 5;
/// Largest `max_in_flight`.
pub const MAX_IN_FLIGHT: usize = 4096;
/// What stands in `order` of the response for the fields that it does not name.
pub const REST: &str = "...";
/// What a route looks like, for messages.
const ROUTE_FORM: &str =
    "a route is a method and a path, such as \"POST /classify\" or \"GET /images/{hash}\"";
/// The name under which bindings and messages refer to the request.
pub const REQUEST: &str = "request";

/// A pipeline file without mistakes of its own.
#[derive(Clone)]
pub struct PipelineFile {
    /// Name and text of the file.
    pub source: SourceText,
    /// The pipeline's name, unique among its set.
    pub name: Spanned<String>,
    /// What it does, for clients.
    pub description: Option<String>,
    /// Where HTTP reaches it.
    pub route: Option<Spanned<Route>>,
    /// Where HTTP shows the settings in force.
    pub settings_route: Option<Spanned<Route>>,
    /// True where its routes are for administrators.
    pub is_admin: bool,
    /// The longest that one request may take.
    pub deadline: Duration,
    /// Fields of the request.
    pub request: Vec<Field>,
    /// Bounds on the requests as a whole, and what a field means that is none of those.
    pub limits: RequestLimits,
    /// Stages, in the order of the file, switched-off ones too.
    pub stages: Vec<StageEntry>,
    /// Fields of the response that need a live producer.
    pub require: Vec<Spanned<String>>,
    /// The order of the response's fields; [`REST`] stands for those that are not named.
    pub shown: Vec<Spanned<String>>,
    /// What an answer looks like where it is not those fields.
    pub answer: Answer,
    /// Fields of the request of which there is exactly one in each.
    pub one_of: Vec<Spanned<String>>,
    /// The tests of the file itself; those of what it extends are of that.
    pub cases: Arc<[Case]>,
    /// True where a stage or a field could not be read at all, so that what it would have
    /// given is unknown, and a missing input may be missing for that reason only.
    pub has_unreadable_part: bool,
    /// Where the texts hold secrets.
    pub secrets: Vec<Range<usize>>,
    /// What is allowed in the file and may not be meant.
    pub warnings: Diagnostics,
}

impl fmt::Debug for PipelineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipelineFile({})", self.source.name)
    }
}

impl PipelineFile {
    /// Refuses a request that brings none of the fields of `one_of`, or several.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](omnizap_contract::ErrorKind::Invalid), naming those that were meant.
    pub fn check_one_of(&self, is_given: &dyn Fn(&str) -> bool) -> Result<(), Error> {
        check_one_of(&self.one_of, is_given)
    }
}

/// One `[[stage]]`.
#[derive(Clone)]
pub struct StageEntry {
    /// Its own name: `name`, else what it uses.
    pub name: Spanned<String>,
    /// The files that say something of it, each with the line where it begins to.
    pub origin: Vec<(Arc<str>, usize)>,
    /// The kind that `uses` names.
    pub kind: Arc<dyn Kind>,
    /// False where the file switches it off.
    pub enabled: bool,
    /// True where a variable of the environment can switch it off, though it may be on now.
    pub is_toggled: bool,
    /// Its options, complete and checked.
    pub options: Options,
    /// Where the file sets an option: its name, and the place of its value.
    pub option_spans: Vec<(String, Range<usize>)>,
    /// Bindings by hand.
    pub inputs: Vec<Binding>,
    /// What the response shows of its outputs, where the file says so.
    pub publish: Published,
    /// When to run it at all.
    pub condition: Option<Spanned<Condition>>,
    /// True where it runs only where what it gives is needed.
    pub on_demand: bool,
    /// The longest that one attempt may take.
    pub timeout: Option<Duration>,
    /// Where it says so.
    pub timeout_span: Range<usize>,
    /// How often to try again after a transient error.
    pub retry: u32,
    /// What a failure means for the request.
    pub on_error: OnError,
    /// Most runs of this stage at one time; further ones wait.
    pub max_in_flight: Option<usize>,
    /// The longest wait for a place to run; without it the request's deadline.
    pub max_wait: Option<Duration>,
}

/// An input that is bound by hand.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The input.
    pub port: Spanned<String>,
    /// `stage.port` to take it from, the first that has a value; none where it is unbound.
    pub from: Vec<Spanned<String>>,
}

/// What the response shows of a stage.
#[derive(Clone, Debug)]
pub enum Published {
    /// What its kind says, but for these outputs.
    Ports(Vec<(Spanned<String>, PublishAs)>),
    /// Nothing.
    Nothing,
}

/// How an output is shown.
#[derive(Clone, Debug)]
pub enum PublishAs {
    /// As this field.
    Field(Spanned<String>),
    /// Not at all.
    Hidden,
}

/// What a failing stage means for its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The request fails.
    #[default]
    Fail,
    /// The stage counts as skipped, but for what is wrong with the request itself.
    Skip,
    /// The stage counts as skipped, whatever went wrong.
    SkipAll,
}

/// Reads a pipeline file.
///
/// Gives every mistake that can be found without binding its stages, and, where
/// it is whole enough for [`super::graph`] to look for more, the file itself.
pub fn read_pipeline(
    layers: &Layers,
    registry: &Registry,
    environment: Environment<'_>,
) -> (Option<PipelineFile>, Diagnostics) {
    let mut reader = Reader::new(&layers.source, environment);
    let file = read_root(&mut reader, &layers.root, registry);
    let mut mistakes = reader.diagnostics;
    mistakes.conceal(&reader.source, &reader.secrets);
    (file, mistakes)
}

fn read_root(reader: &mut Reader<'_>, root: &Table, registry: &Registry) -> Option<PipelineFile> {
    // `plugin` was read before, by `read_plugins`: what it brings is in the registry.
    let entries = reader.entries(root, "the file", &keys::names(&keys::FILE));

    let (request, has_unreadable_field) = entries
        .get(REQUEST)
        .map(|node| read_request(reader, node))
        .unwrap_or_default();
    let (mut name, mut description) = (None, None);
    let (mut route, mut settings_route, mut deadline) = (None, None, DEFAULT_DEADLINE);
    let (mut limits, mut is_admin) = (RequestLimits::default(), false);
    let mut one_of = Vec::new();
    if let Some(node) = entries.get("pipeline") {
        if let Some(table) = reader.table(node, "`pipeline`") {
            let entries = reader.entries(table, "`pipeline`", &keys::names(&keys::PIPELINE));
            name = read_name(reader, &entries, node.span());
            description = read_description(reader, &entries);
            route = read_route(reader, &entries, "route");
            settings_route = read_route(reader, &entries, "settings_route");
            if let Some(node) = entries.get("deadline_ms") {
                deadline = reader
                    .milliseconds(node, "`deadline_ms`")
                    .unwrap_or(deadline);
            }
            if let Some(node) = entries.get("admin") {
                // What cannot be read is no file without mistakes.
                is_admin = reader.bool(node, "`admin`").unwrap_or(true);
            }
            one_of = read_one_of(reader, &entries, &request, has_unreadable_field);
            limits = read_limits(reader, &entries, &request);
        }
    } else {
        let missing = reader.at(0..0, "the file has no [pipeline] section");
        reader.report(missing.help("begin with: [pipeline] and name = \"...\""));
    }
    let response = entries
        .get("response")
        .map(|node| response::read(reader, node))
        .unwrap_or_default();
    let defaults = entries
        .get("defaults")
        .and_then(|node| read_defaults(reader, node))
        .unwrap_or_default();
    let (stages, has_unreadable_stage) = entries
        .get("stage")
        .map(|node| read_stages(reader, node, &defaults, registry))
        .unwrap_or_default();
    if !has_unreadable_stage {
        check_unused_defaults(reader, &defaults, &stages);
    }
    let cases = entries
        .get("test")
        .map(|node| read_cases(reader, node))
        .unwrap_or_default();
    report_duplicate_names(reader, &stages);
    route::check_parameters(reader, route.as_ref(), settings_route.as_ref(), &request);
    let warnings = route::check_routes(reader, route.as_ref(), settings_route.as_ref());
    Some(PipelineFile {
        source: reader.source.clone(),
        name: name?,
        description,
        route,
        settings_route,
        is_admin,
        deadline,
        request,
        limits,
        stages,
        require: response.require,
        shown: response.shown,
        answer: response.answer,
        one_of,
        cases: cases.into(),
        has_unreadable_part: has_unreadable_stage
            || has_unreadable_field
            || response.has_unreadable_part,
        secrets: reader.secrets.clone(),
        warnings,
    })
}

fn read_name(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    section: Range<usize>,
) -> Option<Spanned<String>> {
    let Some(node) = entries.get("name") else {
        let missing = reader.at(section, "`pipeline` has no `name`");
        reader.report(missing.help("name = \"classify\""));
        return None;
    };
    let name = reader.spanned_string(node, "`name`")?;
    if name.get_ref().contains(char::is_control) {
        let wrong = reader.at(node.span(), "`name` holds a control character");
        reader.report(wrong);
        return None;
    }
    if name.get_ref().trim().is_empty() {
        let empty = reader.at(node.span(), "`name` is empty");
        reader.report(empty);
        return None;
    }
    Some(name)
}

/// What the pipeline does; nothing but blanks is nothing.
fn read_description(reader: &mut Reader<'_>, entries: &Entries<'_>) -> Option<String> {
    let node = entries.get("description")?;
    let text = reader.string(node, "`description`")?;
    let chars = text.chars().count();
    if chars > MAX_DESCRIPTION {
        let long =
            format!("`description`: {chars} characters, at most {MAX_DESCRIPTION} are allowed");
        let long = reader.at(node.span(), long);
        reader.report(long.help("say it in a line or two; more belongs into a comment"));
        return None;
    }
    if text.contains(|char: char| char.is_control() && char != '\n') {
        let wrong = reader.at(node.span(), "`description` holds a control character");
        reader.report(wrong);
        return None;
    }
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn read_route(reader: &mut Reader<'_>, entries: &Entries<'_>, key: &str) -> Option<Spanned<Route>> {
    let node = entries.get(key)?;
    let text = reader.string(node, &format!("`{key}`"))?;
    match text.parse() {
        Ok(route) => Some(Spanned::new(node.span(), route)),
        Err(message) => {
            let whence = reader.whence(node);
            let wrong = reader.at(node.span(), format!("`{key}`{whence}: {message}"));
            reader.report(wrong.help(ROUTE_FORM));
            None
        }
    }
}

/// The options of `[defaults.with]`.
fn read_defaults<'t>(reader: &mut Reader<'_>, node: &'t Node) -> Option<Entries<'t>> {
    let table = reader.table(node, "`defaults`")?;
    let entries = reader.entries(table, "`defaults`", &keys::names(&keys::DEFAULTS));
    let with = reader.table(entries.get("with")?, "`defaults.with`")?;
    Some(reader.any_entries(with))
}

/// Looks at the options of `[defaults.with]` that no stage takes: those that none has, and those
/// that each sets itself.
fn check_unused_defaults(reader: &mut Reader<'_>, defaults: &Entries<'_>, stages: &[StageEntry]) {
    let specs = stages.iter().map(|stage| stage.kind.spec());
    let options: Vec<&OptionSpec> = specs.flat_map(|spec| &spec.options).collect();
    for (name, span, node) in defaults.iter() {
        let of_name: Vec<&OptionSpec> = options
            .iter()
            .filter(|option| option.name == name)
            .copied()
            .collect();
        if of_name.is_empty() {
            let unused = format!("`defaults.with`: no stage of this file has the option `{name}`");
            let unused = reader.at(span, unused);
            let Some(option) = meant(name, options.iter().copied()) else {
                let names = options.iter().map(|option| &*option.name);
                reader.report(unused.nearest(name, names));
                continue;
            };
            if option.is_secret && is_written(node) {
                reader.secrets.push(node.span());
            }
            reader.report(unused.help(format!("did you mean `{}`?", option.name)));
            continue;
        }
        // Its own value is the first that is found of a stage.
        let is_taken = stages.iter().any(|stage| {
            let mut spans = stage.option_spans.iter();
            let first = spans.find(|(option, _)| option == name);
            let has_it = stage.kind.spec().options.iter().any(|it| it.name == name);
            has_it && first.is_some_and(|(_, span)| *span == node.span())
        });
        if !is_taken {
            check_default(reader, &of_name, node);
        }
    }
}
