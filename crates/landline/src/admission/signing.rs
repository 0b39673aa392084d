//! Places for logins that take a person.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landline_proto::limits::{SIGNING_FROM_SOURCE_MAX, SIGNING_FROM_THIS_MACHINE_MAX, SIGNING_MAX};

use super::Source;

/// The places of a server for logins that take a person and so have more time: [`SIGNING_MAX`] in
/// all, of which one source can have [`SIGNING_FROM_SOURCE_MAX`], and this machine, where tunnels
/// end, [`SIGNING_FROM_THIS_MACHINE_MAX`]. Whoever has not logged in cannot have all of them from a
/// few addresses. Cloning gives another handle to the same ones.
#[derive(Debug, Clone, Default)]
pub struct Signing(Arc<Mutex<HashMap<Source, usize>>>);

/// One of the places, until it is dropped.
#[derive(Debug)]
pub struct SigningPlace {
    signing: Signing,
    source: Source,
}

impl Signing {
    /// A place for somebody from there; `None` where all are taken that there are, or that this
    /// source can have.
    pub fn take(&self, source: Source) -> Option<SigningPlace> {
        let max = if source.is_this_machine() {
            SIGNING_FROM_THIS_MACHINE_MAX
        } else {
            SIGNING_FROM_SOURCE_MAX
        };
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= SIGNING_MAX
            || taken.get(&source).is_some_and(|count| *count >= max)
        {
            return None;
        }
        *taken.entry(source).or_default() += 1;
        Some(SigningPlace {
            signing: self.clone(),
            source,
        })
    }

    /// How many each source has; no source without any.
    fn taken(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SigningPlace {
    fn drop(&mut self) {
        let mut taken = self.signing.taken();
        let Some(count) = taken.get_mut(&self.source) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            taken.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    /// As many places as there are to be had from there.
    fn all_of(signing: &Signing, source: Source) -> Vec<SigningPlace> {
        std::iter::from_fn(|| signing.take(source)).collect()
    }

    #[test]
    fn a_source_has_few_of_the_places() {
        let signing = Signing::default();
        let mut first = all_of(&signing, source(1));
        assert_eq!(first.len(), SIGNING_FROM_SOURCE_MAX);
        assert_eq!(
            all_of(&signing, source(2)).len(),
            SIGNING_FROM_SOURCE_MAX,
            "as if there were no other"
        );
        first.pop();
        assert_eq!(
            all_of(&signing, source(1)).len(),
            1,
            "a place is free again once it is left"
        );
        let tunnels = all_of(&signing, Source::of(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(tunnels.len(), SIGNING_FROM_THIS_MACHINE_MAX);
        assert!(
            signing.take(source(2)).is_some(),
            "the machine itself does not have all of them either"
        );
        drop((first, tunnels));
        assert!(
            signing.taken().is_empty(),
            "nothing is remembered of who has left"
        );
    }

    #[test]
    fn there_are_no_more_places_than_that() {
        let signing = Signing::default();
        let all: Vec<SigningPlace> = (0..100)
            .flat_map(|number| all_of(&signing, source(number)))
            .collect();
        assert_eq!(all.len(), SIGNING_MAX);
        drop(all);
        assert!(signing.take(source(99)).is_some());
    }
}
