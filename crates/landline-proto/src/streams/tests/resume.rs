//! Channels that continue a lost one.

use super::*;

#[test]
fn nothing_is_sent_about_streams_before_the_peers_resume() {
    let (mut client, mut server) = pair();
    client.write(0, b"abc");
    client.reconnect();
    server.reconnect();
    client.send_control(&Ping {}).unwrap();
    assert_eq!(pump(&mut client, &mut server), ["ping", "resume"]);
    assert_eq!(client.open(&PLAIN), None);
    client.send_control(&Ping {}).unwrap();
    assert_eq!(pump(&mut client, &mut server), ["ping"]);
    assert_eq!(pump(&mut server, &mut client), ["resume"]);
    assert_eq!(pump(&mut client, &mut server), ["bytes"]);
    assert_eq!(server.read(0), Read::Bytes(b"abc"));
    assert!(client.open(&PLAIN).is_some());
}

#[test]
fn messages_before_a_due_resume_are_rejected() {
    let (mut client, mut server) = pair();
    client.write(0, b"abc");
    let mut bytes = Vec::new();
    client.poll_transmit(&mut bytes);
    server.reconnect();
    assert_eq!(
        code(feed(&bytes, &mut server)),
        ErrorCode::UnexpectedMessage
    );
}

#[test]
fn unexpected_resume_is_rejected() {
    let (mut client, mut server) = pair();
    let list = message(
        &Resume {
            streams: Vec::new(),
        },
        None,
    );
    assert_eq!(code(feed(&list, &mut server)), ErrorCode::UnexpectedMessage);
    server.reconnect();
    client.reconnect();
    pump(&mut client, &mut server);
    assert_eq!(code(feed(&list, &mut server)), ErrorCode::UnexpectedMessage);
}

#[test]
fn lost_end_messages_are_repeated() {
    let (mut client, mut server) = pair();
    client.write(0, b"abc");
    pump(&mut client, &mut server);
    client.finish(0);
    server.stop(0);
    while client.poll_transmit(&mut Vec::new()) {}
    while server.poll_transmit(&mut Vec::new()) {}
    client.reconnect();
    server.reconnect();
    pump(&mut client, &mut server);
    assert_eq!(pump(&mut server, &mut client), ["resume"]);
    assert_eq!(
        events(&mut client).first(),
        Some(&StreamEvent::Stopped {
            stream: 0,
            offset: 0
        })
    );
    assert_eq!(pump(&mut client, &mut server), ["end"]);
    for side in [&mut client, &mut server] {
        side.finish(0);
        side.stop(0);
    }
    pump(&mut server, &mut client);
    pump(&mut client, &mut server);
    assert!(client.offsets(0).is_none() && server.offsets(0).is_none());
}

#[test]
fn stream_unknown_to_one_side_is_gone() {
    let (mut client, mut server) = pair();
    let lost = client.open(&PLAIN).unwrap();
    for side in [&mut client, &mut server] {
        side.finish(0);
        side.stop(0);
    }
    pump(&mut client, &mut server);
    while server.poll_transmit(&mut Vec::new()) {}
    assert!(server.offsets(0).is_none() && client.offsets(0).is_some());
    client.reconnect();
    server.reconnect();
    pump(&mut client, &mut server);
    pump(&mut server, &mut client);
    let gone: Vec<_> = events(&mut client)
        .into_iter()
        .filter(|event| matches!(event, StreamEvent::Gone { .. }))
        .collect();
    assert_eq!(
        gone,
        [
            StreamEvent::Gone { stream: 0 },
            StreamEvent::Gone { stream: lost }
        ]
    );
    assert_eq!(client.write(lost, b"x"), None);
}

#[test]
fn new_process_resumes_where_service_says() {
    let (mut client, mut server) = pair();
    client.write(0, b"0123456789");
    server.write(1, b"abcdef");
    pump(&mut client, &mut server);
    pump(&mut server, &mut client);
    server.consume(0, 4);
    client.consume(1, 6);
    pump(&mut server, &mut client);
    // The server starts again: it accepted 4 bytes of stream 0, and was told of none of stream 1.
    let mut server = Streams::new(Side::Server, POOL);
    for stream in 0..3 {
        let options = StreamOptions {
            send_from: Some([0, 6, 0][stream as usize]),
            receive_from: Some([4, 0, 0][stream as usize]),
            ..PLAIN
        };
        server.add(stream, &options);
    }
    server.reconnect();
    client.reconnect();
    pump(&mut client, &mut server);
    pump(&mut server, &mut client);
    server.write(1, b"ghi");
    pump(&mut client, &mut server);
    pump(&mut server, &mut client);
    assert_eq!(server.read(0), Read::Bytes(b"456789"));
    assert_eq!(client.read(1), Read::Bytes(b"ghi"));
}

