//! landline's own frames as a codec.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "../examples/benchmark/frames.rs"]
mod frames;

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

use frames::Frames;
use landline_proto::frame::prefix;
use landline_socketserver::{
    Server, Stopper,
    blocking::UnixConnection,
    framing::{Framed, TaskFramed},
    memory,
    tasks::TaskUnixConnection,
};
use proptest::prelude::*;

fn echo(connection: &mut UnixConnection) -> io::Result<()> {
    let mut frames = Framed::new(connection, Frames::default());
    while let Some(frame) = frames.receive()? {
        frames.send(&frame)?;
    }
    frames.flush()
}

async fn echo_task(connection: &mut TaskUnixConnection) -> io::Result<()> {
    let mut frames = TaskFramed::new(connection, Frames::default());
    while let Some(frame) = frames.receive().await? {
        frames.send(&frame).await?;
    }
    frames.flush().await
}

/// The answer to `bytes` that are sent in pieces.
fn answer(dialer: &memory::Dialer, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut client = dialer.connect().unwrap();
    let mut reader = client.try_clone().unwrap();
    let reading = thread::spawn(move || read_all(&mut reader));
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let _ = client.write_all(&bytes[start..end]);
        start = end;
    }
    let _ = client.shutdown(Shutdown::Write);
    reading.join().unwrap()
}

fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn with_both(check: impl Fn(&memory::Dialer)) {
    let (listener, dialer) = memory::listener().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let serving = thread::spawn(move || Server::new(listener, echo).threads(&shutdown));
    check(&dialer);
    stopper.stop();
    serving.join().unwrap().unwrap();

    let (listener, dialer) = memory::listener().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Server::new(listener, echo_task).tasks(&shutdown))
    });
    check(&dialer);
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn frames_do_not_depend_on_segmentation() {
    let strategy = (
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..12),
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
    );
    with_both(|dialer| {
        proptest!(ProptestConfig::with_cases(30), |((frames, cuts) in strategy.clone())| {
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| [&prefix(frame.len())[..], frame].concat()).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(answer(dialer, &bytes, &cuts), bytes);
        });
    });
}

#[test]
fn bad_length_or_cut_frame_ends_its_connection() {
    with_both(|dialer| {
        assert_eq!(answer(dialer, &(-1_i32).to_le_bytes(), &[]), b"");
        assert_eq!(answer(dialer, &i32::MAX.to_le_bytes(), &[]), b"");
        assert_eq!(answer(dialer, &[3, 0, 0, 0, 1], &[]), b"");
        assert_eq!(answer(dialer, &[1, 0, 0, 0, 9], &[]), [1, 0, 0, 0, 9]);
    });
}
