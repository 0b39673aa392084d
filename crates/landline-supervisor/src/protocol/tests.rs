//! Messages and frames.

use proptest::prelude::*;

use super::*;

fn start() -> Order {
    Order::Start(Box::new(Start {
        program: b"/bin/sh".to_vec(),
        arguments: vec![b"sh".to_vec(), b"\xff\n".to_vec(), Vec::new()],
        environment: vec![b"A=b".to_vec()],
        folder: b"/".to_vec(),
        terminal: Some(Size {
            rows: 24,
            columns: 80,
        }),
        modes: vec![(3, 127), (42, 1)],
        is_attended: true,
        has_input: true,
        job_folder: b"/jobs/1".to_vec(),
        store: Store::Disk,
        window: 65536,
        bytes_max: 1 << 26,
        timeout: Some(Duration::from_millis(1500)),
        on_lost: Duration::MAX,
    }))
}

fn orders() -> Vec<Order> {
    let stream = OutputStream::Stderr;
    vec![
        start(),
        Order::Start(Box::default()),
        Order::Input {
            offset: 1 << 40,
            bytes: vec![0, 255],
        },
        Order::InputEnd { offset: 7 },
        Order::OutputAck {
            stream,
            offset: 9,
            limit: 10,
        },
        Order::OutputStop { stream },
        Order::Signal { signal: 15 },
        Order::Resize(Size {
            rows: 1,
            columns: 65535,
        }),
        Order::End {
            grace: Duration::from_millis(1500),
        },
        Order::Adopt,
        Order::Store,
        Order::Leave,
        Order::Screen {
            size: Size {
                rows: 40,
                columns: 133,
            },
            history: 200,
        },
        Order::Attended(true),
        Order::Attended(false),
        Order::Confirm,
    ]
}

fn reports() -> Vec<Report> {
    let stream = OutputStream::Stdout;
    let exit = |status| {
        Report::Exited(Exit {
            status,
            user_time: Duration::from_micros(5),
            system_time: Duration::from_secs(6),
            memory_bytes_max: 1 << 33,
            timed_out: true,
            stdout: 1 << 41,
            stderr: 2,
            started: 3,
            ended: 4,
            left_open: true,
        })
    };
    let signal = |has_core| Status::Signal {
        signal: 9,
        has_core,
    };
    vec![
        Report::Started { pid: 4711 },
        Report::Failed {
            step: Step::Folder,
            errno: 2,
        },
        Report::Output {
            stream,
            offset: 3,
            bytes: b"text".to_vec(),
        },
        Report::OutputEnd { stream, offset: 7 },
        Report::InputAck { offset: 8 },
        Report::InputStop,
        exit(Status::Code(255)),
        exit(signal(false)),
        exit(signal(true)),
        Report::Stored { stream, offset: 12 },
        Report::Adopted(Adopted {
            pid: 4711,
            store: Store::Disk,
            stdout: OutputState {
                acknowledged: 5,
                read: 6,
                has_ended: false,
            },
            stderr: OutputState {
                acknowledged: 7,
                read: 8,
                has_ended: true,
            },
            input: InputState {
                has_input: true,
                received: 9,
                taken: 10,
                has_end: true,
                has_stopped: false,
            },
        }),
        Report::Screen {
            offset: 1 << 33,
            is_whole: true,
            bytes: b"\x1b[H".to_vec(),
        },
        Report::Confirmed,
    ]
}

/// The frames in `bytes`, which arrive in pieces of `piece` bytes.
fn frames(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let (mut buffer, mut frames) = (FrameBuffer::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend(piece);
        while let Some(frame) = buffer.next_frame().unwrap() {
            frames.push(frame.to_vec());
        }
    }
    frames
}

#[test]
fn messages_survive_any_pieces() {
    let mut bytes = Vec::new();
    for order in orders() {
        order.encode(&mut bytes);
    }
    for piece in [1, 7, bytes.len()] {
        let read: Result<Vec<_>, _> = frames(&bytes, piece)
            .iter()
            .map(|it| Order::decode(it))
            .collect();
        assert_eq!(read.unwrap(), orders(), "pieces of {piece}");
    }
    bytes.clear();
    for report in reports() {
        report.encode(&mut bytes);
    }
    let read: Result<Vec<_>, _> = frames(&bytes, 3)
        .iter()
        .map(|it| Report::decode(it))
        .collect();
    assert_eq!(read.unwrap(), reports());
}

#[test]
fn messages_have_the_documented_bytes() {
    let encode = |order: Order| {
        let mut bytes = Vec::new();
        order.encode(&mut bytes);
        bytes
    };
    assert_eq!(
        encode(Order::Signal { signal: 15 }),
        [2, 0, 0, 0, 6, 15],
        "signal"
    );
    assert_eq!(
        encode(Order::Input {
            offset: 258,
            bytes: b"ab".to_vec()
        }),
        [11, 0, 0, 0, 2, 2, 1, 0, 0, 0, 0, 0, 0, b'a', b'b'],
        "input"
    );
    let mut bytes = Vec::new();
    Report::Started { pid: 1 }.encode(&mut bytes);
    assert_eq!(bytes, [5, 0, 0, 0, 1, 1, 0, 0, 0], "started");
}

#[test]
fn cut_and_extended_frames_are_refused() {
    for order in orders() {
        let mut bytes = Vec::new();
        order.encode(&mut bytes);
        let frame = bytes.get(4..).unwrap();
        let is_open = matches!(order, Order::Input { .. });
        for length in 1..frame.len() {
            let cut = Order::decode(frame.get(..length).unwrap());
            assert!(
                cut.is_err() || (is_open && length >= 9),
                "{order:?} cut to {length}"
            );
        }
        let extended = [frame, &[0]].concat();
        assert_eq!(
            Order::decode(&extended).is_err(),
            !is_open,
            "{order:?} extended"
        );
    }
}

#[test]
fn other_versions_and_types_are_refused() {
    let mut bytes = Vec::new();
    start().encode(&mut bytes);
    bytes[5] = 2;
    assert_eq!(
        Order::decode(bytes.get(4..).unwrap()),
        Err(FrameError::Version(2))
    );
    assert_eq!(Order::decode(&[99]), Err(FrameError::Type(99)));
    assert_eq!(Report::decode(&[99]), Err(FrameError::Type(99)));
    for length in [0, FRAME_BYTES_MAX + 1] {
        let mut buffer = FrameBuffer::default();
        buffer.extend(&u32::try_from(length).unwrap().to_le_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::Length(length)));
    }
}

proptest! {
    #[test]
    fn garbage_neither_panics_nor_reserves(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Order::decode(&bytes);
        let _ = Report::decode(&bytes);
        let mut buffer = FrameBuffer::default();
        buffer.extend(&bytes);
        while let Ok(Some(_)) = buffer.next_frame() {}
    }
}
