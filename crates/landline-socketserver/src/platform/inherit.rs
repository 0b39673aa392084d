//! Descriptors that the service manager left open for this process.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The first descriptor that is handed over, sd_listen_fds(3).
const FIRST: RawFd = 3;

/// Takes over `count` descriptors from 3 on, and keeps them from the programs this one starts. They
/// can be taken once.
///
/// # Errors
/// Where one of them is not open, or they were taken before.
pub(crate) fn inherit(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let end = RawFd::try_from(count)
        .ok()
        .and_then(|count| FIRST.checked_add(count));
    let end = end.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "so many descriptors cannot be")
    })?;
    for fd in FIRST..end {
        // SAFETY: asks about a number, which may be no descriptor: an error then.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the sockets handed over were taken before",
        ));
    }
    let take = |fd| {
        // SAFETY: sets a flag of a descriptor that was just seen to be open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: it is open. LISTEN_PID, which the caller has checked, says that it was left to
        // this process to own, and the flag above that this function has not given it to
        // anybody yet.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    Ok((FIRST..end).map(take).collect())
}
