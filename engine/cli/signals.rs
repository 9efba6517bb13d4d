//! SIGTERM, SIGINT as Ctrl-C sends it, and SIGHUP as a terminal that is closed: the first one ends a
//! command in order, a second one at once. `serve` takes SIGHUP for itself.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// What a shell reports of a program that SIGHUP, SIGINT or SIGTERM ended.
const HUNG_UP: u8 = 129;
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Who tells a program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Not where it asks for something else.
    hangup: Option<Signal>,
}

/// Resolves at the first of them, with the exit code of who is ended by it. From then on, and where
/// nobody waits for this any more, the next one ends the process at once.
///
/// # Errors
/// Where the system takes no handler.
pub(super) fn first() -> io::Result<impl Future<Output = u8> + Send + 'static> {
    first_of(Some(signal(SignalKind::hangup())?))
}

/// The same of a server, which takes SIGHUP for itself.
///
/// # Errors
/// As of [`first`].
pub(super) fn first_of_server() -> io::Result<impl Future<Output = u8> + Send + 'static> {
    first_of(None)
}

fn first_of(hangup: Option<Signal>) -> io::Result<impl Future<Output = u8> + Send + 'static> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup,
    };
    let (tell, told) = oneshot::channel();
    // A task of its own: whoever ends what there is may be at work.
    tokio::spawn(async move {
        let mut code = signals.next().await;
        if tell.send(code).is_ok() {
            code = signals.next().await;
        }
        std::process::exit(i32::from(code));
    });
    Ok(async move {
        match told.await {
            Ok(code) => code,
            // The runtime is ending.
            Err(_) => std::future::pending().await,
        }
    })
}

impl Signals {
    async fn next(&mut self) -> u8 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => TERMINATED,
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = hangup => HUNG_UP,
        }
    }
}
