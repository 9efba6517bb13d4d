//! Builds the stages of a graph: this is where models are loaded and stores opened.

mod admission;
mod readers;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omnizap_contract::common::chain::chain;
use omnizap_contract::{Counters as Numbers, Input, Output, Runner, Value};
use serde_json::Value as Json;
use tokio::sync::Semaphore;

pub use self::admission::AdmissionLimits;

use self::admission::Admission;
use self::readers::{readers, reads};
use super::condition::Bound;
use super::config::{OnError, Route};
use super::diagnostic::Diagnostic;
use super::graph::{Asked, Demander, Graph, Source, State};
use super::trace::Trace;
use crate::metrics::{PipelineMeters, StageMeters};

/// How often stages that are starting are asked whether they have.
const STARTED_EVERY: Duration = Duration::from_millis(10);

/// A pipeline that can run: a graph with built stages.
pub struct Pipeline {
    /// What it was built from.
    pub graph: Graph,
    /// One entry for each node, `None` where the node takes no part.
    pub(super) steps: Vec<Option<Step>>,
    /// How many values a request may hold: its ports, every output, and for each node whether it
    /// ran.
    pub(super) slots: usize,
    /// Places for computing stages, shared by all pipelines of the process.
    pub(super) compute: Arc<Semaphore>,
    /// For each field of the response the slots that may fill it, latest first.
    pub(super) response: Vec<Vec<usize>>,
    /// For each value how many look at it: steps, and the response. One that none looks at any more
    /// is dropped.
    pub(super) readers: Vec<u32>,
    /// Which requests are taken where there are more than can be answered.
    pub(super) admission: Arc<Admission>,
    /// What is counted of its runs and of its routes: it goes on where the file has become another and
    /// the routes have not.
    meters: Arc<PipelineMeters>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({})", self.name())
    }
}

/// A node, laid out for running: names resolved to slots.
pub(super) struct Step {
    pub(super) runner: Runner,
    pub(super) inputs: Arc<[Input]>,
    pub(super) outputs: Vec<Output>,
    /// For each input the slots that may feed it, nearest first.
    pub(super) input_slots: Vec<Vec<usize>>,
    pub(super) condition: Option<StepCondition>,
    /// Where it runs on demand, the steps that may ask for it.
    pub(super) demand: Option<Vec<StepDemander>>,
    pub(super) first_slot: usize,
    /// How many steps must end before this one.
    pub(super) waits_for: usize,
    /// The steps that wait for this one.
    pub(super) dependents: Vec<usize>,
    pub(super) ran_slot: usize,
    /// The slots that are looked at until this step has ended, each once: those of its inputs and
    /// of what decides whether it runs.
    pub(super) reads: Vec<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) max_wait: Option<Duration>,
    pub(super) retry: u32,
    /// Whether a run that took too long may be tried again.
    pub(super) is_pure: bool,
    pub(super) on_error: OnError,
    pub(super) in_flight: Option<Arc<Semaphore>>,
    pub(super) counters: Arc<Counters>,
    /// The same and more for a scrape, by the names of pipeline and stage: they go on where the file
    /// has become another.
    pub(super) meters: Arc<StageMeters>,
}

pub(super) struct StepCondition {
    pub(super) condition: Bound,
    pub(super) variables: Vec<StepVariable>,
}

/// Where a variable of a condition is found.
pub(super) enum StepVariable {
    /// In the first of these slots that holds something; null where none does.
    Slots(Vec<usize>),
    /// True where that slot holds something: the stage ran.
    Ran(Option<usize>),
}

/// A step that may ask for one that runs on demand.
pub(super) struct StepDemander {
    pub(super) node: usize,
    pub(super) asks_condition: bool,
    pub(super) asks_demand: bool,
    /// For each input that the other one feeds, the slots that make it unnecessary.
    pub(super) unless: Option<Vec<Vec<usize>>>,
}

/// How often a stage ended in which way, since the pipeline was first built as it is.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) ran: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// A stage that could not be built.
#[derive(Debug)]
pub struct BuildError {
    place: Box<Diagnostic>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl StdError for BuildError {}

impl Pipeline {
    /// Builds every active stage, in the graph's order.
    ///
    /// # Errors
    /// The first stage that could not be built, with its place in the file.
    pub async fn build(graph: Graph, compute: Arc<Semaphore>) -> Result<Self, BuildError> {
        Self::rebuild(graph, compute, None).await
    }

