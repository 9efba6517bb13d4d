//! Stages: what a name in a pipeline file stands for, and one built instance of it.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use crate::{
    Embedding, Error, Image, Input, OptionFault, OptionSpec, Options, Output, PortType, Ports,
    Presence, Scores, Tensor, Value,
};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a stage's name stands for, whatever its options.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// The name that `uses` refers to: `decode`, or `vendor/name` for a plugin.
    pub name: Cow<'static, str>,
    /// One line for people.
    pub doc: Cow<'static, str>,
    /// The options that `with` may set.
    pub options: Vec<OptionSpec>,
    /// The name under which clients learn whether a pipeline has this stage on.
    pub feature: Option<Cow<'static, str>>,
}

/// A kind of stage: it knows its ports and builds instances.
pub trait StageKind: Send + Sync {
    /// Name, documentation and option schema.
    fn spec(&self) -> &StageSpec;

    /// The ports that an instance with these options has. Pure.
    fn ports(&self, options: &Options) -> Ports;

    /// Checks what the schema cannot say. Pure: no I/O, no allocation of resources.
    ///
    /// # Errors
    /// Every option at fault.
    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let _ = options;
        Ok(())
    }

    /// Why no instance can be had though the kind is known; its stages count as switched
    /// off. `None`: there are instances.
    fn withheld(&self) -> Option<&str> {
        None
    }

    /// Builds an instance: loads models, opens stores.
    ///
    /// # Errors
    /// What is missing and how to get it, for the operator.
    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>>;
}

/// A built instance, and where its work may run.
#[derive(Clone)]
pub enum Runner {
    /// Microseconds of pure computation: runs where the request is driven.
    Inline(Arc<dyn Stage>),
    /// Longer computation: runs on the bounded pool of compute threads.
    Compute(Arc<dyn Stage>),
    /// Waits for something else (a store, a queue, a network): runs as a future
    /// and must not compute for long between two awaits.
    Async(Arc<dyn AsyncStage>),
}

impl Runner {
    /// The settings in force.
    #[must_use]
    pub fn describe(&self) -> Map<String, Json> {
        match self {
            Self::Inline(stage) | Self::Compute(stage) => stage.describe(),
            Self::Async(stage) => stage.describe(),
        }
    }

    /// Why the stage has no effect as it is set up, if so.
    #[must_use]
    pub fn idle(&self) -> Option<String> {
        match self {
            Self::Inline(stage) | Self::Compute(stage) => stage.idle(),
            Self::Async(stage) => stage.idle(),
        }
    }

    /// How the stage is.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Self::Inline(stage) | Self::Compute(stage) => stage.health(),
            Self::Async(stage) => stage.health(),
        }
    }

    /// What the stage counts.
    #[must_use]
    pub fn counters(&self) -> Map<String, Json> {
        match self {
            Self::Inline(stage) | Self::Compute(stage) => stage.counters(),
            Self::Async(stage) => stage.counters(),
        }
    }
}

/// How a stage is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why the stage cannot serve at all, if so.
    pub failing: Option<String>,
    /// What the stage has yet to do before it serves as well as it will, if so: readiness
    /// waits for it.
    pub starting: Option<String>,
    /// Why the stage serves less than it should, if so.
    pub degraded: Option<String>,
    /// Facts worth showing beside it, such as the model's name.
    pub facts: Map<String, Json>,
}

/// A stage that computes: it sees its inputs and returns its outputs, and shares
/// nothing with its neighbours.
pub trait Stage: Send + Sync {
    /// Settings in force that clients may see, beside those options that are public.
    fn describe(&self) -> Map<String, Json> {
        Map::new()
    }

    /// Why the stage has no effect as it is set up, though it is switched on, if so (no key, a
    /// weight of 0): its feature counts as off.
    fn idle(&self) -> Option<String> {
        None
    }

    /// How the stage is.
    fn health(&self) -> Health {
        Health::default()
    }

    /// What the stage counts, for the operator; shown in `GET /pipelines` beside how often it
    /// ran.
    fn counters(&self) -> Map<String, Json> {
        Map::new()
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// See [`Error`].
    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error>;
}

/// A stage that waits for something outside the process, or for a queue in it.
pub trait AsyncStage: Send + Sync {
    /// Settings in force that clients may see, beside those options that are public.
    fn describe(&self) -> Map<String, Json> {
        Map::new()
    }

    /// Why the stage has no effect as it is set up, though it is switched on, if so (no key, a
    /// weight of 0): its feature counts as off.
    fn idle(&self) -> Option<String> {
        None
    }

    /// How the stage is.
    fn health(&self) -> Health {
        Health::default()
    }

    /// What the stage counts, for the operator; shown in `GET /pipelines` beside how often it
    /// ran.
    fn counters(&self) -> Map<String, Json> {
        Map::new()
    }

    /// Computes the outputs. Dropping the future abandons the work.
    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>>;

    /// Finishes what was accepted and is still under way (a queue of writes).
    /// Called once, after the last request.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Tells work that nobody waits for it any more.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Gives notice.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once notice was given.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One run of one stage for one request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// When the stage must be done.
    pub deadline: Instant,
    /// Set once nobody waits for the answer.
    pub cancel: Cancel,
}

impl Call {
    /// Time left, zero once the deadline has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// True where the work is for nothing: nobody waits, or the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || self.remaining().is_zero()
    }
}

