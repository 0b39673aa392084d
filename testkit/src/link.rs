//! An in-memory connection that counts round trips.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

/// The number of round trips of a connection.
#[derive(Debug, Clone, Default)]
pub struct RoundTrips(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    /// Whether the client has sent bytes that the server has not answered.
    is_waiting: AtomicBool,
}

impl RoundTrips {
    /// How often the server has answered bytes of the client.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::SeqCst)
    }

    fn client_sends(&self) {
        self.0.is_waiting.store(true, Ordering::SeqCst);
    }

    fn server_sends(&self) {
        if self.0.is_waiting.swap(false, Ordering::SeqCst) {
            self.0.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Connects two ends. Returns the client's, the server's and the counter. Needs a runtime.
pub fn counted() -> (DuplexStream, DuplexStream, RoundTrips) {
    let (near, near_inner) = duplex(1 << 20);
    let (far, far_inner) = duplex(1 << 20);
    let (near_reader, near_writer) = split(near_inner);
    let (far_reader, far_writer) = split(far_inner);
    let round_trips = RoundTrips::default();
    let (up, down) = (round_trips.clone(), round_trips.clone());
    carry(near_reader, far_writer, move || up.client_sends());
    carry(far_reader, near_writer, move || down.server_sends());
    (near, far, round_trips)
}

fn carry(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    sends: impl Fn() + Send + 'static,
) {
    tokio::spawn(async move {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            sends();
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
}
