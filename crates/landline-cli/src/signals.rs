//! Signals that end a command, or tell it something.

use std::{
    future::Future,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_socketserver::Stopper;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

use crate::failure::Failure;

/// Completes at the first SIGINT, SIGTERM or SIGHUP, so that a command can clean up. The second one ends the process at once.
///
/// # Errors
/// Where the system lets no signal be received.
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    first_of([SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
}

/// Does what changes the terminal and changes it back. A SIGINT in between, which would end this process before it is changed back, does
/// so behind it; where something else receives the signal, that has heard it.
pub(crate) fn deferring_interrupt<T>(work: impl FnOnce() -> T) -> T {
    static CAME: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_signal: libc::c_int) {
        CAME.store(true, Ordering::Relaxed);
    }
    CAME.store(false, Ordering::Relaxed);
    // SAFETY: a zeroed sigaction is one that is complete, and both pointers are to what lives as long as the call.
    let before = unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut before);
        before
    };
    if before.sa_sigaction != libc::SIG_DFL {
        return work();
    }
    // SAFETY: as above; the handler does nothing but store to an atomic, which any handler may.
    unsafe {
        let mut noting = before;
        noting.sa_sigaction = note as *const () as usize;
        libc::sigaction(libc::SIGINT, &raw const noting, std::ptr::null_mut());
    }
    let done = work();
    // SAFETY: what is put back was there before.
    unsafe {
        libc::sigaction(libc::SIGINT, &raw const before, std::ptr::null_mut());
        if CAME.load(Ordering::Relaxed) {
            libc::raise(libc::SIGINT);
        }
    }
    done
}

/// As [`stop`], but for SIGHUP: each of those is a notice to read the configuration again.
///
/// # Errors
/// As [`stop`].
pub(crate) fn stop_and_reload() -> Result<(impl Future<Output = ()>, Arc<Notify>), Failure> {
    let mut hang_up = receive(SignalKind::hangup())?;
    let reload = Arc::new(Notify::new());
    let notice = reload.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            notice.notify_one();
        }
    });
    Ok((first_of([SignalKind::interrupt(), SignalKind::terminate()])?, reload))
}

fn first_of<const N: usize>(kinds: [SignalKind; N]) -> Result<impl Future<Output = ()>, Failure> {
    let (sender, mut received) = mpsc::channel(1);
    for kind in kinds {
        let (mut of_this_kind, sender) = (receive(kind)?, sender.clone());
        tokio::spawn(async move { while of_this_kind.recv().await.is_some() && sender.send(()).await.is_ok() {} });
    }
    Ok(async move {
        received.recv().await;
        tokio::spawn(async move {
            received.recv().await;
            #[allow(clippy::exit, reason = "the second signal means now, whatever is still open")]
            std::process::exit(130);
        });
    })
}

fn receive(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error: io::Error| Failure::local(format!("signals cannot be received: {error}")))
}

/// Stops the servers of `stopper` at the first SIGINT, SIGTERM or SIGHUP; the second one ends the process at once. For a process
/// that forks, and so can have no thread that waits. In its children SIGTERM ends them, and the others are left to the parent.
pub(crate) fn stop_forking(stopper: Stopper) {
    static PARENT: OnceLock<(u32, Stopper)> = OnceLock::new();
    extern "C" fn handle(signal: libc::c_int) {
        match PARENT.get() {
            Some((parent, _)) if *parent != std::process::id() && signal != libc::SIGTERM => {}
            Some((parent, stopper)) if *parent == std::process::id() => {
                stopper.stop();
                // SAFETY: signal(2) and raise(3) may be called in a handler, and SIG_DFL is one.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            // SAFETY: as above.
            _ => unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            },
        }
    }
    let _ = PARENT.set((std::process::id(), stopper));
    let handler: extern "C" fn(libc::c_int) = handle;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler makes system calls alone, and reads what was written before it was set.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
