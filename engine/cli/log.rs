//! The log, on standard error: what is said there may have nobody who reads it, a disk without room
//! behind it, or no place at all, and none of that is felt by a request.
//!
//! While serving, lines go through a bounded queue to a thread of their own ([`queue`]); what finds
//! no room there, or cannot be written, is counted and told later. Commands write at once: whoever
//! does not read them holds up nothing but the command. A line is one event: nothing that came from
//! elsewhere begins a line of its own, or moves the cursor ([`line`]); what collects logs gets it as an
//! object of JSON ([`format`]).

mod filter;
mod format;
mod line;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub(super) use self::filter::log_filter;
pub(super) use self::format::{Format, log_format};
use self::line::Keeps;
use self::queue::Queue;
use super::output::takes_colours;

/// How long the end of the program waits for lines that are still to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How long a panic waits for its line: it may be the last of the process.
const PANIC_FLUSH_LIMIT: Duration = Duration::from_millis(100);

/// The level of what a filter does not name, in a program that serves and in a command.
const DEFAULTS: (&str, &str) = ("info", "warn");

/// Where events come from whose text goes over lines: mistakes in files of the operator, with the
/// lines that they are in.
const SEVERAL_LINES: &str = "engine::live";

/// The log of the program. Dropped, it waits for what is still to be written, within a bound.
pub(super) struct Log {
    queue: Option<Arc<Queue>>,
    format: Format,
}

impl Log {
    /// Starts it. Where `behind`, as while serving, a thread of its own writes. What the filter names
    /// no level for has the default one.
    ///
    /// # Errors
    /// A filter that is none, no thread, or a log that was started before.
    pub(super) fn start(filter: &str, behind: bool, format: Format) -> Result<Self, String> {
        let strangers = filter::strangers(filter);
        let default = if behind { DEFAULTS.0 } else { DEFAULTS.1 };
        let filter = filter::with_default(filter, default);
        // Statements and migrations of the database are the log of a debugging session.
        let quiet = "sqlx=warn,sea_orm_migration=warn,sea_orm=warn";
        let filter = EnvFilter::try_new(format!("{quiet},{filter}"));
        let filter = filter.map_err(|error| error.to_string())?;
        // A file or a collector of logs would keep colours as escape sequences.
        let colours = takes_colours(&io::stderr()) && format == Format::Text;
        let queue = behind.then(|| Queue::start(standard_error(), format));
        let queue = queue.transpose();
        let queue = queue.map_err(|error| format!("no thread to write it: {error}"))?;
        let lines = Lines {
            queue: queue.clone(),
            colours,
            format,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(colours)
            .with_writer(lines)
            .with_target(false)
            // It would be told on standard error, by a macro that panics where it cannot.
            .log_internal_errors(false);
        let started = match format {
            Format::Text => subscriber.try_init(),
            Format::Json => subscriber
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .try_init(),
        };
        started.map_err(|error| error.to_string())?;
        if let Some(queue) = &queue {
            tell_panics(queue.clone(), format);
        }
        for stranger in strangers {
            tracing::warn!("{stranger}");
        }
        Ok(Self { queue, format })
    }

    /// Says something that no filter holds back, such as why the program ends.
    pub(super) fn say(&self, text: &str) {
        match (&self.queue, self.format) {
            (Some(queue), Format::Json) => {
                queue.push(self.format.line("ERROR", text, None).into_bytes());
            }
            (Some(queue), Format::Text) => queue.push(format!("{text}\n").into_bytes()),
            (None, _) => errln!("{text}"),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.flush(FLUSH_LIMIT);
        }
    }
}

/// Standard error without the lock that whoever else prints there takes: a write may take for ever.
fn standard_error() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(copy) => Box::new(File::from(copy)),
        Err(_) => Box::new(io::stderr()),
    }
}

/// Panics go into the log: printed as they are otherwise, one would wait for whoever reads it, and
/// the request with it.
fn tell_panics(queue: Arc<Queue>, format: Format) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name").to_owned();
        let place = panic.location().map(|place| format!(" at {place}"));
        let place = place.unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let text = format!("thread {thread} panicked{place}: {message}");
        let trace = Backtrace::capture();
        let trace = Some(&trace).filter(|trace| trace.status() == BacktraceStatus::Captured);
        queue.push(format.line("ERROR", &text, trace).into_bytes());
        queue.flush(PANIC_FLUSH_LIMIT);
    }));
}

/// Where the events of the log go.
struct Lines {
    queue: Option<Arc<Queue>>,
    colours: bool,
    format: Format,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event {
            lines: self,
            keeps: Keeps {
                colours: self.colours,
                lines: false,
            },
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Event<'a> {
        let mut writer = self.make_writer();
        writer.keeps.lines = event.target().starts_with(SEVERAL_LINES);
        writer
    }
}

/// Takes the text of one event, in one piece.
struct Event<'a> {
    lines: &'a Lines,
    keeps: Keeps,
}

impl Write for Event<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let text_of_event = String::from_utf8_lossy(text);
        let line = self.lines.format.event(&text_of_event, self.keeps);
        match &self.lines.queue {
            Some(queue) => queue.push(line.into_bytes()),
            None => err!("{line}"),
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
