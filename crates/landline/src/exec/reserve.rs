//! A supervisor in reserve, so that a command need not wait for a process to start.

use std::{
    io,
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::Launcher;

/// How long a supervisor may stay in reserve. What the launcher gives to a new one, such as
/// limits, may have changed since.
const AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// At most one supervisor that has started and waits for its program.
///
/// It is there once a first command has run, and until the server ends: a supervisor without a
/// program ends with its socket.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reserve(Arc<Mutex<Option<Reserved>>>);

#[derive(Debug)]
struct Reserved {
    socket: UnixStream,
    since: Instant,
}

impl Reserve {
    /// The socket to the supervisor in reserve, if it waits and is not too old at the time `now`.
    pub(super) fn take(&self, now: Instant) -> Option<UnixStream> {
        let Reserved { socket, since } = self.lock().take()?;
        let is_new = now.saturating_duration_since(since) <= AGE_MAX;
        (is_new && is_waiting(&socket)).then_some(socket)
    }

    /// Starts a supervisor for the next command, if there is none in reserve. Blocking.
    pub(super) fn fill(&self, launcher: &dyn Launcher) {
        if self.lock().is_some() {
            return;
        }
        // Where it fails, the next command tries again and tells its user.
        if let Ok(socket) = launcher.launch() {
            let since = Instant::now();
            self.lock().get_or_insert(Reserved { socket, since });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reserved>> {
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
        assert!(is_waiting(&reserve.take(Instant::now()).unwrap()));
        assert!(reserve.take(Instant::now()).is_none());
    }

    #[test]
    fn supervisor_that_has_ended_is_not_taken() {
        let (ends, reserve) = (Ends::default(), Reserve::default());
        reserve.fill(&ends);
        ends.0.lock().unwrap().clear();
        assert!(reserve.take(Instant::now()).is_none());
    }

    #[test]
    fn old_supervisor_is_not_taken() {
        for (age, is_taken) in [(AGE_MAX, true), (AGE_MAX * 2, false)] {
            let (ends, reserve) = (Ends::default(), Reserve::default());
            let filled = Instant::now();
            reserve.fill(&ends);
            assert_eq!(reserve.take(filled + age).is_some(), is_taken, "{age:?}");
        }
    }
}
