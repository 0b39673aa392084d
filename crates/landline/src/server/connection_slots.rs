//! Limits the logged-in connections, with slots reserved for helpers and admins.

use std::sync::Arc;

use landline_proto::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// The most slots that are reserved for helpers and admins.
const ADMIN_RESERVE_MAX: usize = 16;
/// One of this many slots is reserved for helpers and admins.
const ADMIN_RESERVE_DIVISOR: usize = 4;

/// The slots of logged-in connections.
///
/// Some are reserved for helpers and admins, so that they can always log in and end other
/// connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    shared: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

impl ConnectionSlots {
    /// Slots for `count` connections, at least one of them for all users.
    pub(super) fn new(count: usize) -> Self {
        let reserved = (count / ADMIN_RESERVE_DIVISOR).min(ADMIN_RESERVE_MAX);
        Self {
            shared: Arc::new(Semaphore::new(count - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
        }
    }

    /// Acquires a slot, which is free again once the permit is dropped.
    ///
    /// # Errors
    /// `too-many-sessions`.
    pub(super) fn acquire(&self, is_admin: bool) -> Result<OwnedSemaphorePermit, Error> {
        let slot = self.shared.clone().try_acquire_owned();
        let slot = if is_admin {
            slot.or_else(|_| self.reserved.clone().try_acquire_owned())
        } else {
            slot
        };
        slot.map_err(|_| {
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
    fn some_slots_are_reserved_for_admins() {
        for (count, reserved) in [(1, 0), (3, 0), (4, 1), (8, 2), (64, 16), (1024, 16)] {
            let slots = ConnectionSlots::new(count);
            let others: Vec<_> = std::iter::from_fn(|| slots.acquire(false).ok()).collect();
            assert_eq!(others.len(), count - reserved, "of {count}");
            let admins: Vec<_> = std::iter::from_fn(|| slots.acquire(true).ok()).collect();
            assert_eq!(admins.len(), reserved, "of {count}");
            drop(others);
            assert!(
                slots.acquire(false).is_ok(),
                "admins hold only the reserved slots"
            );
        }
    }

    #[test]
    fn admins_use_shared_slots_first() {
        let slots = ConnectionSlots::new(8);
        let admins: Vec<_> = (0..6).map(|_| slots.acquire(true).unwrap()).collect();
        assert!(slots.acquire(false).is_err());
        assert!(slots.acquire(true).is_ok());
        drop(admins);
        assert!(slots.acquire(false).is_ok());
    }
}
