//! Descriptors that the service manager passed to this process.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The first passed descriptor, sd_listen_fds(3).
const FIRST: RawFd = 3;

/// Takes over `count` descriptors from 3 on, once, and marks them close-on-exec.
///
/// # Errors
/// The system's error if one of them is not open; [`io::ErrorKind::AlreadyExists`] if they were
/// already taken.
pub(crate) fn inherit(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let end = RawFd::try_from(count)
        .ok()
        .and_then(|count| FIRST.checked_add(count));
    let end = end.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "so many descriptors cannot be")
    })?;
    for fd in FIRST..end {
        // SAFETY: this queries a number. If it is no open descriptor, the call returns an error.
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
        // SAFETY: this sets a flag of a descriptor that was found open above.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: the descriptor is open. The caller has checked LISTEN_PID, which says that this
        // process owns it. `TAKEN` ensures that this function returns it only once.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    Ok((FIRST..end).map(take).collect())
}
