//! Limits the logins that get more time because a person has to sign.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landline_proto::limits::{SIGNING_FROM_SOURCE_MAX, SIGNING_FROM_THIS_MACHINE_MAX, SIGNING_MAX};

use super::PeerNetwork;

/// The slots of a server for logins that wait for a person to sign.
///
/// There are [`SIGNING_MAX`] slots. One network can have [`SIGNING_FROM_SOURCE_MAX`], and this
/// machine [`SIGNING_FROM_THIS_MACHINE_MAX`], because all tunnels share its address. So an attacker
/// cannot take all slots from a few addresses. Clones share the slots.
#[derive(Debug, Clone, Default)]
pub struct Signing(Arc<Mutex<HashMap<PeerNetwork, usize>>>);

/// A slot, until it is dropped.
#[derive(Debug)]
pub(crate) struct SigningSlot {
    signing: Signing,
    network: PeerNetwork,
}

impl Signing {
    /// Takes a slot; `None` if the server or this network has none left.
    pub(crate) fn acquire(&self, network: PeerNetwork) -> Option<SigningSlot> {
        let max = if network.is_this_machine() {
            SIGNING_FROM_THIS_MACHINE_MAX
        } else {
            SIGNING_FROM_SOURCE_MAX
        };
        let mut counts = self.counts();
        if counts.values().sum::<usize>() >= SIGNING_MAX
            || counts.get(&network).is_some_and(|count| *count >= max)
        {
            return None;
        }
        *counts.entry(network).or_default() += 1;
        Some(SigningSlot {
            signing: self.clone(),
            network,
        })
    }

    /// The count of each network; no network without any.
    fn counts(&self) -> MutexGuard<'_, HashMap<PeerNetwork, usize>> {
        // No code below panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SigningSlot {
    fn drop(&mut self) {
        let mut counts = self.signing.counts();
        let Some(count) = counts.get_mut(&self.network) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> PeerNetwork {
        PeerNetwork::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    /// Takes all slots that this network can have.
    fn all_of(signing: &Signing, network: PeerNetwork) -> Vec<SigningSlot> {
        std::iter::from_fn(|| signing.acquire(network)).collect()
    }

    #[test]
    fn slots_per_network_are_limited() {
        let signing = Signing::default();
        let mut first = all_of(&signing, network(1));
        assert_eq!(first.len(), SIGNING_FROM_SOURCE_MAX);
        assert_eq!(
            all_of(&signing, network(2)).len(),
            SIGNING_FROM_SOURCE_MAX,
            "independent of other networks"
        );
        first.pop();
        assert_eq!(
            all_of(&signing, network(1)).len(),
            1,
            "a dropped slot is free again"
        );
        let tunnels = all_of(&signing, PeerNetwork::of(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(tunnels.len(), SIGNING_FROM_THIS_MACHINE_MAX);
        assert!(
            signing.acquire(network(2)).is_some(),
            "this machine cannot take all slots"
        );
        drop((first, tunnels));
        assert!(signing.counts().is_empty(), "no entry without a slot");
    }

    #[test]
    fn slots_are_limited() {
        let signing = Signing::default();
        let all: Vec<SigningSlot> = (0..100)
            .flat_map(|number| all_of(&signing, network(number)))
            .collect();
        assert_eq!(all.len(), SIGNING_MAX);
        drop(all);
        assert!(signing.acquire(network(99)).is_some());
    }
}
