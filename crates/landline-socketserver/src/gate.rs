//! The admission of connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Event, Limits, Peer, Refusal, hooks::Hooks};

/// Counts the connections of each address, and calls `verify`.
pub(crate) struct Gate {
    hooks: Hooks,
    per_address_max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A slot of one address. Dropping it frees the slot.
pub(crate) struct AddressSlot {
    gate: Arc<Gate>,
    source: Option<IpAddr>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, hooks: Hooks) -> Arc<Self> {
        // An address cannot have more connections than the server, so there is nothing to count.
        let counts = limits.connections_per_address_max < limits.connections_max;
        let per_address_max = if counts {
            limits.connections_per_address_max.max(1)
        } else {
            usize::MAX
        };
        Arc::new(Self {
            hooks,
            per_address_max,
            counts: Mutex::default(),
        })
    }

    /// Admits or refuses a connection, and reports that.
    pub(crate) fn admit(self: &Arc<Self>, peer: &Peer) -> Option<AddressSlot> {
        let slot = self.take_slot(peer)?;
        if !self.hooks.is_admitted(peer) {
            self.hooks.report(&Event::Refused {
                peer,
                reason: Refusal::Verify,
            });
            return None;
        }
        self.hooks.report(&Event::Accepted { peer });
        Some(slot)
    }

    /// Takes a slot of the peer's address. Reports a refusal if there is none.
    pub(crate) fn take_slot(self: &Arc<Self>, peer: &Peer) -> Option<AddressSlot> {
        let source = if self.per_address_max == usize::MAX {
            None
        } else {
            peer.source()
        };
        if let Some(source) = source {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(source).or_insert(0);
            if *count >= self.per_address_max {
                drop(counts);
                self.hooks.report(&Event::Refused {
                    peer,
                    reason: Refusal::TooManyFromAddress,
                });
                return None;
            }
            *count += 1;
        }
        Some(AddressSlot {
            gate: self.clone(),
            source,
        })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut counts = self
            .gate
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}