/// The sides of a stream from the server, in a new process of the server. It knows that the client
/// has consumed 10 bytes; the client has consumed 20 of 60.
fn restarted(content: &[u8]) -> (Streams, Streams) {
    let mut client = Streams::new(Side::Client, POOL);
    let options = StreamOptions {
        receive_from: Some(20),
        ..StreamOptions::RECEIVE
    };
    client.add(1, &options);
    let receive = client.receiving(1).unwrap();
    receive.begin(20, 40, false).unwrap();
    receive.push(&content[20..60]);
    let mut server = Streams::new(Side::Server, POOL);
    let options = StreamOptions {
        send_from: Some(10),
        send_ahead: 1 << 20,
        ..StreamOptions::SEND
    };
    server.add(1, &options);
    client.reconnect();
    server.reconnect();
    (client, server)
}

/// The new process has the content again from the last acknowledgement on.
#[test]
fn new_process_skips_what_the_peer_has() {
    let content: Vec<u8> = (0..100).collect();
    for written_before in [0, 30, 80] {
        let (mut client, mut server) = restarted(&content);
        let early = &content[10..10 + written_before];
        assert_eq!(server.write(1, early), Some(written_before));
        pump(&mut client, &mut server);
        pump(&mut server, &mut client);
        let written = server.offsets(1).unwrap().written;
        assert_eq!(written, 60.max(10 + written_before as u64));
        let rest = &content[written as usize..];
        assert_eq!(server.write(1, rest), Some(rest.len()));
        server.finish(1);
        pump(&mut server, &mut client);
        let mut have = Vec::new();
        while let Read::Bytes(bytes) = client.peek(1, have.len() as u64) {
            have.extend_from_slice(bytes);
        }
        assert_eq!(have, content[20..], "{written_before}");
        assert_eq!(client.peek(1, 80), Read::End);
    }
}

/// The new process does not know how much was sent of a stream that its peer has stopped.
#[test]
fn new_process_ends_a_stopped_stream() {
    let (mut client, mut server) = restarted(&[1; 60]);
    client.stop(1);
    pump(&mut client, &mut server);
    assert_eq!(server.write(1, b"x"), None);
    pump(&mut server, &mut client);
    assert!(!server.is_open(1) && !client.is_open(1));
}

#[test]
fn impossible_resume_is_rejected() {
    let entry = |stream, offset, window, from| ResumeEntry {
        stream,
        offset,
        window,
        from,
    };
    let w = Some(STREAM_WINDOW_INITIAL);
    let whole = |stream| entry(stream, Some(0), w, None);
    for (streams, expected) in [
        (vec![whole(0), whole(0)], ErrorCode::BadHeader),
        (vec![entry(0, None, w, None)], ErrorCode::BadHeader),
        (vec![entry(0, Some(0), None, Some(0))], ErrorCode::BadHeader),
        (vec![entry(0, Some(0), w, Some(4))], ErrorCode::BadHeader),
        (vec![entry(0, Some(4), w, None)], ErrorCode::BadHeader),
        (
            vec![entry(0, Some(0), Some(2), Some(3))],
            ErrorCode::BadHeader,
        ),
        (vec![entry(0, Some(4), None, None)], ErrorCode::BadHeader),
        (
            vec![entry(0, None, None, None)],
            ErrorCode::UnexpectedMessage,
        ),
    ] {
        let (mut client, mut server) = pair();
        client.write(0, b"abc");
        pump(&mut client, &mut server);
        client.reconnect();
        let text = format!("{streams:?}");
        let result = feed(&message(&Resume { streams }, None), &mut client);
        assert_eq!(code(result), expected, "{text}");
    }
}

#[test]
fn longest_resume_fits_into_a_header() {
    let mut client = Streams::new(Side::Client, 0);
    let far = StreamOptions {
        receive_from: Some(OFFSET_MAX - 10 * STREAM_WINDOW_INITIAL),
        ..StreamOptions::RECEIVE
    };
    for stream in 0..=STREAMS_FIXED_MAX as u64 {
        let added = client.add(OFFSET_MAX - 10_000 + stream, &far);
        assert_eq!(added, stream < STREAMS_FIXED_MAX as u64);
    }
    let first = OFFSET_MAX - 10_000 + STREAMS_FIXED_MAX as u64;
    for stream in 0..STREAMS_OPENED_MAX as u64 {
        client.open(&far).unwrap();
        let odd = first + 1 - first % 2;
        client.accept(odd + 2 * stream, &far).unwrap();
    }
    let numbers: Vec<u64> = client.streams.keys().copied().collect();
    for &stream in &numbers {
        let receive = client.receiving(stream).unwrap();
        receive.begin(receive.received(), 9, false).unwrap();
        receive.push(&[0; 9]);
    }
    client.reconnect();
    let mut bytes = Vec::new();
    assert!(client.poll_transmit(&mut bytes));
    let list: Resume = first_header(&bytes).read().unwrap();
    assert_eq!(list.streams.len(), numbers.len());
    assert!(
        list.streams
            .iter()
            .all(|entry| entry.window.is_some() && entry.from.is_some())
    );
}
