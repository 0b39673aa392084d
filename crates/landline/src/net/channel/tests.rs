use landline_proto::{
    BodySize, ErrorCode, Limits, MessageRule,
    messages::ErrorMessage,
    streams::{Ack, Alive, Bytes, Probe, Side as StreamSide, StreamOptions, Streams},
};

use super::*;
use crate::{Side, login::Identity, net::tls, paths::PrivateFolder};

/// The capacity of the connection between both ends, in bytes.
///
/// The tests send more, so that writing has to wait.
const CONNECTION_BYTES: usize = 1024;

static ANY: ProtocolState = ProtocolState::new("any", &[MessageRule::new("error")]);

/// Two ends of a connection over real TLS, the server's first.
async fn pair() -> (Channel, Channel) {
    let stage = testkit::Stage::new("unused");
    let folder = PrivateFolder::open_or_create(&stage.path("server")).unwrap();
    let identity = Identity::load_or_create(&folder, false).unwrap();
    let (near, far) = tokio::io::duplex(CONNECTION_BYTES);
    let (client, server) = tokio::join!(
        tls::connect(Box::new(near), "memory", identity.fingerprint()),
        tls::accept(Box::new(far), identity.tls(), b""),
    );
    (channel(server.unwrap()), channel(client.unwrap()))
}

fn channel(stream: Box<dyn SecureStream>) -> Channel {
    Channel::new(stream, MessageDecoder::new(Limits::SESSION))
}

/// Sends an error and closes, without reading what arrives.
async fn send_error_and_close(mut server: Channel) {
    server
        .send(&ErrorMessage::new(ErrorCode::NoSpace, "the disk is full"))
        .unwrap();
    server.flush().await.unwrap();
}

fn is_peer_error(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            side: Side::There,
            code: ErrorCode::NoSpace,
            ..
        }
    )
}

#[tokio::test]
async fn peer_error_is_reported_when_flush_fails() {
    let (server, mut client) = pair().await;
    // TLS buffers all of it, the connection holds only a part. So the flush waits, and fails.
    client
        .send(&ErrorMessage::new(
            ErrorCode::Io,
            "x".repeat(8 * CONNECTION_BYTES),
        ))
        .unwrap();
    let (flushed, ()) = tokio::join!(client.flush(), send_error_and_close(server));
    assert!(flushed.as_ref().is_err_and(is_peer_error), "{flushed:?}");
}

#[tokio::test]
async fn peer_error_is_reported_when_body_breaks() {
    let (server, mut client) = pair().await;
    client
        .send_with_body(
            &ErrorMessage::new(ErrorCode::Io, "a body"),
            BodySize::Unknown,
        )
        .unwrap();
    let mut data = DataFrame::new();
    data.fill(|content| Ok::<_, ()>(content.len())).unwrap();
    let sending = async {
        loop {
            if let Err(error) = client.send_data(&data, &ANY).await {
                return error;
            }
        }
    };
    let (error, ()) = tokio::join!(sending, send_error_and_close(server));
    assert!(is_peer_error(&error), "{error:?}");
}

#[tokio::test]
async fn connection_lost_without_reason_is_lost() {
    let (server, mut client) = pair().await;
    client
        .send(&ErrorMessage::new(
            ErrorCode::Io,
            "x".repeat(8 * CONNECTION_BYTES),
        ))
        .unwrap();
    let (flushed, ()) = tokio::join!(client.flush(), async { drop(server) });
    assert!(matches!(flushed, Err(Error::Lost(_))), "{flushed:?}");
}

/// Each side sends everything before it reads, so both directions fill up.
#[tokio::test]
async fn halves_send_and_receive_at_the_same_time() {
    let (server, client) = pair().await;
    let exchange = |channel: Channel| {
        let Channel {
            mut reader,
            mut writer,
            ..
        } = channel;
        let sending = async move {
            for count in 0..50 {
                let text = format!("{count} {}", "x".repeat(CONNECTION_BYTES));
                writer.send_encoded(&encode(&ErrorMessage::new(ErrorCode::Io, text)).unwrap());
                writer.flush().await.unwrap();
            }
        };
        let receiving = async move {
            let mut heard = 0;
            while heard < 50 {
                let error = reader.receive(&ANY).await.unwrap_err();
                let Error::Failed { message, .. } = error else {
                    panic!("{error}");
                };
                assert!(message.starts_with(&format!("{heard} ")), "{message}");
                heard += 1;
            }
        };
        (tokio::spawn(sending), tokio::spawn(receiving))
    };
    let tasks = [exchange(server), exchange(client)];
    for (sending, receiving) in tasks {
        sending.await.unwrap();
        receiving.await.unwrap();
    }
}

#[tokio::test]
async fn channels_run_over_memory() {
    let (near, far) = crate::net::memory_pair(CONNECTION_BYTES);
    assert_eq!(near.exporter().unwrap(), far.exporter().unwrap());
    let mut near = channel(near);
    let mut far = channel(far);
    near.send(&ErrorMessage::new(ErrorCode::Io, "over memory"))
        .unwrap();
    near.flush().await.unwrap();
    near.finish().await;
    assert!(matches!(far.receive(&ANY).await, Err(Error::Failed { .. })));
    assert!(matches!(far.receive_or_end(&ANY).await, Ok(None)));
}

