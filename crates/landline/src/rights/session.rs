//! How many sessions each user has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landline_proto::{ErrorCode, login::UserName};

use crate::Error;

/// The sessions of each user, counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<UserName, u64>>>);

/// A session's place, which is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct SessionPlace {
    places: Places,
    user: UserName,
}

impl Places {
    /// Takes a place for a session, of which there may be `sessions_max`.
    ///
    /// # Errors
    /// `too-many-sessions`.
    pub(crate) fn take(&self, user: &UserName, sessions_max: Option<u64>) -> Result<SessionPlace, Error> {
        let mut counts = self.counts();
        let count = counts.get(user).copied().unwrap_or_default();
        if sessions_max.is_some_and(|max| count >= max) {
            let message = format!("{user} has {count} sessions, and may have no more at a time");
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        counts.insert(user.clone(), count + 1);
        Ok(SessionPlace { places: self.clone(), user: user.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<UserName, u64>> {
        // Every change is a single step, so that a panic leaves the counts right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        match counts.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_its_session_is_over() {
        let places = Places::default();
        let alice: UserName = "alice".parse().unwrap();
        let first = places.take(&alice, Some(2)).unwrap();
        let _second = places.take(&alice, Some(2)).unwrap();
        let refused = places.take(&alice, Some(2)).unwrap_err();
        assert!(matches!(refused, Error::Failed { code: ErrorCode::TooManySessions, .. }), "{refused:?}");
        let _other = places.take(&"bob".parse().unwrap(), Some(1)).unwrap();
        drop(first);
        let _third = places.take(&alice, Some(2)).unwrap();
        assert!(places.take(&alice, Some(2)).is_err());
        assert!(places.take(&alice, None).is_ok(), "no limit");
        assert!(places.take(&"carol".parse().unwrap(), Some(0)).is_err());
    }
}
