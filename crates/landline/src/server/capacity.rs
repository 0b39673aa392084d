//! Places among the connections that are logged in.

use std::sync::Arc;

use landline_proto::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// How many places only those get who may administer, at most.
const KEPT_MAX: usize = 16;
/// Of so many places one is kept.
const KEPT_OF: usize = 4;

/// How many connections there may be. Some places are kept for those who may administer: however
/// many connections others have, an admin gets in, and can end them.
#[derive(Debug)]
pub(super) struct Capacity {
    all: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

impl Capacity {
    /// So many in all, at least one of them for everybody.
    pub(super) fn new(count: usize) -> Self {
        let kept = (count / KEPT_OF).min(KEPT_MAX);
        Self {
            all: Arc::new(Semaphore::new(count - kept)),
            kept: Arc::new(Semaphore::new(kept)),
        }
    }

    /// A place, which is free again once this is dropped.
    ///
    /// # Errors
    /// `too-many-sessions`.
    pub(super) fn take(&self, is_admin: bool) -> Result<OwnedSemaphorePermit, Error> {
        let place = self.all.clone().try_acquire_owned();
        let place = if is_admin {
            place.or_else(|_| self.kept.clone().try_acquire_owned())
        } else {
            place
        };
        place.map_err(|_| {
            Error::here(
                ErrorCode::TooManySessions,
                "the server has as many connections as it can take",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_places_are_for_admins_alone() {
        for (count, kept) in [(1, 0), (3, 0), (4, 1), (8, 2), (64, 16), (1024, 16)] {
            let capacity = Capacity::new(count);
            let others: Vec<_> = std::iter::from_fn(|| capacity.take(false).ok()).collect();
            assert_eq!(others.len(), count - kept, "of {count}");
            let admins: Vec<_> = std::iter::from_fn(|| capacity.take(true).ok()).collect();
            assert_eq!(admins.len(), kept, "of {count}");
            drop(others);
            assert!(
                capacity.take(false).is_ok(),
                "what an admin has was kept for admins"
            );
        }
    }

    #[test]
    fn an_admin_leaves_the_kept_places_free_as_long_as_there_are_others() {
        let capacity = Capacity::new(8);
        let admins: Vec<_> = (0..6).map(|_| capacity.take(true).unwrap()).collect();
        assert!(capacity.take(false).is_err());
        assert!(capacity.take(true).is_ok());
        drop(admins);
        assert!(capacity.take(false).is_ok());
    }
}