    /// The same; where the same pipeline was built `before`, its stages count on. Where it is another
    /// of that name, only what is told at a scrape goes on.
    ///
    /// # Errors
    /// As [`Pipeline::build`].
    pub async fn rebuild(
        graph: Graph,
        compute: Arc<Semaphore>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let namesake = before.filter(|before| before.name() == graph.file.name.get_ref());
        let before = namesake.filter(|before| before.graph.is_same(&graph));
        let layout = SlotLayout::of(&graph);
        let mut steps: Vec<Option<Step>> = graph.nodes.iter().map(|_| None).collect();
        for node in &graph.order {
            let entry = &graph.file.stages[*node];
            let runner = entry.kind.build(&entry.options).await.map_err(|error| {
                let message = format!(
                    "stage `{}` could not be built: {}",
                    entry.name.get_ref(),
                    chain(&error)
                );
                let mut place = Diagnostic::new(&graph.file.source, entry.name.span(), message);
                place.conceal(&graph.file.secrets);
                BuildError {
                    place: Box::new(place),
                }
            })?;
            let mut step = layout.step(&graph, *node, runner);
            let counted = before.and_then(|before| before.steps[*node].as_ref());
            if let Some(counted) = counted {
                step.counters = counted.counters.clone();
                // The file is the same, and so is the limit, whichever generation is asked.
                step.in_flight = counted.in_flight.clone();
            }
            let meters = namesake.and_then(|it| it.meters_of(entry.name.get_ref()));
            step.meters = meters.unwrap_or_default();
            steps[*node] = Some(step);
        }
        let response: Vec<Vec<usize>> = graph
            .response
            .iter()
            .map(|field| layout.slots_of(&field.sources))
            .collect();
        let slots = layout.total + graph.nodes.len();
        for node in 0..steps.len() {
            let reads = reads(&steps, node).into_iter().collect();
            if let Some(step) = &mut steps[node] {
                step.reads = reads;
            }
        }
        Ok(Self {
            readers: readers(slots, &steps, &response),
            admission: before.map_or_else(Arc::default, |before| before.admission.clone()),
            meters: namesake
                .filter(|it| routes(&it.graph).eq(routes(&graph)))
                .map_or_else(Arc::default, |it| it.meters.clone()),
            slots,
            graph,
            steps,
            compute,
            response,
        })
    }

    /// Which requests are taken where there are more than can be answered, and how many were not.
    #[must_use]
    pub fn admission(&self) -> Numbers {
        self.admission.counters()
    }

    /// What is counted of its runs and of its routes.
    #[must_use]
    pub fn meters(&self) -> &Arc<PipelineMeters> {
        &self.meters
    }

    fn meters_of(&self, stage: &str) -> Option<Arc<StageMeters>> {
        let mut steps = self.steps.iter().enumerate();
        let step = steps.find_map(|(node, step)| {
            let is_it = self.graph.stage_name(node) == stage;
            step.as_ref().filter(|_| is_it)
        });
        step.map(|step| step.meters.clone())
    }

    /// The pipeline's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.graph.file.name.get_ref()
    }

    /// The built stages, with their names.
    pub fn runners(&self) -> impl Iterator<Item = (&str, &Runner)> {
        let steps = self.steps.iter().enumerate();
        steps.filter_map(|(node, step)| Some((self.graph.stage_name(node), &step.as_ref()?.runner)))
    }

    /// Waits until every stage has started, or serves less until it has, at most `limit`.
    /// Gives what is still to be done where that was not long enough.
    pub async fn started(&self, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            let starting = self.runners().find_map(|(stage, runner)| {
                let health = runner.observed().health();
                // One that says that it serves less meanwhile need not be waited for.
                let starting = health.starting.filter(|_| health.degraded.is_none())?;
                Some(format!("stage `{stage}`: {starting}"))
            })?;
            if Instant::now() >= deadline {
                return Some(starting);
            }
            tokio::time::sleep(STARTED_EVERY).await;
        }
    }

    /// The values of a request's ports by name, with the defaults of its fields;
    /// for callers other than HTTP.
    #[must_use]
    pub fn request_values(&self, named: impl Fn(&str) -> Option<Value>) -> Vec<Option<Value>> {
        let fields = self.graph.file.request.iter();
        fields
            .flat_map(|field| {
                let ports = field.ports().enumerate();
                ports.map(|(position, (name, _))| {
                    let default = if position == 0 {
                        field.default.clone()
                    } else {
                        None
                    };
                    named(name.get_ref()).or(default)
                })
            })
            .collect()
    }

    /// A trace under the names of this pipeline's stages.
    #[must_use]
    pub fn trace_json(&self, trace: &Trace) -> Json {
        trace.to_json(
            |node| self.graph.stage_name(node),
            |node| self.graph.nodes[node].depends_on.clone(),
        )
    }

    /// The settings in force that clients may see: public options of every stage, what built
    /// stages say of themselves, which features work, and why one that is on does not.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, Json> {
        let mut settings = serde_json::Map::new();
        let mut features = serde_json::Map::new();
        let mut reasons = serde_json::Map::new();
        let stages = self.graph.file.stages.iter().enumerate();
        // Those that are on come last: what is in force is said by them, and only where none is by
        // one that is off.
        let (on, off): (Vec<_>, Vec<_>) = stages.partition(|(node, _)| self.steps[*node].is_some());
        for (node, entry) in off.into_iter().chain(on) {
            let spec = entry.kind.spec();
            for option in spec.options.iter().filter(|option| !option.is_secret) {
                if let Some(name) = &option.public {
                    let value = entry.options.value(&option.name).clone();
                    settings.insert(name.to_string(), value);
                }
            }
            if let Some(step) = &self.steps[node] {
                settings.extend(step.runner.observed().describe());
            }
            if let Some(feature) = &spec.feature {
                let off = match (&self.graph.nodes[node].state, &self.steps[node]) {
                    (State::Active, Some(step)) => step.runner.observed().idle(),
                    (State::Pruned(reason), _) => Some(reason.clone()),
                    _ => Some("switched off".to_owned()),
                };
                features.insert(feature.to_string(), Json::from(off.is_none()));
                if let Some(reason) = off {
                    reasons.insert(feature.to_string(), Json::from(reason));
                }
            }
        }
        settings.insert("features".into(), Json::Object(features));
        settings.insert("features_off".into(), Json::Object(reasons));
        settings
    }

    /// How often a node's stage ended in which way since the pipeline was first built so, and what
    /// the stage counts itself.
    #[must_use]
    pub fn counters(&self, node: usize) -> Json {
        let Some(step) = &self.steps[node] else {
            return Json::Null;
        };
        let mut counters = serde_json::Map::new();
        let ends = [
            ("ran", &step.counters.ran),
            ("skipped", &step.counters.skipped),
            ("failed", &step.counters.failed),
        ];
        for (name, counter) in ends {
            counters.insert(name.into(), Json::from(counter.load(Ordering::Relaxed)));
        }
        counters.extend(step.runner.observed().counters().to_json());
        Json::Object(counters)
    }

    /// Finishes what the stages accepted and still have under way.
    pub async fn close(&self) {
        for step in self.steps.iter().flatten() {
            if let Runner::Async(stage) = &step.runner {
                stage.close().await;
            }
        }
    }
}

