//! Tests of bundles, over connections in memory.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{share::EARLY_BYTES_MAX, *};
use crate::net::memory_pair;

/// Both ends of a bundle, whose connections hold so many bytes each.
fn bundles(capacities: &[usize]) -> (BundledStream, BundledStream) {
    let pairs = capacities.iter().map(|bytes| memory_pair(*bytes));
    let (near, far) = pairs.unzip();
    (bundled(near), bundled(far))
}

fn bundled(streams: Vec<Box<dyn SecureStream>>) -> BundledStream {
    let mut streams = streams.into_iter();
    let share = BundleShare::default();
    let bundle = BundledStream::new(streams.next().unwrap(), 0, share);
    for stream in streams {
        assert!(bundle.handle().add(stream).is_ok());
    }
    bundle
}

#[tokio::test]
async fn connection_that_is_added_wakes_reader_and_writer() {
    let (near, far) = memory_pair(1);
    let (mut near, far) = (bundled(vec![near]), bundled(vec![far]));
    let (added, end) = memory_pair(1 << 20);
    let (from, to) = (near.handle(), far.handle());
    let (mut reader, mut writer) = tokio::io::split(far);
    let bytes = content(300_000);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    // One byte at a time goes through the first one.
    let mut got = vec![0; 100];
    near.read_exact(&mut got).await.unwrap();
    let reading = tokio::spawn(async move { reader.read_u8().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(from.add(added).is_ok() && to.add(end).is_ok());
    let mut rest = vec![0; bytes.len() - 100];
    near.read_exact(&mut rest).await.unwrap();
    assert!([got, rest].concat() == bytes, "other bytes");
    near.write_u8(7).await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(reading.await.unwrap(), 7);
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn bundle_takes_no_connection_above_its_limit_or_after_its_end() {
    let bundle = bundled(vec![memory_pair(1).0]);
    let handle = bundle.handle();
    for _ in 1..BUNDLE_CONNECTIONS_MAX {
        assert!(handle.add(memory_pair(1).0).is_ok());
    }
    assert!(handle.add(memory_pair(1).0).is_err());
    let bundle = bundled(vec![memory_pair(1).0]);
    let handle = bundle.handle();
    drop(bundle);
    assert!(handle.add(memory_pair(1).0).is_err());
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_arrive_in_order_both_ways() {
    // The connections are of unequal speed, so pieces come before their turn.
    let (mut near, mut far) = bundles(&[100, 7, 64 << 10, 3000]);
    let bytes = content(3 << 20);
    let (sent, expected) = (bytes.clone(), bytes.clone());
    let back = tokio::spawn(async move {
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert!(got == expected, "other bytes");
        far.write_all(&got).await.unwrap();
        far.shutdown().await.unwrap();
    });
    for part in sent.chunks(100_003) {
        near.write_all(part).await.unwrap();
    }
    near.shutdown().await.unwrap();
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert!(got == bytes, "other bytes");
    back.await.unwrap();
}

#[tokio::test]
async fn flushed_bytes_arrive_without_the_next_ones() {
    let (mut near, mut far) = bundles(&[1 << 10, 1 << 10]);
    for round in 0..20u8 {
        near.write_all(&[round; 10]).await.unwrap();
        near.flush().await.unwrap();
        let mut got = [0; 10];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [round; 10]);
    }
}

/// A bundle of two connections, of which the second one brings `count` pieces of `length` bytes,
/// all before their turn; and the other end of the first one.
async fn with_early_pieces(
    count: u64,
    length: u32,
) -> (Box<dyn SecureStream>, Box<dyn SecureStream>, BundledStream) {
    let bytes = (count * u64::from(length + 12)) as usize;
    let ((first, first_end), (mut second, second_end)) = (memory_pair(100), memory_pair(bytes));
    for index in 0..count {
        let piece = content(length as usize);
        let header = piece_header(length, 1 + index * u64::from(length));
        second
            .write_all(&[&header[..], &piece].concat())
            .await
            .unwrap();
    }
    second.flush().await.unwrap();
    let mut bundle = bundled(vec![first_end, second_end]);
    // One poll takes all that it may.
    let pending = tokio::task::unconstrained(std::future::poll_fn(|cx| {
        let filled = Pin::new(&mut bundle).poll_fill_buf(cx);
        Poll::Ready(filled.is_pending())
    }));
    assert!(pending.await);
    (first, second, bundle)
}

#[tokio::test]
async fn early_pieces_are_limited() {
    let count = 2 * (EARLY_BYTES_MAX as u64 >> 16);
    let (mut first, _second, mut bundle) = with_early_pieces(count, PIECE_BYTES_MAX).await;
    let held = bundle.members[1].held;
    assert!(
        (EARLY_BYTES_MAX..EARLY_BYTES_MAX + (1 << 20)).contains(&held),
        "{held}"
    );
    // Now the first byte of the stream comes.
    first
        .write_all(&[&piece_header(1, 0)[..], &[9]].concat())
        .await
        .unwrap();
    first.flush().await.unwrap();
    let piece = content(PIECE_BYTES_MAX as usize);
    assert_eq!(bundle.read_u8().await.unwrap(), 9);
    let mut got = vec![0; piece.len()];
    for _ in 0..count {
        bundle.read_exact(&mut got).await.unwrap();
        assert!(got == piece, "other bytes");
    }
    assert_eq!(bundle.members[1].held, 0);
    assert_eq!(bundle.share.of_all.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn small_early_pieces_cost_what_they_take() {
    let count = 2 * (EARLY_BYTES_MAX / PIECE_COST) as u64;
    let (_first, _second, bundle) = with_early_pieces(count, 1).await;
    let held = bundle.members[1].held;
    assert!(
        (EARLY_BYTES_MAX..EARLY_BYTES_MAX + (2 << 20)).contains(&held),
        "{held}"
    );
    let share = bundle.share.clone();
    drop(bundle);
    assert_eq!(share.of_owner.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bundle_without_end_was_cut() {
    let (mut near, mut far) = bundles(&[1 << 10, 1 << 10]);
    near.write_all(b"some").await.unwrap();
    near.flush().await.unwrap();
    for member in &mut near.members {
        member.stream.shutdown().await.unwrap();
    }
    let mut got = Vec::new();
    let error = far.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(got, b"some");
}

#[tokio::test]
async fn same_bytes_twice_are_refused() {
    let (mut streams, far): (Vec<_>, Vec<_>) =
        [memory_pair(100), memory_pair(100)].into_iter().unzip();
    let mut far = bundled(far);
    for stream in &mut streams {
        let piece = [&piece_header(2, 0)[..], &[1, 2]].concat();
        stream.write_all(&piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut got = [0; 3];
    // The error stays.
    for _ in 0..2 {
        let error = far.read_exact(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn error_of_one_connection_stays() {
    let (mut bad, bad_end) = memory_pair(100);
    let (_silent, silent_end) = memory_pair(100);
    let mut far = bundled(vec![silent_end, bad_end]);
    bad.write_all(&piece_header(PIECE_BYTES_MAX + 1, 0))
        .await
        .unwrap();
    bad.flush().await.unwrap();
    for _ in 0..2 {
        let error = far.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

/// A server that ends the session before it has added a connection says so there, where it is no
/// piece. The stream has it too, a little later.
#[tokio::test]
async fn reason_on_stream_comes_before_failure_of_one_connection() {
    let (mut first, first_end) = memory_pair(100);
    let (mut added, added_end) = memory_pair(100);
    let mut far = bundled(vec![first_end, added_end]);
    added.write_all(br#"....{"type":"error"}"#).await.unwrap();
    added.shutdown().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut got = [0; 6];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"reason");
        far.read_u8().await.unwrap_err().kind()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let piece = [&piece_header(6, 0)[..], b"reason"].concat();
    first.write_all(&piece).await.unwrap();
    first.shutdown().await.unwrap();
    assert_eq!(reading.await.unwrap(), io::ErrorKind::InvalidData);
}
