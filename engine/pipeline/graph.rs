//! Ports bound to what feeds them, switched-off stages pruned, an order found.
//! Pure: a checked file in, a [`Graph`] or all of its mistakes out.
//!
//! # How ports bind
//!
//! An input sees the nearest earlier output of its name and type, as a `let`
//! shadows an earlier one; then older ones, for when the nearer is skipped; last
//! the request's field of that name. What a stage only says of its own input
//! ([`Output::is_echo`]) is not for others of its kind. `inputs = { port =
//! "stage.port" }` binds by hand, and to that output only; a list of them to the
//! first that has a value, and `"none"` to nothing. What is of another space than
//! the input ([`Output::space`]) is passed over, and by hand it is a mistake: it
//! would fail every request. A switched-off stage takes
//! part in nothing, and whoever required what only it gave is pruned with it.
//!
//! Conditions see the same values, and null where there is none: never a neutral
//! value, which is for the response alone.
//!
//! [`Output::is_echo`]: omnizap_contract::Output::is_echo
//! [`Output::space`]: omnizap_contract::Output::space

mod binder;
mod cases;
mod conditions;
mod demand;
mod effective;
mod inspect;
mod order;
mod published;
mod required;
mod response;
mod space;
mod sure;
mod template;
mod warnings;

use omnizap_contract::{Input, Kind, Options, PortType, Ports, Presence};
use serde_json::Value as Json;

use self::binder::Binder;
use super::condition::Bound;
use super::config::{PipelineFile, REQUEST};
use super::diagnostic::Diagnostics;
use super::registry::Registry;

/// A pipeline whose edges are known.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The file that it was made from.
    pub file: PipelineFile,
    /// Ports of the request: fields, and what an upload says of itself.
    pub request_ports: Vec<(String, PortType)>,
    /// One node for each stage of the file, in its order.
    pub nodes: Vec<Node>,
    /// The active nodes, each after all that it depends on.
    pub order: Vec<usize>,
    /// Fields of the response, in their order.
    pub response: Vec<ResponseField>,
    /// What is allowed and may not be meant.
    pub warnings: Diagnostics,
}

/// A stage in its graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Ports under the options in force.
    pub ports: Ports,
    /// Whether the stage takes part.
    pub state: State,
    /// For each input port what may feed it, nearest first.
    pub inputs: Vec<Vec<Source>>,
    /// When to run it at all.
    pub condition: Option<Bound>,
    /// What the condition's variables stand for.
    pub asked: Vec<Asked>,
    /// The active nodes that must have ended before this one starts.
    pub depends_on: Vec<usize>,
    /// Where it runs on demand, those that may ask for it.
    pub demand: Option<Vec<Demander>>,
    /// The nodes that must have ended before it is known whether anyone asks for it.
    waits_to_decide: Vec<usize>,
}

/// A node that takes what another gives that runs on demand.
#[derive(Clone, Debug)]
pub struct Demander {
    /// Which.
    pub node: usize,
    /// Whether its condition is known before; it asks for nothing where that is false.
    pub asks_condition: bool,
    /// Whether it runs on demand itself; then it asks where somebody asks for it.
    pub asks_demand: bool,
    /// For each of its inputs that the other one feeds, what makes the input unnecessary; `None`
    /// where one of them is necessary.
    pub unless: Option<Vec<Vec<Source>>>,
}

/// Whether a stage takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// Its file says `enabled = false`.
    Disabled,
    /// What it requires has no producer left; the text says why.
    Pruned(String),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A port of the request, by index.
    Request(usize),
    /// An output of a stage, both by index.
    Stage {
        /// Which node.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

impl Source {
    /// The node that gives it.
    #[must_use]
    pub fn node(self) -> Option<usize> {
        match self {
            Self::Request(_) => None,
            Self::Stage { node, .. } => Some(node),
        }
    }
}

/// What a name in a condition stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The first value of these sources, nearest first; null where none has one.
    Value(Vec<Source>),
    /// Whether a node's stage ran; it never does where there is none.
    Ran(Option<usize>),
}

