//! An in-memory line with a delay. With tokio's paused clock its time is exact, so round trips can
//! be counted.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Two ends of a line; what goes in at one comes out at the other `one_way` later. Call within a
/// runtime.
pub fn delayed(one_way: Duration) -> (DuplexStream, DuplexStream) {
    let (near, near_inner) = duplex(1 << 20);
    let (far, far_inner) = duplex(1 << 20);
    let (near_reader, near_writer) = split(near_inner);
    let (far_reader, far_writer) = split(far_inner);
    carry(near_reader, far_writer, one_way);
    carry(far_reader, near_writer, one_way);
    (near, far)
}

fn carry(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    one_way: Duration,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let _ = sender.send((Instant::now() + one_way, buffer[..length].to_vec()));
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
}
