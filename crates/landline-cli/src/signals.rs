//! Signals that end a command.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Completes at the first SIGINT, SIGTERM or SIGHUP, so that a command can clean up. The second one ends the process at once.
///
/// # Errors
/// Where the system lets no signal be received.
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: io::Error| Failure::local(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            #[allow(clippy::exit, reason = "the second signal means now, whatever is still open")]
            std::process::exit(130);
        });
    })
}