/// What the two ends of a channel with streams accept.
static STREAMED: ProtocolState = ProtocolState::new(
    "streamed",
    &[
        Bytes::RULE,
        Ack::RULE,
        Probe::RULE,
        Alive::RULE,
        MessageRule::new("error"),
    ],
);

/// The ends of a channel with one stream to the server.
fn streams() -> (Streams, Streams) {
    let mut sides = (
        Streams::new(StreamSide::Client, 0),
        Streams::new(StreamSide::Server, 0),
    );
    sides.0.add(0, &StreamOptions::SEND);
    sides.1.add(0, &StreamOptions::RECEIVE);
    sides
}

/// The time until the server counts as lost, which sends nothing.
async fn time_until_lost(written: &[u8]) -> Duration {
    let (_server, mut client) = pair().await;
    let mut channel = StreamChannel::new(&mut client, streams().0).probe();
    channel.streams.write(0, written);
    let start = tokio::time::Instant::now();
    let lost = channel.next(&STREAMED).await.unwrap_err();
    assert!(matches!(lost, Error::Lost(_)), "{lost}");
    start.elapsed()
}

/// Proves `silent-connection` in docs/faults.md.
#[tokio::test(start_paused = true)]
async fn silent_server_is_lost_in_time() {
    // Timers are late by up to a millisecond each.
    let seconds = |seconds: u64| Duration::from_millis(seconds * 1000 + 10);
    let busy = time_until_lost(b"x").await;
    assert!(busy <= seconds(4), "{busy:?}");
    let idle = time_until_lost(b"").await;
    assert!(idle > seconds(20) && idle <= seconds(30), "{idle:?}");
}

/// Proves `silent-connection` in docs/faults.md.
#[tokio::test(start_paused = true)]
async fn silent_server_is_lost_while_its_answer_is_due() {
    let (_server, mut client) = pair().await;
    let start = tokio::time::Instant::now();
    let lost = client.receive_or_probe(&STREAMED).await.unwrap_err();
    assert!(matches!(lost, Error::Lost(_)), "{lost}");
    let time = start.elapsed();
    let range = Duration::from_secs(20)..=Duration::from_millis(30_010);
    assert!(range.contains(&time), "{time:?}");
}

/// A server that notes probes and answers them may take any time.
#[tokio::test(start_paused = true)]
async fn server_that_answers_is_waited_for() {
    let (mut server, mut client) = pair().await;
    server.reader.set_notes_probes(true);
    let mut probes = 0;
    let serving = async {
        loop {
            let interrupted = server.reader.probe_or_interruption(&STREAMED).await;
            assert!(interrupted.is_none() && server.reader.take_probe());
            probes += 1;
            server.send(&Alive {}).unwrap();
            server.flush().await.unwrap();
        }
    };
    tokio::select! {
        header = client.receive_or_probe(&STREAMED) => panic!("{header:?}"),
        () = serving => {}
        () = tokio::time::sleep(Duration::from_secs(70)) => {}
    }
    assert_eq!(probes, 3);
}

/// A server that answers and reads nothing is not lost.
#[tokio::test(start_paused = true)]
async fn server_that_answers_is_not_lost() {
    let (mut server, mut client) = pair().await;
    let (sending, receiving) = streams();
    let mut channel = StreamChannel::new(&mut client, sending).probe();
    channel.streams.write(0, b"x");
    let serving = async {
        let mut channel = StreamChannel::new(&mut server, receiving);
        loop {
            channel.next(&STREAMED).await.unwrap();
        }
    };
    tokio::select! {
        input = channel.next(&STREAMED) => panic!("{input:?}"),
        () = serving => {}
        () = tokio::time::sleep(Duration::from_secs(600)) => {}
    }
}

/// A peer that closes at once after its last message is not lost before that message.
#[tokio::test]
async fn last_message_arrives_although_nothing_can_be_sent() {
    let (mut server, mut client) = pair().await;
    client.send(&Alive {}).unwrap();
    client
        .send(&ErrorMessage::new(ErrorCode::NoSpace, "the disk is full"))
        .unwrap();
    client.flush().await.unwrap();
    drop(client);
    let mut channel = StreamChannel::new(&mut server, streams().1);
    channel.send(&Alive {}).unwrap();
    let input = channel.next(&STREAMED).await;
    assert!(input.as_ref().is_err_and(is_peer_error), "{input:?}");
}

/// Content that arrived and that no program reads is nothing to wait for.
#[tokio::test(start_paused = true)]
async fn content_that_nobody_reads_is_probed_for_once() {
    let (mut server, mut client) = pair().await;
    let mut channel = StreamChannel::new(&mut client, streams().0).probe();
    channel.streams.write(0, &[0; 1000]);
    let mut probes = 0;
    let serving = async {
        let mut content = Vec::new();
        loop {
            let header = server.receive(&STREAMED).await.unwrap();
            if header.kind() == Probe::TYPE {
                probes += 1;
                server.send(&Alive {}).unwrap();
                server.flush().await.unwrap();
            } else {
                while let Received::Data(_) = server.receive_data(&mut content).await.unwrap() {}
            }
        }
    };
    tokio::select! {
        input = channel.next(&STREAMED) => panic!("{input:?}"),
        () = serving => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => {}
    }
    // One because its bytes are not acknowledged, and one for the silence of a line at rest.
    assert_eq!(probes, 2);
}
