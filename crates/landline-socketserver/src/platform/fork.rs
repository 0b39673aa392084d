//! Forking, and only where it is safe.

use std::io;

use rustix::process::Pid;

/// Which of the two processes this is.
pub(crate) enum ForkedProcess {
    Parent(Pid),
    Child,
}

/// Makes a second process of this one.
///
/// # Errors
/// Where more than one thread runs, or that cannot be found out; where the system has no process to
/// give.
pub(crate) fn fork() -> io::Result<ForkedProcess> {
    check_fork()?;
    // SAFETY: what is dangerous about fork(2) are the other threads, which are gone in the child
    // while the locks they held stay locked. There are none: they were counted, and only this
    // thread could have made more since.
    let result = unsafe { libc::fork() };
    match result {
        0 => Ok(ForkedProcess::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(ForkedProcess::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Whether this process may fork.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where it has more than one thread; where that cannot be found
/// out.
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

/// Ends this process at once, a child of [`fork`]: what the parent wanted to do at its own end is
/// not done twice.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: has no conditions, and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(target_os = "linux")]
#[allow(
    clippy::useless_conversion,
    reason = "the number of links is shorter on 32-bit systems"
)]
fn threads() -> io::Result<u64> {
    // Each thread is a folder in there, and a folder counts as a link to the one above it, which
    // has two more.
    let links = rustix::fs::stat("/proc/self/task")?.st_nlink;
    Ok(u64::from(links).saturating_sub(2))
}

#[cfg(target_os = "macos")]
fn threads() -> io::Result<u64> {
    unsafe extern "C" {
        fn pthread_is_threaded_np() -> libc::c_int;
    }
    // SAFETY: has no conditions: it tells whether this process ever had a second thread.
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
