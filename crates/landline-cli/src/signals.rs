//! Signals that end a command, or tell it something.

use std::{
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
};

use landline_socketserver::Stopper;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

use crate::failure::Failure;

/// Completes at the first SIGINT, SIGTERM or SIGHUP, so that a command can clean up. The second one
/// ends the process at once.
///
/// # Errors
/// Where the system lets no signal be received.
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    first_of([
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ])
}

/// What a terminal was before somebody was asked for what is not to be seen.
struct Before {
    terminal: OwnedFd,
    modes: libc::termios,
    /// Who asks, and may be just about to change the terminal.
    asker: libc::pthread_t,
}

/// What the terminal was, while somebody is asked. What it leads to is never freed: a handler of
/// another thread may be at it.
static BEFORE: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

/// Changes the terminal back, if somebody is being asked; for whoever ends this process meanwhile.
pub(crate) fn restore_now() {
    // SAFETY: what the pointer leads to is never freed, and its terminal stays open. All calls may
    // be made in a handler (signal-safety(7)).
    unsafe {
        let Some(before) = BEFORE.load(Ordering::Acquire).as_ref() else {
            return;
        };
        // In the background the shell has changed it back, and changing it would stop this process.
        if is_in_foreground(&before.terminal) {
            libc::tcsetattr(
                before.terminal.as_raw_fd(),
                libc::TCSANOW,
                &raw const before.modes,
            );
        }
    }
}

/// Whether this process may use its terminal.
fn is_in_foreground(terminal: &OwnedFd) -> bool {
    // SAFETY: both take and return numbers, and may be called in a handler.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// How often a process is stopped that would ask in the background. Where the system lets nothing
/// stop it, asking fails.
const STOPS_MAX: usize = 100;

/// Does what changes the terminal and changes it back. A signal in between that ends this process
/// changes it back first; one that something else receives is left to that.
pub(crate) fn restoring_terminal<T>(terminal: OwnedFd, work: impl FnOnce() -> T) -> T {
    extern "C" fn restore(signal: libc::c_int) {
        // SAFETY: what the pointer leads to is never freed, and whoever asks is a thread that lives
        // at least until it leads nowhere. pthread_self(3), pthread_kill(3), signal(2),
        // raise(3) and what restore_now calls may be called in a handler (signal-safety(7)).
        unsafe {
            // In the thread that asks, which then changes the terminal no more.
            if let Some(before) = BEFORE.load(Ordering::Acquire).as_ref()
                && is_in_foreground(&before.terminal)
                && libc::pthread_equal(before.asker, libc::pthread_self()) == 0
            {
                libc::pthread_kill(before.asker, signal);
                return;
            }
            restore_now();
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    // Stopped here, and not where the terminal is changed: as long as no handler is in place,
    // whatever ends this process does so at once.
    for _ in 0..STOPS_MAX {
        if is_in_foreground(&terminal) {
            break;
        }
        // SAFETY: it stops this process until it is continued.
        unsafe { libc::raise(libc::SIGTTIN) };
    }
    // SAFETY: a zeroed termios is one, which is read only if it was filled.
    let modes = unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        (libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes) == 0).then_some(modes)
    };
    let Some(modes) = modes else { return work() };
    // SAFETY: it cannot fail.
    let asker = unsafe { libc::pthread_self() };
    // Few are asked more than once.
    BEFORE.store(
        Box::into_raw(Box::new(Before {
            terminal,
            modes,
            asker,
        })),
        Ordering::Release,
    );
    let handler: extern "C" fn(libc::c_int) = restore;
    let ours = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].map(|signal| {
        // SAFETY: a zeroed sigaction is one that is complete, all pointers are to what lives as
        // long as the calls, and the handler is sound.
        unsafe {
            let mut was: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut was);
            let is_ours = was.sa_sigaction == libc::SIG_DFL;
            if is_ours {
                libc::signal(signal, handler as libc::sighandler_t);
            }
            (signal, is_ours)
        }
    });
    let done = work();
    for (signal, _) in ours.into_iter().filter(|(_, is_ours)| *is_ours) {
        // SAFETY: what is put back was there before.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    BEFORE.store(ptr::null_mut(), Ordering::Release);
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
    Ok((
        first_of([SignalKind::interrupt(), SignalKind::terminate()])?,
        reload,
    ))
}

fn first_of<const N: usize>(kinds: [SignalKind; N]) -> Result<impl Future<Output = ()>, Failure> {
    let (sender, mut received) = mpsc::channel(1);
    for kind in kinds {
        let (mut of_this_kind, sender) = (receive(kind)?, sender.clone());
        tokio::spawn(async move {
            while of_this_kind.recv().await.is_some() && sender.send(()).await.is_ok() {}
        });
    }
    Ok(async move {
        received.recv().await;
        tokio::spawn(async move {
            received.recv().await;
            restore_now();
            #[allow(
                clippy::exit,
                reason = "the second signal means now, whatever is still open"
            )]
            std::process::exit(130);
        });
    })
}

fn receive(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error: io::Error| Failure::local(format!("signals cannot be received: {error}")))
}

/// Stops the servers of `stopper` at the first SIGINT, SIGTERM or SIGHUP; the second one ends the
/// process at once. For a process that forks, and so can have no thread that waits. In its children
/// SIGTERM ends them, and the others are left to the parent.
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
        // SAFETY: the handler makes system calls alone, and reads what was written before it was
        // set.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
