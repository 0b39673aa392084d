//! Signals that end a command or notify it.

use std::{
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
    time::Duration,
};

use landline::{exec::CommandControl, paths::local};
use landline_socketserver::Stopper;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

use crate::{
    failure::Failure,
    inherited,
    terminal_mode::{self, terminal_size},
};

/// Completes at the first SIGINT, SIGTERM or SIGHUP, so that a command can clean up.
///
/// The second signal ends the process at once. Ignored signals stay ignored, for nohup(1).
///
/// # Errors
/// The signals cannot be received.
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    first_of([
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ])
}

/// How long a command may take to leave when it was told twice.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// The terminal and its modes before a hidden prompt.
struct Before {
    terminal: OwnedFd,
    modes: libc::termios,
    /// The thread that prompts, which may be about to change the modes.
    asker: libc::pthread_t,
}

/// The terminal's state during a hidden prompt, else null.
///
/// The value is never freed, since a signal handler of another thread may be reading it.
static BEFORE: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

/// Restores the terminal during a hidden prompt. Code that ends the process calls this first.
pub(crate) fn restore_now() {
    // SAFETY: the pointer is null or leads to a value that is never freed, so its terminal stays
    // open. Signal handlers may make all these calls (signal-safety(7)).
    unsafe {
        let Some(before) = BEFORE.load(Ordering::Acquire).as_ref() else {
            return;
        };
        // In the background the shell has restored the terminal, and a change would stop this
        // process.
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
    // SAFETY: both calls take and return numbers, and signal handlers may make them.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// How often a background process is stopped before it prompts. If the system never stops it, the
/// prompt fails.
const STOPS_MAX: usize = 100;

/// Runs `work`, which changes the terminal and restores it.
///
/// A signal that ends the process meanwhile restores the terminal first. Signals that already have
/// a handler keep it.
pub(crate) fn restoring_terminal<T>(terminal: OwnedFd, work: impl FnOnce() -> T) -> T {
    extern "C" fn restore(signal: libc::c_int) {
        // SAFETY: `BEFORE` is null or leads to a value that is never freed. The prompting thread
        // clears `BEFORE` before it returns, so it is alive. Signal handlers may call
        // pthread_self(3), pthread_kill(3), signal(2), raise(3) and `restore_now`
        // (signal-safety(7)).
        unsafe {
            // The prompting thread handles the signal, so it does not change the terminal again.
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
    // The process is stopped here, before it has handlers, so that any signal can still end it.
    for _ in 0..STOPS_MAX {
        if is_in_foreground(&terminal) {
            break;
        }
        // SAFETY: the call only stops this process until it is continued.
        unsafe { libc::raise(libc::SIGTTIN) };
    }
    // SAFETY: a termios of zeros is valid, and it is read only if the call has filled it.
    let modes = unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        (libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes) == 0).then_some(modes)
    };
    let Some(modes) = modes else { return work() };
    // SAFETY: the call has no preconditions.
    let asker = unsafe { libc::pthread_self() };
    let descriptor = terminal.as_raw_fd();
    // This leaks a little memory and a descriptor at each prompt, and a process has few.
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
        // SAFETY: a sigaction of zeros is valid, the pointers live as long as the calls, and the
        // handler is safe to run at any time.
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
        // SAFETY: this restores the earlier action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    BEFORE.store(ptr::null_mut(), Ordering::Release);
    // A handler that still runs may use the descriptor. A process that stays in the background
    // must not keep the terminal open.
    if let Ok(nothing) = local::open(Path::new("/dev/null")) {
        // SAFETY: both descriptors are open. This one belongs to a value that is never freed.
        unsafe {
            libc::dup2(nothing.as_raw_fd(), descriptor);
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    done
}

/// Does the same as [`stop`], but each SIGHUP notifies the caller to read the configuration again.
///
/// A process that began in the foreground of its terminal stops once that is closed. One in the
/// background lives on: it may be meant to outlive the login, and its terminal goes without a
/// signal.
///
/// # Errors
/// As [`stop`].
pub(crate) fn stop_and_reload() -> Result<(impl Future<Output = ()>, Arc<Notify>), Failure> {
    let (reload, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    if let Some(mut hang_up) = receive(SignalKind::hangup())? {
        let (reload, closed) = (reload.clone(), closed.clone());
        let began_in_foreground =
            local::open_terminal().is_ok_and(|terminal| is_in_foreground(&terminal.into()));
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                if began_in_foreground && is_terminal_closed() {
                    closed.notify_one();
                } else {
                    reload.notify_one();
                }
            }
        });
    }
    let stopped = first_of([SignalKind::interrupt(), SignalKind::terminate()])?;
    let stopped = async move {
        tokio::select! {
            () = stopped => {}
            () = closed.notified() => {}
        }
    };
    Ok((stopped, reload))
}

/// Whether this process has no terminal any more.
fn is_terminal_closed() -> bool {
    let opened = local::open_terminal().map_err(|error| error.raw_os_error());
    matches!(opened, Err(Some(libc::ENXIO | libc::EIO)))
}

fn first_of<const N: usize>(kinds: [SignalKind; N]) -> Result<impl Future<Output = ()>, Failure> {
    let (sender, mut received) = mpsc::channel(1);
    for kind in kinds {
        let Some(mut of_this_kind) = receive(kind)? else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while of_this_kind.recv().await.is_some() && sender.send(()).await.is_ok() {}
        });
    }
    Ok(async move {
        // Keeps the channel open where every signal is ignored.
        let _sender = sender;
        received.recv().await;
        tokio::spawn(async move {
            received.recv().await;
            end_now();
        });
    })
}