/// Where a pipeline and its settings are reached: what is counted there is counted under these names.
fn routes(graph: &Graph) -> impl Iterator<Item = Option<&Route>> {
    let routes = [&graph.file.route, &graph.file.settings_route];
    routes
        .map(|route| route.as_ref().map(|route| route.get_ref()))
        .into_iter()
}

/// Where each value of a request is kept.
struct SlotLayout {
    first_of_node: Vec<usize>,
    total: usize,
}

impl SlotLayout {
    fn of(graph: &Graph) -> Self {
        let mut total = graph.request_ports.len();
        let mut first_of_node = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            first_of_node.push(total);
            total += node.ports.outputs.len();
        }
        Self {
            first_of_node,
            total,
        }
    }

    fn slots_of(&self, sources: &[Source]) -> Vec<usize> {
        let slot = |source: &Source| match *source {
            Source::Request(port) => port,
            Source::Stage { node, output } => self.first_of_node[node] + output,
        };
        sources.iter().map(slot).collect()
    }

    fn demander(&self, demander: &Demander) -> StepDemander {
        let unless = demander.unless.as_ref();
        StepDemander {
            node: demander.node,
            asks_condition: demander.asks_condition,
            asks_demand: demander.asks_demand,
            unless: unless.map(|inputs| inputs.iter().map(|from| self.slots_of(from)).collect()),
        }
    }

    fn variable(&self, asked: &Asked) -> StepVariable {
        match asked {
            Asked::Value(sources) => StepVariable::Slots(self.slots_of(sources)),
            Asked::Ran(node) => StepVariable::Ran(node.map(|node| self.total + node)),
        }
    }

    fn step(&self, graph: &Graph, node: usize, runner: Runner) -> Step {
        let entry = &graph.file.stages[node];
        let bound = &graph.nodes[node];
        let condition = bound.condition.as_ref().map(|condition| StepCondition {
            condition: condition.clone(),
            variables: bound
                .asked
                .iter()
                .map(|asked| self.variable(asked))
                .collect(),
        });
        let demand = bound.demand.as_ref().map(|demanders| {
            let each = demanders.iter();
            each.map(|demander| self.demander(demander)).collect()
        });
        let order = graph.order.iter().copied();
        Step {
            demand,
            runner,
            inputs: bound.ports.inputs.clone().into(),
            outputs: bound.ports.outputs.clone(),
            input_slots: bound
                .inputs
                .iter()
                .map(|sources| self.slots_of(sources))
                .collect(),
            condition,
            first_slot: self.first_of_node[node],
            waits_for: bound.depends_on.len(),
            dependents: order
                .filter(|other| graph.nodes[*other].depends_on.contains(&node))
                .collect(),
            ran_slot: self.total + node,
            // Once all the steps are there.
            reads: Vec::new(),
            timeout: entry.timeout,
            max_wait: entry.max_wait,
            retry: entry.retry,
            is_pure: entry.kind.spec().is_pure,
            on_error: entry.on_error,
            in_flight: entry
                .max_in_flight
                .map(|limit| Arc::new(Semaphore::new(limit))),
            counters: Arc::default(),
            meters: Arc::default(),
        }
    }
}
