//! Waits for descriptors.

use std::{io, os::fd::BorrowedFd, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until one of `inputs` is readable, closed or failed, for `time` at most.
///
/// Returns which of them are. A signal restarts the wait.
pub(crate) fn for_input(
    inputs: &[BorrowedFd<'_>],
    time: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = inputs
        .iter()
        .map(|input| PollFd::from_borrowed_fd(*input, PollFlags::IN))
        .collect();
    wait(&mut polled, time)?;
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

/// Whether `input` is readable now.
pub(crate) fn is_readable(input: BorrowedFd<'_>) -> bool {
    for_input(&[input], Some(Duration::ZERO)).is_ok_and(|ready| ready.contains(&true))
}

/// Waits until one of the descriptors is ready, for `time` at most.
pub(crate) fn wait(polled: &mut [PollFd<'_>], time: Option<Duration>) -> io::Result<()> {
    let time = time.map(|time| {
        Timespec::try_from(time).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        })
    });
    loop {
        match poll(polled, time.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}