/// Whether signals are for the command that runs elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalUse {
    /// The first one is passed on, and the second one leaves the command.
    Pass,
    /// The first one leaves the command, which continues.
    Leave,
}

/// Passes signals on to a command that runs elsewhere, and with `has_terminal` the size of the
/// terminal.
///
/// A signal that leaves the command notifies the caller, who has a moment for it. Then this process
/// is ended.
///
/// # Errors
/// As [`stop`].
pub(crate) fn forward(
    control: mpsc::Sender<CommandControl>,
    signal_use: SignalUse,
    has_terminal: bool,
) -> Result<Arc<Notify>, Failure> {
    let is_ending = Arc::new(AtomicBool::new(false));
    let leaving = Arc::new(Notify::new());
    for (kind, name) in [
        (SignalKind::interrupt(), "INT"),
        (SignalKind::terminate(), "TERM"),
        (SignalKind::hangup(), "HUP"),
        (SignalKind::quit(), "QUIT"),
    ] {
        let Some(mut received) = receive(kind)? else {
            continue;
        };
        let control = control.clone();
        let (is_ending, leaving) = (is_ending.clone(), leaving.clone());
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                let is_second = is_ending.swap(true, Ordering::Relaxed);
                if is_second || signal_use == SignalUse::Leave {
                    leaving.notify_one();
                    tokio::time::sleep(LEAVING_TIME).await;
                    end_now();
                }
                let _ = control.send(CommandControl::Signal(name.to_owned())).await;
            }
        });
    }
    if has_terminal && let Some(mut received) = receive(SignalKind::window_change())? {
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                if let Some(size) = terminal_size() {
                    let _ = control.send(CommandControl::Resize(size)).await;
                }
            }
        });
    }
    Ok(leaving)
}

/// Ends this process for a second signal.
fn end_now() {
    restore_now();
    terminal_mode::restore(true);
    #[allow(clippy::exit, reason = "the second signal ends the process at once")]
    std::process::exit(130);
}

/// `None` if this process was started with the signal ignored.
fn receive(kind: SignalKind) -> Result<Option<Signal>, Failure> {
    if inherited::is_ignored(kind.as_raw_value()) {
        return Ok(None);
    }
    signal(kind)
        .map(Some)
        .map_err(|error: io::Error| Failure::local(format!("signals cannot be received: {error}")))
}

/// Stops the servers of `stopper` at the first SIGINT, SIGTERM or SIGHUP, in a process that forks.
///
/// The second signal ends the process at once. Such a process can have no thread that waits for
/// signals. A child ends at SIGTERM and ignores the other two.
pub(crate) fn stop_forking(stopper: Stopper) {
    static PARENT: OnceLock<(u32, Stopper)> = OnceLock::new();
    extern "C" fn handle(signal: libc::c_int) {
        match PARENT.get() {
            Some((parent, _)) if *parent != std::process::id() && signal != libc::SIGTERM => {}
            Some((parent, stopper)) if *parent == std::process::id() => {
                stopper.stop();
                // SAFETY: signal handlers may call signal(2) and raise(3), and SIG_DFL is valid.
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
    let ours = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP]
        .into_iter()
        .filter(|signal| !inherited::is_ignored(*signal));
    for signal in ours {
        // SAFETY: the handler only makes system calls and reads `PARENT`, which is already set.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
