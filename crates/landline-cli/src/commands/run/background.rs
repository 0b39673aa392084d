//! `-f`: the process that works in the background, and the one that waits until it is ready.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, WaitOptions},
};

use crate::{context::ExitStatus, failure::Failure};

/// What tells the waiting process that all is ready, in the process that works.
static READY: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// What ends a process is 128 and the number of the signal.
const SIGNAL_BASE: i32 = 128;

/// Splits this process in two, before it has threads. The new one returns `None` and works; this
/// one waits until the other is ready or has ended, and returns its status.
///
/// # Errors
/// There can be no further process.
pub(super) fn split() -> Result<Option<ExitStatus>, Failure> {
    let failed =
        |error: io::Error| Failure::local(format!("no process in the background: {error}"));
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    // SAFETY: this process has one thread, so the child may do everything.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(failed(io::Error::last_os_error())),
        0 => {
            *READY.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
            Ok(None)
        }
        child => {
            drop(writer);
            wait(&reader, child).map(Some).map_err(failed)
        }
    }
}

/// Waits until the child is ready, or returns its status.
fn wait(reader: &OwnedFd, child: libc::pid_t) -> io::Result<ExitStatus> {
    let mut byte = [0];
    loop {
        match rustix::io::read(reader, &mut byte) {
            Ok(0) => break,
            Ok(_) => return Ok(ExitStatus::SUCCESS),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let pid = Pid::from_raw(child);
    let status = rustix::process::waitpid(pid, WaitOptions::empty())?;
    let code = status.map_or(1, |(_, status)| {
        let signal = status.terminating_signal();
        signal.map_or_else(
            || status.exit_status().unwrap_or(1),
            |signal| SIGNAL_BASE + signal,
        )
    });
    Ok(ExitStatus(u8::try_from(code).unwrap_or(1)))
}

/// Leaves the terminal, and lets the waiting process end. Does nothing without `-f`.
///
/// # Errors
/// The terminal cannot be left.
pub(super) fn detach() -> Result<(), Failure> {
    let ready = READY.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(ready) = ready else {
        return Ok(());
    };
    let left = rustix::process::setsid().map(drop).and_then(|()| {
        let nothing =
            rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::io::write(&ready, b"1").map(drop)
    });
    left.map_err(|error| Failure::local(format!("the terminal cannot be left: {error}")))
}
