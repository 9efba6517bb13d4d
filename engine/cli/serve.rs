//! `omnizap serve`: the pipelines over HTTP, until a signal ends it.

mod bounds;
mod load;
mod trust;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use engine::http::{Limits, Service, Trust, serve};
use engine::live::source::Stamps;
use engine::live::watch::Reload;
use engine::live::{Live, Loading};
use engine::pipeline::Pipeline;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::bounds::BoundArgs;
pub(super) use self::load::is_trial;
use self::load::{House, LoadArgs};
use self::trust::TrustArgs;
use super::value::{Listen, switch, whole};
use super::{Common, Failure};

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
    /// Largest request body, in bytes
    #[arg(
        long,
        env = "OMNIZAP_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().max_body_bytes as u64,
        value_parser = |text: &str| whole(text, 1, 1 << 30)
    )]
    max_body_bytes: u64,
    /// Most requests in flight; further ones are answered 429
    #[arg(
        long,
        env = "OMNIZAP_MAX_REQUESTS_IN_FLIGHT",
        value_name = "N",
        default_value_t = Limits::default().max_requests_in_flight as u64,
        value_parser = |text: &str| whole(text, 1, 65_536)
    )]
    max_requests_in_flight: u64,
    /// Longest time without a byte of a request body, in milliseconds; 408 beyond
    #[arg(
        long,
        env = "OMNIZAP_BODY_IDLE_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = |text: &str| whole(text, 1, 3_600_000)
    )]
    body_idle_timeout_ms: u64,
    /// Longest time for a whole request body, in milliseconds; 408 beyond
    #[arg(
        long,
        env = "OMNIZAP_BODY_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 600_000,
        value_parser = |text: &str| whole(text, 1, 86_400_000)
    )]
    body_timeout_ms: u64,
    /// Longest time that a body is read on after an early answer, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_DRAIN_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = |text: &str| whole(text, 0, 3_600_000)
    )]
    drain_timeout_ms: u64,
    /// Most bytes of a body that are read on after an early answer
    #[arg(
        long,
        env = "OMNIZAP_MAX_DRAIN_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().max_drain_bytes as u64,
        value_parser = |text: &str| whole(text, 0, 1 << 40)
    )]
    max_drain_bytes: u64,
    /// How long requests in flight may take to finish after SIGTERM, in milliseconds
    #[arg(
        long,
        env = "OMNIZAP_SHUTDOWN_GRACE_MS",
        value_name = "MS",
        default_value_t = 30_000,
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
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl ServeArgs {
    /// Takes the flags of `before` that `is_said` tells, by their ids.
    pub(super) fn take(&mut self, before: &Self, is_said: &dyn Fn(&str) -> bool) {
        fn either<T: Clone>(is_before: bool, before: &T, after: &T) -> T {
            if is_before { before } else { after }.clone()
        }
        *self = Self {
            listen: either(is_said("listen"), &before.listen, &self.listen),
            max_body_bytes: either(
                is_said("max_body_bytes"),
                &before.max_body_bytes,
                &self.max_body_bytes,
            ),
            max_requests_in_flight: either(
                is_said("max_requests_in_flight"),
                &before.max_requests_in_flight,
                &self.max_requests_in_flight,
            ),
            body_idle_timeout_ms: either(
                is_said("body_idle_timeout_ms"),
                &before.body_idle_timeout_ms,
                &self.body_idle_timeout_ms,
            ),
            body_timeout_ms: either(
                is_said("body_timeout_ms"),
                &before.body_timeout_ms,
                &self.body_timeout_ms,
            ),
            drain_timeout_ms: either(
                is_said("drain_timeout_ms"),
                &before.drain_timeout_ms,
                &self.drain_timeout_ms,
            ),
            max_drain_bytes: either(
                is_said("max_drain_bytes"),
                &before.max_drain_bytes,
                &self.max_drain_bytes,
            ),
            shutdown_grace_ms: either(
                is_said("shutdown_grace_ms"),
                &before.shutdown_grace_ms,
                &self.shutdown_grace_ms,
            ),
            safe: either(is_said("safe"), &before.safe, &self.safe),
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
    let trust = args.trust.read()?;
    let common = &load::pinned(common)?;
    super::config::check_database(common)?;
    let grace = Duration::from_millis(args.shutdown_grace_ms);
    // Before anything is loaded: what waits for a plugin then can be ended too.
    let mut shutdown = Box::pin(shutdown_signal()?);
    let house = House::new(common, args.safe)?;
    let started = tokio::select! {
        started = start(common, &args, &house) => started,
        () = &mut shutdown => {
            house.leave(grace).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match started {
        Ok(started) => answer(started, &args, trust, house, shutdown, grace).await,
        Err(failure) => {
            house.leave(grace).await;
            Err(failure)
        }
    }
}

/// What answers requests from now on.
struct Started {
    begun: Instant,
    listener: TcpListener,
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
    let (loading, pipelines) = load::build(loading, graphs).await?;
    Ok(Started {
        begun,
        listener,
        loading,
        pipelines,
        read,
    })
}

/// Answers requests until the signal, and ends all that there is.
async fn answer(
    started: Started,
    args: &ServeArgs,
    trust: Trust,
    house: House,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> Result<ExitCode, Failure> {
    let Started {
        begun,
        listener,
        loading,
        pipelines,
        read,
    } = started;
    let address = listener.local_addr()?;
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
    let limits = Limits {
        max_body_bytes: usize::try_from(args.max_body_bytes)?,
        max_requests_in_flight: usize::try_from(args.max_requests_in_flight)?,
        body_idle_timeout: Duration::from_millis(args.body_idle_timeout_ms),
        body_timeout: Duration::from_millis(args.body_timeout_ms),
        drain_timeout: Duration::from_millis(args.drain_timeout_ms),
        max_drain_bytes: usize::try_from(args.max_drain_bytes)?,
        shutdown_grace: load::for_requests(grace),
        ..args.bounds.limits()?
    };
    let live = Arc::new(Live::new(pipelines));
    let service = Arc::new(Service::new(live.clone(), limits).trusting(trust));
    let mut hangup = signal(SignalKind::hangup())?;
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
    let finished = serve(listener, service, shutdown).await;
    watching.abort();
    house.end(&live).await;
    if !finished {
        tracing::warn!("the grace after the signal ran out, requests in flight were dropped");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("all requests in flight were answered, goodbye");
    Ok(ExitCode::SUCCESS)
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("shutting down: finishing the requests in flight");
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            std::process::exit(130);
        });
    })
}