/// The values that a stage sees, by the names of its input ports. The engine has
/// checked their types, and that what is required is there.
#[derive(Clone, Debug)]
pub struct Inputs {
    ports: Arc<[Input]>,
    values: Vec<Option<Value>>,
}

macro_rules! typed_inputs {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty: $pattern:pat => $value:expr, $port:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`crate::ErrorKind::Internal`] where the stage did not declare such a port as
        /// required, or declared it with another type.
        pub fn $name(&self, name: &str) -> Result<$ty, Error> {
            match self.get(name) {
                Some($pattern) => Ok($value),
                other => Err(undeclared(name, $port, other)),
            }
        }
    )*};
}

impl Inputs {
    /// Pairs ports with values, in the ports' order; defaults fill the gaps.
    #[must_use]
    pub fn new(ports: Arc<[Input]>, mut values: Vec<Option<Value>>) -> Self {
        values.resize(ports.len(), None);
        for (port, value) in ports.iter().zip(&mut values) {
            if let (None, Presence::Default(default)) = (&value, &port.presence) {
                *value = Some(default.clone());
            }
        }
        Self { ports, values }
    }

    /// The value at a port, `None` where it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let index = self.ports.iter().position(|port| port.name == name)?;
        self.values[index].as_ref()
    }

    /// The string at an optional port.
    #[must_use]
    pub fn optional_text(&self, name: &str) -> Option<&Arc<str>> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number at an optional port.
    #[must_use]
    pub fn optional_number(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The integer at an optional port.
    #[must_use]
    pub fn optional_integer(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Integer(integer)) => Some(*integer),
            _ => None,
        }
    }

    /// The list at an optional port.
    #[must_use]
    pub fn optional_text_list(&self, name: &str) -> Option<&Arc<[Arc<str>]>> {
        match self.get(name) {
            Some(Value::TextList(list)) => Some(list),
            _ => None,
        }
    }

    typed_inputs! {
        /// The bytes at a required port.
        bytes -> &Bytes: Value::Bytes(value) => value, PortType::Bytes;
        /// The image at a required port.
        image -> &Arc<Image>: Value::Image(value) => value, PortType::Image;
        /// The embedding at a required port.
        embedding -> &Arc<Embedding>: Value::Embedding(value) => value, PortType::Embedding;
        /// The scores at a required port.
        scores -> &Arc<Scores>: Value::Scores(value) => value, PortType::Scores;
        /// The tensor at a required port.
        tensor -> &Arc<Tensor>: Value::Tensor(value) => value, PortType::Tensor;
        /// The string at a required port.
        text -> &Arc<str>: Value::Text(value) => value, PortType::Text;
        /// The list at a required port.
        text_list -> &Arc<[Arc<str>]>: Value::TextList(value) => value, PortType::TextList;
        /// The number at a required port.
        number -> f64: Value::Number(value) => *value, PortType::Number;
        /// The integer at a required port.
        integer -> i64: Value::Integer(value) => *value, PortType::Integer;
        /// The bool at a required port.
        bool -> bool: Value::Bool(value) => *value, PortType::Bool;
        /// The JSON at a required port.
        json -> &Arc<Json>: Value::Json(value) => value, PortType::Json;
    }
}

fn undeclared(name: &str, asked: PortType, found: Option<&Value>) -> Error {
    let found = found.map_or("nothing", |value| value.port_type().name());
    Error::internal(format!(
        "the stage asked for a required input `{name}` of type {asked} and its ports give {found}"
    ))
}

/// The values that a stage gives, by the names of its output ports.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Vec<(Cow<'static, str>, Value)>);

impl Outputs {
    /// No output yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No output yet, and room for so many.
    #[must_use]
    pub fn with_capacity(outputs: usize) -> Self {
        Self(Vec::with_capacity(outputs))
    }

    /// The same outputs and one more.
    #[must_use]
    pub fn with(mut self, port: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.0.push((port.into(), value.into()));
        self
    }

    /// The value given at a port.
    #[must_use]
    pub fn get(&self, port: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == port)
            .map(|(_, value)| value)
    }

    /// Checks the outputs against the declared ports and puts them in their order;
    /// `None` stands for an optional output that was not given.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for an output that is undeclared, of another type,
    /// not finite, or missing though it is not optional.
    pub fn conform(mut self, declared: &[Output]) -> Result<Vec<Option<Value>>, Error> {
        let mut values = Vec::with_capacity(declared.len());
        for output in declared {
            let given = self.0.iter().position(|(name, _)| *name == output.name);
            let value = given.map(|index| self.0.swap_remove(index).1);
            let fault = match &value {
                None if output.optional => None,
                None => Some("is missing".to_owned()),
                Some(value) if value.port_type() != output.ty => Some(format!(
                    "is {} and its port is {}",
                    value.port_type(),
                    output.ty
                )),
                Some(value) if !value.is_finite() => {
                    Some("holds a number that is not finite".into())
                }
                Some(_) => None,
            };
            if let Some(fault) = fault {
                return Err(Error::internal(format!("output `{}` {fault}", output.name)));
            }
            values.push(value);
        }
        match self.0.first() {
            Some((name, _)) => Err(Error::internal(format!("output `{name}` is not declared"))),
            None => Ok(values),
        }
    }
}
