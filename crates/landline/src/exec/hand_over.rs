//! Leaving what runs to the next server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

/// The connections whose work the next server can continue, and the signal that ends them.
///
/// A server that ends keeps them until everything else is done: meanwhile no other server takes
/// connections. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandOver(Arc<State>);

#[derive(Debug, Default)]
struct State {
    connections: AtomicUsize,
    begun: CancellationToken,
}

/// A connection whose work the next server can continue.
#[derive(Debug)]
pub(super) struct ContinuableConnection(HandOver);

impl HandOver {
    /// Counts a connection, until the result is dropped.
    pub(super) fn enter(&self) -> ContinuableConnection {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        ContinuableConnection(self.clone())
    }

    /// How many such connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Ends them.
    pub(crate) fn begin(&self) {
        self.0.begun.cancel();
    }

    /// Waits until they are to end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn begun(&self) {
        self.0.begun.cancelled().await;
    }
}

impl Drop for ContinuableConnection {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
