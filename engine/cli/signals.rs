//! SIGTERM, and SIGINT as Ctrl-C sends it: the first one ends a command in order, a second one at
//! once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// What a shell reports of a program that SIGINT ended, and one that SIGTERM did.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Resolves at the first of them, with the exit code of who is ended by it. From then on, and where
/// nobody waits for this any more, the next one ends the process at once.
///
/// # Errors
/// Where the system takes no handler.
pub(super) fn first() -> io::Result<impl Future<Output = u8> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = oneshot::channel();
    // A task of its own: whoever ends what there is may be at work.
    tokio::spawn(async move {
        let mut code = either(&mut terminate, &mut interrupt).await;
        if tell.send(code).is_ok() {
            code = either(&mut terminate, &mut interrupt).await;
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

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> u8 {
    tokio::select! {
        _ = terminate.recv() => TERMINATED,
        _ = interrupt.recv() => INTERRUPTED,
    }
}
