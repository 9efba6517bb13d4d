//! What an author implements, and what a call sees.

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::typed::{In, InPort, InSpec, Text};
use omnizap_contract::{Bytes, Embedding, Error, ErrorKind, Image, OptionFault, Options, Outputs};

use crate::descriptor::Descriptor;
use crate::raw::{CallRef, HostRef};
use crate::view::ImageView;

/// A stage. One instance serves all calls, several at a time.
pub trait Stage: Sized + Send + Sync + 'static {
    /// Its ports, options and flags.
    const DESCRIPTOR: Descriptor;

    /// Makes an instance: loads models, opens files. `options` are complete and within the
    /// schema, and have passed [`Self::check`].
    ///
    /// # Errors
    /// What is missing and how to get it, for the operator.
    fn new(options: &Options, log: Log) -> Result<Self, Error>;

    /// Checks what the schema cannot say. Pure and fast.
    ///
    /// # Errors
    /// The option at fault.
    fn check(options: &Options) -> Result<(), OptionFault> {
        let _ = options;
        Ok(())
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::Invalid`] for what the client got wrong; its message
    /// goes to the client. Internal ones go to the log, and the instance is made anew.
    fn run(&self, inputs: &Inputs<'_>, call: &Call<'_>) -> Result<Outputs, Error>;

    /// Computes several calls at a time, of as many requests: a result for each, in their
    /// order. Asked for by a `max_batch` above 1 in the descriptor; the host calls it on one
    /// thread of the stage with whatever waits, and [`Self::run`] where only one call does.
    ///
    /// An error fails its own call only. A panic fails the batch: of a pure stage the host then
    /// runs each call alone, so that only the one to blame fails.
    ///
    /// By default it runs them one by one, which gains nothing: share work between them.
    fn run_batch(&self, batch: &[(Inputs<'_>, Call<'_>)]) -> Vec<Result<Outputs, Error>> {
        let each = batch.iter();
        each.map(|(inputs, call)| {
            call.still_wanted()?;
            self.run(inputs, call)
        })
        .collect()
    }
}

/// The inputs of one call, borrowed: nothing was copied.
pub struct Inputs<'a> {
    pub(crate) call: CallRef<'a>,
    pub(crate) ports: &'static [InSpec],
}

impl<'a> Inputs<'a> {
    /// The value at a port.
    ///
    /// # Errors
    /// Internal where the stage does not declare the port.
    pub fn get<T: Lent>(&self, port: In<T>) -> Result<T::View<'a>, Error> {
        let port = port.spec();
        let mut ports = self.ports.iter();
        let index = ports.position(|known| known.name == port.name && known.ty == port.ty);
        let found = index.and_then(|index| T::lent(&self.call, index));
        found.ok_or_else(|| {
            let (name, ty) = (port.name, port.ty);
            Error::internal(format!(
                "the stage has no value at an input `{name}` of type {ty}"
            ))
        })
    }
}

/// What an input of a plugin may be.
pub trait Lent: InPort {
    /// How a stage sees it.
    type View<'a>;
    #[doc(hidden)]
    fn lent<'a>(call: &CallRef<'a>, index: usize) -> Option<Self::View<'a>>;
}

macro_rules! lent {
    ($($ty:ty, $view:ty, $read:ident;)*) => {$(
        impl Lent for $ty {
            type View<'a> = $view;

            fn lent<'a>(call: &CallRef<'a>, index: usize) -> Option<Self::View<'a>> {
                call.$read(index)
            }
        }

        impl Lent for Option<$ty> {
            type View<'a> = Option<$view>;

            fn lent<'a>(call: &CallRef<'a>, index: usize) -> Option<Self::View<'a>> {
                Some(call.$read(index))
            }
        }
    )*};
}

lent! {
    Image, ImageView<'a>, image;
    Embedding, &'a [f32], embedding;
    Text, &'a str, text;
    Bytes, &'a [u8], bytes;
    f64, f64, number;
    i64, i64, integer;
    bool, bool, bool;
}

/// One call.
pub struct Call<'a> {
    pub(crate) call: CallRef<'a>,
    pub(crate) host: HostRef,
}

impl Call<'_> {
    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.call.request_id()
    }

    /// Time that was left when the call began.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.call.remaining_ns())
    }

    /// True once nobody waits for the answer, because the client has gone or the time is over.
    /// Asking costs about as much as reading the clock: ask every millisecond or so of work.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled(&self.call)
    }

    /// The way to give up: `call.still_wanted()?` between two pieces of work.
    ///
    /// # Errors
    /// [`ErrorKind::Deadline`] where [`Self::is_cancelled`].
    pub fn still_wanted(&self) -> Result<(), Error> {
        if self.is_cancelled() {
            return Err(Self::given_up());
        }
        Ok(())
    }

    /// The error of a call that was given up.
    #[must_use]
    pub fn given_up() -> Error {
        Error::new(
            ErrorKind::Deadline,
            "given up: nobody waits for the answer any more",
        )
    }
}

/// The host's log, and numbers for its operator.
///
/// Lines: at most 100 a second from one plugin, the rest is counted. Numbers: at most 64 names a
/// plugin, of a-z, 0-9 and _; `GET /pipelines` shows them as `plugin_metrics`.
#[derive(Clone)]
pub struct Log(pub(crate) Arc<HostRef>);

impl Log {
    /// Something failed.
    pub fn error(&self, message: &str) {
        self.0.log(omnizap_contract::abi::LOG_ERROR, message);
    }

    /// Something is worth a look.
    pub fn warn(&self, message: &str) {
        self.0.log(omnizap_contract::abi::LOG_WARN, message);
    }

    /// Something happened.
    pub fn info(&self, message: &str) {
        self.0.log(omnizap_contract::abi::LOG_INFO, message);
    }

    /// Something that helps to find a fault.
    pub fn debug(&self, message: &str) {
        self.0.log(omnizap_contract::abi::LOG_DEBUG, message);
    }

    /// Adds to a counter.
    pub fn count(&self, counter: &str, amount: f64) {
        self.0.add(counter, amount);
    }

    /// Sets a gauge: a number that may also fall.
    pub fn gauge(&self, gauge: &str, value: f64) {
        self.0.set(gauge, value);
    }
}
