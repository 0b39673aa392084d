//! A supervisor in reserve, so that a command need not wait for a process to start.

use std::{
    io,
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socket2::SockRef;

use super::Launcher;

/// At most one supervisor that has started and waits for its program.
///
/// It is there once a first command has run, and until the server ends: a supervisor without a
/// program ends with its socket.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reserve(Arc<Mutex<Option<UnixStream>>>);

impl Reserve {
    /// The socket to a supervisor: to the one in reserve, or to a new one. Blocking.
    ///
    /// # Errors
    /// Those of the launcher.
    pub(super) fn take(&self, launcher: &dyn Launcher) -> io::Result<UnixStream> {
        let reserved = self.lock().take();
        match reserved.filter(is_waiting) {
            Some(socket) => Ok(socket),
            None => launcher.launch(),
        }
    }

    /// Starts a supervisor for the next command, if there is none in reserve. Blocking.
    pub(super) fn fill(&self, launcher: &dyn Launcher) {
        if self.lock().is_some() {
            return;
        }
        // Where it fails, the next command tries again and tells its user.
        if let Ok(socket) = launcher.launch() {
            self.lock().get_or_insert(socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a supervisor still waits at the other end. It says nothing until it has a program.
fn is_waiting(socket: &UnixStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = socket
        .set_nonblocking(true)
        .and_then(|()| SockRef::from(socket).peek(&mut byte));
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the ends of the supervisors.
    #[derive(Default)]
    struct Ends(Mutex<Vec<UnixStream>>);

    impl Ends {
        fn count(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Launcher for Ends {
        fn launch(&self) -> io::Result<UnixStream> {
            let (own, theirs) = UnixStream::pair()?;
            self.0.lock().unwrap().push(theirs);
            Ok(own)
        }
    }

    #[test]
    fn supervisor_in_reserve_is_taken_once() {
        let (ends, reserve) = (Ends::default(), Reserve::default());
        reserve.fill(&ends);
        reserve.fill(&ends);
        assert_eq!(ends.count(), 1);
        reserve.take(&ends).unwrap();
        assert_eq!(ends.count(), 1);
        reserve.take(&ends).unwrap();
        assert_eq!(ends.count(), 2);
    }

    #[test]
    fn supervisor_that_has_ended_is_replaced() {
        let (ends, reserve) = (Ends::default(), Reserve::default());
        reserve.fill(&ends);
        ends.0.lock().unwrap().clear();
        let taken = reserve.take(&ends).unwrap();
        assert_eq!(ends.count(), 1);
        assert!(is_waiting(&taken));
    }
}
