#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
//! Numbered streams over a simulated channel: random pauses, cuts of the connection, and a peer
//! that sends whatever it likes.

mod channel;
mod hostile;

use channel::{CONTROL_EVERY, Channel, Plan, STREAMS, memory_bytes_max};
use proptest::prelude::*;

/// One step of a simulation. `side` is 0 for the client and 1 for the server.
#[derive(Debug, Clone)]
enum Action {
    Write {
        side: usize,
        stream: u64,
        bytes: usize,
    },
    Read {
        side: usize,
        stream: u64,
        bytes: usize,
    },
    Control {
        side: usize,
    },
    Transmit {
        side: usize,
    },
    Deliver {
        side: usize,
        bytes: usize,
    },
    Stop {
        side: usize,
        stream: u64,
    },
    Open {
        side: usize,
    },
    Cut,
}

fn action() -> impl Strategy<Value = Action> {
    let side = 0..2usize;
    let stream = 0..STREAMS + 4;
    let few_or_many = prop_oneof![1..100usize, 1..150_000usize];
    prop_oneof![
        8 => (side.clone(), stream.clone(), few_or_many.clone())
            .prop_map(|(side, stream, bytes)| Action::Write { side, stream, bytes }),
        6 => (side.clone(), stream.clone(), few_or_many.clone())
            .prop_map(|(side, stream, bytes)| Action::Read { side, stream, bytes }),
        2 => side.clone().prop_map(|side| Action::Control { side }),
        10 => side.clone().prop_map(|side| Action::Transmit { side }),
        10 => (side.clone(), few_or_many).prop_map(|(side, bytes)| Action::Deliver { side, bytes }),
        1 => (side.clone(), stream).prop_map(|(side, stream)| Action::Stop { side, stream }),
        1 => side.prop_map(|side| Action::Open { side }),
        1 => Just(Action::Cut),
    ]
}

fn apply(channel: &mut Channel, action: &Action) {
    match *action {
        Action::Write {
            side,
            stream,
            bytes,
        } => channel.write(side, stream, bytes),
        Action::Read {
            side,
            stream,
            bytes,
        } => channel.read(side, stream, bytes),
        Action::Control { side } => channel.send_control(side),
        Action::Transmit { side } => {
            channel.transmit(side);
        }
        Action::Deliver { side, bytes } => channel.deliver(side, bytes),
        Action::Stop { side, stream } => channel.stop(side, stream),
        Action::Open { side } => channel.open(side),
        Action::Cut => channel.cut(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens in between, every byte arrives once and in order, and memory is bounded.
    #[test]
    fn bytes_arrive_complete_and_in_order(
        actions in proptest::collection::vec(action(), 0..400),
        pool in prop_oneof![Just(0u64), Just(100_000), Just(1 << 22)],
    ) {
        let mut channel = Channel::new(pool, Plan::Endless);
        for action in &actions {
            apply(&mut channel, action);
            for side in 0..2 {
                let memory = channel.memory_bytes(side);
                prop_assert!(memory <= memory_bytes_max(channel.streams(side), pool));
            }
        }
        // Twice, for streams that the peer has yet to see.
        for _ in 0..2 {
            channel.finish_everything();
            channel.run(|_, _| true);
        }
        channel.check_everything_arrived();
    }

    /// Streams that are not read delay neither other streams nor control messages.
    #[test]
    fn unread_streams_delay_nothing(
        unread in proptest::collection::btree_set(0..STREAMS, 1..STREAMS as usize),
        bytes in 1..200_000u64,
        cut_after in proptest::option::of(0..60usize),
    ) {
        let mut channel = Channel::new(1 << 20, Plan::Bytes(bytes));
        channel.set_control_every(CONTROL_EVERY);
        if let Some(steps) = cut_after {
            channel.run_steps(steps, |_, stream| !unread.contains(&stream));
            channel.cut();
        }
        channel.run(|_, stream| !unread.contains(&stream));
        for side in 0..2 {
            channel.send_control(side);
        }
        channel.run(|_, _| false);
        prop_assert!(channel.all_controls_arrived());
        for stream in 0..STREAMS {
            for side in 0..2 {
                prop_assert_eq!(channel.has_arrived(side, stream), !unread.contains(&stream));
            }
        }
        channel.run(|_, _| true);
        channel.check_everything_arrived();
    }
}

/// Cuts a transfer at every byte in each direction, and resumes it.
#[test]
fn cut_at_any_byte_loses_and_repeats_nothing() {
    let transfer = || {
        let mut channel = Channel::new(0, Plan::Bytes(300));
        channel.set_control_every(CONTROL_EVERY);
        channel
    };
    let mut whole = transfer();
    whole.run(|_, _| true);
    let on_the_wire = [whole.delivered_bytes(0), whole.delivered_bytes(1)];
    for (side, &bytes) in on_the_wire.iter().enumerate() {
        for cut in 0..=bytes {
            let mut channel = transfer();
            channel.run_until_delivered(side, cut);
            channel.cut();
            channel.run(|_, _| true);
            channel.check_everything_arrived();
        }
    }
}

/// After a cut only what the receiver lacks is sent again.
#[test]
fn resume_sends_only_missing_bytes() {
    let mut channel = Channel::new(0, Plan::Bytes(60_000));
    channel.write(0, 0, 60_000);
    while channel.transmit(0) {}
    channel.deliver(1, 40_000);
    let received = channel.received(1, 0);
    assert!((39_000..40_000).contains(&received));
    channel.cut();
    let before = channel.transmitted_content(0);
    channel.run(|_, _| false);
    let again = channel.transmitted_content(0) - before;
    // The other streams of the client are new: of these all is sent.
    assert_eq!(again, 60_000 - received + (STREAMS - 1) * 60_000);
}
