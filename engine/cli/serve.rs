//! `omnizap serve`: the pipelines over HTTP, until a signal ends it.

mod bounds;
mod collected;
mod keys;
mod load;
#[cfg(feature = "otlp")]
mod otlp;
mod trust;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use engine::http::{Ended, Limits, Page, Service, Trust, serve};
use engine::live::source::Stamps;
use engine::live::watch::Reload;
use engine::live::{Live, Loading};
use engine::pipeline::Pipeline;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::bounds::BoundArgs;
use self::keys::KeyFile;
pub(super) use self::load::is_trial;
use self::load::{House, LoadArgs};
use self::trust::TrustArgs;
use super::page::page;
use super::value::{Listen, ms, switch, whole};
use super::{Common, Failure, signals};

#[derive(Clone, Debug, Args)]
pub(super) struct ServeArgs {
    /// Address to listen on, HOST:PORT; :PORT is every interface, PORT this machine alone, and
    /// port 0 takes a free one
    #[arg(
        long,
        env = "OMNIZAP_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8008",
        value_parser = Listen::parse
    )]
    listen: Listen,
    #[command(flatten)]
    bounds: BoundArgs,
    /// How long requests in flight may take to finish after SIGTERM, in milliseconds; those that are
    /// left then are answered 503. A second signal ends the program at once
    #[arg(
        long,
        env = "OMNIZAP_SHUTDOWN_GRACE_MS",
        value_name = "MS",
        default_value_t = ms(Limits::default().shutdown_grace),
        value_parser = |text: &str| whole(text, 0, 3_600_000)
    )]
    shutdown_grace_ms: u64,
    /// Start without plugins: their stages are off
    #[arg(
        long,
        env = "OMNIZAP_SAFE",
        value_parser = switch
    )]
    safe: bool,
    /// Serve no page for people at `/`
    #[arg(
        long,
        env = "OMNIZAP_NO_PAGE",
        value_parser = switch
    )]
    no_page: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl ServeArgs {
    /// Where it listens.
    pub(super) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// Its bounds.
    pub(super) fn limits(&self) -> Result<Limits, Failure> {
        Ok(self.bounds.limits()?)
    }

    /// Whom it answers, with the keys as they are now.
    pub(super) fn trust(&self) -> Result<Trust, Failure> {
        self.trust.read().map(|(trust, _)| trust)
    }

    /// The files of its keys.
    pub(super) fn key_files(&self) -> [Option<&Path>; 2] {
        self.trust.key_files()
    }

    /// True where it does without plugins.
    pub(super) fn is_safe(&self) -> bool {
        self.safe
    }

    /// Takes the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn take(&mut self, before: &Self, is_said: &dyn Fn(&str) -> bool) {
        let one = |id: &str| if is_said(id) { before } else { &*self };
        *self = Self {
            listen: one("listen").listen.clone(),
            shutdown_grace_ms: one("shutdown_grace_ms").shutdown_grace_ms,
            safe: one("safe").safe,
            no_page: one("no_page").no_page,
            bounds: self.bounds.taking(&before.bounds, is_said),
            trust: self.trust.taking(&before.trust, is_said),
            load: self.load.taking(&before.load, is_said),
        };
    }
}

