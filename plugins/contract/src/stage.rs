//! Stages: what a name in a pipeline file stands for, and one built instance of it.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::typed::Spec;
use crate::{
    Counters, Error, Facts, Input, OptionFault, OptionSpec, Options, Output, Ports, Presence, Value,
};

/// A future on the heap that may move between threads, as the engine holds them. Stages are
/// written with `async fn`.
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
    /// True where a run changes nothing outside of it, so that one that took too long may be tried
    /// again.
    pub is_pure: bool,
}

impl StageSpec {
    /// A built-in kind.
    #[must_use]
    pub fn new(
        name: &'static str,
        doc: &'static str,
        options: impl IntoIterator<Item = Spec>,
    ) -> Self {
        Self {
            name: name.into(),
            doc: doc.into(),
            options: options.into_iter().map(OptionSpec::from).collect(),
            feature: None,
            is_pure: false,
        }
    }

    /// The same kind, whose runs change nothing outside of them.
    #[must_use]
    pub fn pure(mut self) -> Self {
        self.is_pure = true;
        self
    }

    /// The same kind, a feature that clients may ask about.
    #[must_use]
    pub fn feature(mut self, name: &'static str) -> Self {
        self.feature = Some(name.into());
        self
    }
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

    /// Looks at what the options name (files, models), as far as that is quick: reads, and builds
    /// nothing. For `omnizap check`, before a start.
    ///
    /// # Errors
    /// Every option whose value would keep an instance from being built.
    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
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
    fn build(&self, options: &Options) -> impl Future<Output = Result<Runner, Error>> + Send;
}

/// A [`StageKind`] whatever its type, as registries hold it.
pub trait Kind: Send + Sync {
    /// See [`StageKind::spec`].
    fn spec(&self) -> &StageSpec;

    /// See [`StageKind::ports`].
    fn ports(&self, options: &Options) -> Ports;

    /// See [`StageKind::check`].
    ///
    /// # Errors
    /// Every option at fault.
    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>>;

    /// See [`StageKind::inspect`].
    ///
    /// # Errors
    /// Every option whose value would keep an instance from being built.
    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>>;

    /// See [`StageKind::withheld`].
    fn withheld(&self) -> Option<&str>;

    /// See [`StageKind::build`].
    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>>;
}

impl<K: StageKind> Kind for K {
    fn spec(&self) -> &StageSpec {
        StageKind::spec(self)
    }

    fn ports(&self, options: &Options) -> Ports {
        StageKind::ports(self, options)
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        StageKind::check(self, options)
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        StageKind::inspect(self, options)
    }

    fn withheld(&self) -> Option<&str> {
        StageKind::withheld(self)
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(StageKind::build(self, options))
    }
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
    Async(Arc<dyn Waiting>),
}

impl Runner {
    /// A stage of microseconds; see [`Runner::Inline`].
    #[must_use]
    pub fn inline(stage: impl Stage + 'static) -> Self {
        Self::Inline(Arc::new(stage))
    }

    /// A stage that computes; see [`Runner::Compute`].
    #[must_use]
    pub fn compute(stage: impl Stage + 'static) -> Self {
        Self::Compute(Arc::new(stage))
    }

    /// A stage that waits; see [`Runner::Async`].
    #[must_use]
    pub fn waits(stage: impl AsyncStage + 'static) -> Self {
        Self::Async(Arc::new(stage))
    }

    /// What the stage says of itself.
    #[must_use]
    pub fn observed(&self) -> &dyn Observed {
        match self {
            Self::Inline(stage) | Self::Compute(stage) => &**stage,
            Self::Async(stage) => &**stage,
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
    pub facts: Facts,
}

/// What a built instance says of itself.
pub trait Observed: Send + Sync {
    /// Settings in force that clients may see, beside those options that are public.
    fn describe(&self) -> Facts {
        Facts::new()
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
    fn counters(&self) -> Counters {
        Counters::new()
    }
}

/// A stage that computes: it sees its inputs and returns its outputs, and shares
/// nothing with its neighbours.
pub trait Stage: Observed {
    /// Computes the outputs.
    ///
    /// # Errors
    /// See [`Error`].
    fn run(&self, inputs: &Inputs, call: &Call) -> Result<Outputs, Error>;

    /// True where a stage that computes takes some microseconds with these inputs: less than to hand
    /// them to a thread and to wake whoever waits for it. It runs where the request is driven then,
    /// unless its step has bounds of its own.
    fn is_brief(&self, inputs: &Inputs) -> bool {
        let _ = inputs;
        false
    }
}

/// A stage that waits for something outside the process, or for a queue in it.
pub trait AsyncStage: Observed {
    /// Computes the outputs. Dropping the future abandons the work. What it needs no more while it
    /// waits, a picture above all, it drops before: `inputs` may be the last to hold it.
    fn run(
        &self,
        inputs: Inputs,
        call: &Call,
    ) -> impl Future<Output = Result<Outputs, Error>> + Send;

    /// Finishes what was accepted and is still under way (a queue of writes).
    /// Called once, after the last request.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// An [`AsyncStage`] whatever its type, as [`Runner::Async`] holds it.
pub trait Waiting: Observed {
    /// See [`AsyncStage::run`].
    fn run<'a>(&'a self, inputs: Inputs, call: &'a Call) -> BoxFuture<'a, Result<Outputs, Error>>;

    /// See [`AsyncStage::close`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<S: AsyncStage> Waiting for S {
    fn run<'a>(&'a self, inputs: Inputs, call: &'a Call) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(AsyncStage::run(self, inputs, call))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(AsyncStage::close(self))
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
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    ports: Arc<[Input]>,
    values: Vec<Option<Value>>,
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

    /// The value at a port, whatever its type; `None` where it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let index = self.ports.iter().position(|port| port.name == name)?;
        self.values[index].as_ref()
    }
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

    /// The same outputs and one more, for who knows its port by name only.
    #[must_use]
    pub fn put(mut self, port: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.0.push((port.into(), value.into()));
        self
    }

    /// The value given at a port, whatever its type.
    #[must_use]
    pub fn value(&self, port: &str) -> Option<&Value> {
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
