//! Limits the logged-in connections, with slots reserved for helpers and admins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// The most slots that are reserved for helpers and admins.
const ADMIN_RESERVE_MAX: usize = 16;
/// One of this many slots is reserved for helpers and admins.
const ADMIN_RESERVE_DIVISOR: usize = 4;

/// The most connections of one user, so that one account cannot take all slots.
const USER_CONNECTIONS_MAX: usize = 256;

/// The slots of logged-in connections.
///
/// Some are reserved for helpers and admins, so that they can always log in and end other
/// connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    shared: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    users: Arc<Mutex<HashMap<UserName, usize>>>,
}

/// The slot of a connection, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    user: UserName,
    users: Arc<Mutex<HashMap<UserName, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        match users.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(users.remove(&self.user)),
        }
    }
}

impl ConnectionSlots {
    /// Slots for `count` connections, at least one of them for all users.
    pub(super) fn new(count: usize) -> Self {
        let reserved = (count / ADMIN_RESERVE_DIVISOR).min(ADMIN_RESERVE_MAX);
        Self {
            shared: Arc::new(Semaphore::new(count - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
            users: Arc::default(),
        }
    }

    /// Acquires a slot for a connection of this user.
    ///
    /// # Errors
    /// `too-many-sessions`.
    pub(super) fn acquire(&self, user: &UserName, is_admin: bool) -> Result<ConnectionSlot, Error> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.get(user).copied().unwrap_or(0);
        if count >= USER_CONNECTIONS_MAX {
            let message =
                format!("{user} has {USER_CONNECTIONS_MAX} connections, which is the limit");
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        let slot = self.shared.clone().try_acquire_owned();
        let slot = if is_admin {
            slot.or_else(|_| self.reserved.clone().try_acquire_owned())
        } else {
            slot
        };
        let permit = slot.map_err(|_| {
            Error::here(
                ErrorCode::TooManySessions,
                "the server has reached its limit of connections",
            )
        })?;
        users.insert(user.clone(), count + 1);
        Ok(ConnectionSlot {
            user: user.clone(),
            users: self.users.clone(),
            _permit: permit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn some_slots_are_reserved_for_admins() {
        let (bob, alice) = (name("bob"), name("alice"));
        for (count, reserved) in [(1, 0), (3, 0), (4, 1), (8, 2), (64, 16), (200, 16)] {
            let slots = ConnectionSlots::new(count);
            let others: Vec<_> = std::iter::from_fn(|| slots.acquire(&bob, false).ok()).collect();
            assert_eq!(others.len(), count - reserved, "of {count}");
            let admins: Vec<_> = std::iter::from_fn(|| slots.acquire(&alice, true).ok()).collect();
            assert_eq!(admins.len(), reserved, "of {count}");
            drop(others);
            assert!(
                slots.acquire(&bob, false).is_ok(),
                "admins hold only the reserved slots"
            );
        }
    }

    #[test]
    fn admins_use_shared_slots_first() {
        let alice = name("alice");
        let slots = ConnectionSlots::new(8);
        let admins: Vec<_> = (0..6)
            .map(|_| slots.acquire(&alice, true).unwrap())
            .collect();
        assert!(slots.acquire(&name("bob"), false).is_err());
        assert!(slots.acquire(&alice, true).is_ok());
        drop(admins);
        assert!(slots.acquire(&name("bob"), false).is_ok());
    }

    /// Proves `one-account-takes-all` in docs/faults.md.
    #[test]
    fn one_account_cannot_take_all_slots() {
        let (bob, carol) = (name("bob"), name("carol"));
        let slots = ConnectionSlots::new(1024);
        let mut taken: Vec<_> = std::iter::from_fn(|| slots.acquire(&bob, true).ok()).collect();
        assert_eq!(taken.len(), USER_CONNECTIONS_MAX);
        assert!(slots.acquire(&carol, false).is_ok());
        taken.pop();
        assert!(slots.acquire(&bob, false).is_ok(), "one was dropped");
        drop(taken);
        assert!(slots.users.lock().unwrap().is_empty());
    }
}
