//! What an author implements, and what a call sees.

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{Channels, Error, ErrorKind, OptionFault, Options, Outputs, PortType};

use crate::Descriptor;
use crate::glue::{CallRef, HostRef};

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
    pub(crate) names: &'static [crate::Input],
}

/// Pixels of 8 bits a sample, interleaved; rows without padding.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples of a pixel.
    pub channels: Channels,
    /// `height * width * channels` bytes.
    pub pixels: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// Row `y` from the top, its pixels left to right; empty past the last row.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let stride = self.width * self.channels.count();
        let from = self.pixels.get(y.saturating_mul(stride)..);
        from.and_then(|rest| rest.get(..stride)).unwrap_or_default()
    }

    /// Luminance of a pixel, counted row by row, in thousandths: 0 to 255,000 (ITU-R BT.601
    /// weights). 0 past the last pixel.
    #[must_use]
    pub fn luminance(&self, pixel: usize) -> u64 {
        let samples = self.channels.count();
        let found = self.pixels.chunks_exact(samples).nth(pixel);
        self.luminance_of(found.unwrap_or_default())
    }

    /// The same of a pixel given by its samples, for those who go through rows.
    #[must_use]
    pub fn luminance_of(&self, samples: &[u8]) -> u64 {
        match (self.channels, samples) {
            (Channels::Gray, [gray, ..]) => 1000 * u64::from(*gray),
            (_, [r, g, b, ..]) => 299 * u64::from(*r) + 587 * u64::from(*g) + 114 * u64::from(*b),
            _ => 0,
        }
    }
}

impl<'a> Inputs<'a> {
    fn index(&self, name: &str, ty: PortType) -> Result<usize, Error> {
        let found = self.names.iter().position(|input| input.is(name, ty));
        found.ok_or_else(|| {
            Error::internal(format!("the stage declares no input `{name}` of type {ty}"))
        })
    }

    /// The image at a required port.
    ///
    /// # Errors
    /// Internal where the stage declares no such port.
    pub fn image(&self, name: &str) -> Result<ImageView<'a>, Error> {
        let index = self.index(name, PortType::Image)?;
        let view = self.call.image(index);
        view.ok_or_else(|| Error::internal(format!("the input `{name}` is no image")))
    }

    /// The string at a port, `None` where it is absent.
    ///
    /// # Errors
    /// Internal where the stage declares no such port.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let index = self.index(name, PortType::Text)?;
        Ok(self.call.text(index))
    }

    /// The bytes at a port, `None` where it is absent.
    ///
    /// # Errors
    /// Internal where the stage declares no such port.
    pub fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>, Error> {
        let index = self.index(name, PortType::Bytes)?;
        Ok(self.call.bytes(index))
    }

    /// The number at a port, `None` where it is absent.
    ///
    /// # Errors
    /// Internal where the stage declares no such port.
    pub fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        let index = self.index(name, PortType::Number)?;
        Ok(self.call.number(index))
    }
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