impl Asked {
    /// The nodes that must have ended before it is known.
    pub fn nodes(&self) -> impl Iterator<Item = usize> {
        let (sources, ran) = match self {
            Self::Value(sources) => (sources.as_slice(), None),
            Self::Ran(node) => (&[][..], *node),
        };
        sources.iter().filter_map(|source| source.node()).chain(ran)
    }

    /// The values that it may be.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        match self {
            Self::Value(sources) => sources,
            Self::Ran(_) => &[],
        }
    }
}

/// What whoever asks whether a stage ran sees behind its name.
pub const RAN: &str = "ran";

/// A field of the response.
#[derive(Clone, Debug)]
pub struct ResponseField {
    /// Its name.
    pub name: String,
    /// What may fill it, the latest first.
    pub sources: Vec<Source>,
    /// What it shows when nothing fills it.
    pub neutral: Json,
    /// Decimals that its numbers are rounded to.
    pub decimals: Option<u8>,
    /// True where an answer without it is none.
    pub is_required: bool,
}

impl Graph {
    /// `stage.port`, or `request.port`.
    #[must_use]
    pub fn source_name(&self, source: Source) -> String {
        match source {
            Source::Request(port) => format!("{REQUEST}.{}", self.request_ports[port].0),
            Source::Stage { node, output } => format!(
                "{}.{}",
                self.stage_name(node),
                self.nodes[node].ports.outputs[output].name
            ),
        }
    }

    /// True for a graph of the same pipeline made of the same text.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.file.name.get_ref() == other.file.name.get_ref()
            && self.file.source.text == other.file.source.text
    }

    /// The name of a node's stage.
    #[must_use]
    pub fn stage_name(&self, node: usize) -> &str {
        self.file.stages[node].name.get_ref()
    }
}

/// The inputs of which one must have a value for the stage to run, as far as the input at `index` is
/// asked: itself, and the one that stands in for it. [`None`] where it may be absent.
pub(super) fn needed(inputs: &[Input], index: usize) -> Option<impl Iterator<Item = usize>> {
    let input = &inputs[index];
    let is_required = matches!(input.presence, Presence::Required);
    // What is required is needed, whatever else there is.
    let other = input.unless.as_ref().filter(|_| !is_required);
    let is_needed = is_required || other.is_some();
    let other = other.and_then(|other| inputs.iter().position(|input| input.name == *other));
    is_needed.then(|| std::iter::once(index).chain(other))
}

/// The ports that a kind has where no option is set.
fn default_ports(kind: &dyn Kind) -> Ports {
    let options = kind.spec().options.iter();
    let defaults = options.map(|option| {
        let default = option.default.clone().unwrap_or_default();
        (option.name.to_string(), default)
    });
    kind.ports(&Options::from_checked(defaults.collect()))
}

/// Binds a file's stages. The registry is asked which stages would give what is missing.
///
/// # Errors
/// Every binding, condition, cycle and requirement that does not hold.
pub fn bind(file: &PipelineFile, registry: &Registry) -> Result<Graph, Diagnostics> {
    match bind_file(file, registry) {
        Ok(mut graph) => {
            graph.warnings.conceal(&file.source, &file.secrets);
            Ok(graph)
        }
        Err(mut mistakes) => {
            mistakes.conceal(&file.source, &file.secrets);
            Err(mistakes)
        }
    }
}

fn bind_file(file: &PipelineFile, registry: &Registry) -> Result<Graph, Diagnostics> {
    let mut binder = Binder::new(file, registry);
    for index in 0..file.stages.len() {
        binder.bind_stage(index);
    }
    binder.bind_conditions();
    binder.check_cases();
    let order = binder.find_order();
    binder.diagnostics.clone().into_result()?;
    binder.warn();
    let mut graph = binder.effective_graph(&order)?;
    let mut mistakes = Diagnostics::default();
    for found in [required::check(&mut graph), template::check(&graph)] {
        mistakes.extend(found.err().unwrap_or_default());
    }
    mistakes.into_result()?;
    Ok(graph)
}
