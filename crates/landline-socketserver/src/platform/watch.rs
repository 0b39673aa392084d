//! A descriptor that tokio watches.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Has tokio watch `fd` for what `interest` says.
///
/// # Errors
/// Where the system cannot watch one more.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, which closes it when dropped and not
    // before; an `OwnedFd` always names the same one.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
