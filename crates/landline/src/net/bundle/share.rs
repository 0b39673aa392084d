//! The memory that bundles share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How much may be held of pieces that arrived before their turn, by all bundles of an owner.
pub(super) const EARLY_BYTES_MAX: usize = 32 << 20;
/// The same for all owners.
const ALL_EARLY_BYTES_MAX: usize = 128 << 20;

/// What the bundles of an owner hold of early pieces, in bytes, and those of all owners.
#[derive(Debug, Clone, Default)]
pub(crate) struct BundleShare {
    pub(super) of_owner: Arc<AtomicUsize>,
    pub(super) of_all: Arc<AtomicUsize>,
}

impl BundleShare {
    /// The share of another owner.
    pub(crate) fn of_another(&self) -> Self {
        Self {
            of_owner: Arc::default(),
            of_all: self.of_all.clone(),
        }
    }

    /// Whether there is a bundle beside this handle.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.of_owner) > 1
    }

    /// Whether pieces may be received before their turn.
    pub(super) fn has_room(&self) -> bool {
        let held = |bytes: &AtomicUsize| bytes.load(Ordering::Relaxed);
        held(&self.of_owner) < EARLY_BYTES_MAX && held(&self.of_all) < ALL_EARLY_BYTES_MAX
    }

    pub(super) fn take(&self, bytes: usize) {
        self.of_owner.fetch_add(bytes, Ordering::Relaxed);
        self.of_all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.of_owner.fetch_sub(bytes, Ordering::Relaxed);
        self.of_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}