pub(super) async fn run(common: &Common, args: ServeArgs) -> Result<ExitCode, Failure> {
    if let Some(asked) = args.load.asked() {
        return load::rehearse(common, asked).await;
    }
    let (trust, key_files) = args.trust.read()?;
    let common = &load::pinned(common)?;
    super::config::check_database(common)?;
    #[cfg(not(feature = "otlp"))]
    collected::warn_of_absence();
    let grace = Duration::from_millis(args.shutdown_grace_ms);
    let terms = Terms {
        trust,
        key_files,
        limits: Limits {
            shutdown_grace: load::for_requests(grace),
            ..args.bounds.limits()?
        },
        grace,
        #[cfg(feature = "otlp")]
        traces: otlp::traces()?,
        page: if args.no_page {
            Page::default()
        } else {
            page()
        },
        // Before anything is loaded: else one that comes meanwhile would end the process.
        hangups: [signal(SignalKind::hangup())?, signal(SignalKind::hangup())?],
    };
    // The same: what waits for a plugin then can be ended too.
    let mut shutdown = Box::pin(shutdown_signal()?);
    let house = House::new(common, args.safe, args.bounds.admission()?)?;
    let started = tokio::select! {
        started = start(common, &args, &house) => started,
        () = &mut shutdown => {
            house.leave(grace).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match started {
        Ok(started) => Ok(answer(started, terms, house, shutdown).await),
        Err(failure) => {
            house.leave(grace).await;
            Err(failure)
        }
    }
}

/// On what terms requests are answered.
struct Terms {
    trust: Trust,
    /// Those whose keys may change.
    key_files: Vec<KeyFile>,
    limits: Limits,
    /// What all has to end.
    grace: Duration,
    page: Page,
    /// What traces of requests are sent by.
    #[cfg(feature = "otlp")]
    traces: Option<otlp::Traces>,
    /// What asks for a look at the pipelines, and at the keys.
    hangups: [Signal; 2],
}

/// What answers requests from now on.
struct Started {
    begun: Instant,
    listener: TcpListener,
    address: SocketAddr,
    loading: Loading,
    pipelines: Vec<Arc<Pipeline>>,
    read: Stamps,
}

/// Loads the pipelines, and takes the port.
async fn start(common: &Common, args: &ServeArgs, house: &House) -> Result<Started, Failure> {
    let begun = Instant::now();
    let (loading, graphs, read) = house.look(common, &args.load).await?;
    // The port before the models: a second start by mistake ends at once.
    let listener = args.listen.bind().await.map_err(|error| {
        let is_taken = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        let help = if is_taken { ": is it in use?" } else { "" };
        error.context(format!("cannot listen on {}{help}", args.listen))
    })?;
    let address = listener.local_addr()?;
    let (loading, pipelines) = load::build(loading, graphs).await?;
    Ok(Started {
        begun,
        listener,
        address,
        loading,
        pipelines,
        read,
    })
}

/// Answers requests until the signal, and ends all that there is.
async fn answer(
    started: Started,
    terms: Terms,
    house: House,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> ExitCode {
    let Started {
        begun,
        listener,
        address,
        loading,
        pipelines,
        read,
    } = started;
    let Terms {
        trust,
        key_files,
        limits,
        grace,
        page,
        #[cfg(feature = "otlp")]
        traces,
        hangups: [mut hangup, hangup_of_keys],
    } = terms;
    for pipeline in &pipelines {
        let file = &pipeline.graph.file;
        let routes = [&file.route, &file.settings_route];
        let routes: Vec<_> = routes
            .into_iter()
            .flatten()
            .map(|route| route.get_ref().to_string())
            .collect();
        tracing::info!(
            pipeline = pipeline.name(),
            stages = pipeline.graph.order.len(),
            routes = routes.join(", "),
            "ready"
        );
    }
    let live = Arc::new(Live::new(pipelines));
    let service = Service::new(live.clone(), limits)
        .trusting(trust)
        .with_page(page);
    #[cfg(feature = "otlp")]
    let service = match &traces {
        Some(traces) => service.collected_by(traces.collector()),
        None => service,
    };
    let service = Arc::new(service);
    let following = tokio::spawn(keys::follow(key_files, hangup_of_keys));
    let reload = Reload {
        loading,
        live: live.clone(),
        read,
    };
    let watching = tokio::spawn(reload.watch(async move || hangup.recv().await.is_some()));
    let stopping = live.clone();
    let shutdown = async move {
        shutdown.await;
        stopping.end_by(Instant::now() + grace);
    };
    tracing::info!(
        ready_ms = begun.elapsed().as_millis() as u64,
        "listening on http://{address}"
    );
    let ended = serve(listener, service, shutdown).await;
    watching.abort();
    following.abort();
    house.end(&live).await;
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        traces.end().await;
    }
    match ended {
        Ended::Answered => tracing::info!("all requests in flight were answered, goodbye"),
        Ended::Refused => tracing::warn!(
            "the grace after the signal ran out, the requests left were answered 503, goodbye"
        ),
        Ended::Dropped => {
            tracing::warn!("the grace after the signal ran out, requests in flight were dropped");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let first = signals::first_of_server()?;
    Ok(async move {
        first.await;
        tracing::info!("shutting down: finishing the requests in flight");
    })
}
