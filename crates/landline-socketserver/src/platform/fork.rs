//! Forks, if that is safe.

use std::io;

use rustix::process::Pid;

/// The process that returns from [`fork`].
pub(crate) enum ForkedProcess {
    Parent(Pid),
    Child,
}

/// Forks this process.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] if this process has more than one thread, or that is unknown.
/// Otherwise the system's error.
pub(crate) fn fork() -> io::Result<ForkedProcess> {
    check_fork()?;
    // SAFETY: fork(2) is dangerous with other threads: they are gone in the child, but the locks
    // that they held stay locked. There are no other threads: they were counted above, and only
    // this thread could have started one since.
    let result = unsafe { libc::fork() };
    match result {
        0 => Ok(ForkedProcess::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(ForkedProcess::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Checks that this process may fork.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] if it has more than one thread, or that is unknown.
pub(crate) fn check_fork() -> io::Result<()> {
    let threads = threads()?;
    if threads == 1 {
        return Ok(());
    }
    let text = format!(
        "only a process with one thread may fork, and {threads} run here: use another model, or start no threads before"
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Ends this process, a child of [`fork`], at once.
///
/// It runs no exit handlers, since those belong to the parent.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: this has no preconditions, and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(target_os = "linux")]
#[allow(
    clippy::useless_conversion,
    reason = "the number of links is shorter on 32-bit systems"
)]
fn threads() -> io::Result<u64> {
    // Each thread is a subfolder. A folder has a link for each subfolder, and two more.
    let links = rustix::fs::stat("/proc/self/task")?.st_nlink;
    Ok(u64::from(links).saturating_sub(2))
}

#[cfg(target_os = "macos")]
fn threads() -> io::Result<u64> {
    unsafe extern "C" {
        fn pthread_is_threaded_np() -> libc::c_int;
    }
    // SAFETY: this has no preconditions. It returns whether the process ever had a second thread.
    Ok(if unsafe { pthread_is_threaded_np() } == 0 {
        1
    } else {
        2
    })
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn threads() -> io::Result<u64> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "how many threads run cannot be found out on this system",
    ))
}
