use landline_proto::{BodySize, ErrorCode, Limits, MessageRule, messages::ErrorMessage};

use super::*;
use crate::{Side, login::Identity, net::tls, paths::PrivateFolder};

/// What the connection between both ends holds, in bytes: less than what the tests send, so that
/// writing has to wait.
const CONNECTION_BYTES: usize = 1024;

static ANY: ProtocolState = ProtocolState::new("any", &[MessageRule::new("error")]);

/// Two ends of a connection, the server's first, over real TLS.
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

/// Says why, and closes at once, without reading what is on its way.
async fn break_off(mut server: Channel) {
    server
        .send(&ErrorMessage::new(ErrorCode::NoSpace, "the disk is full"))
        .unwrap();
    server.flush().await.unwrap();
}

fn says_why(error: &Error) -> bool {
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
    // TLS takes it all, the connection only a part: it is the flush that waits, and breaks.
    client
        .send(&ErrorMessage::new(
            ErrorCode::Io,
            "x".repeat(8 * CONNECTION_BYTES),
        ))
        .unwrap();
    let (flushed, ()) = tokio::join!(client.flush(), break_off(server));
    assert!(flushed.as_ref().is_err_and(says_why), "{flushed:?}");
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
    let (error, ()) = tokio::join!(sending, break_off(server));
    assert!(says_why(&error), "{error:?}");
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

/// Both halves move at the same time, in two tasks: neither side reads before it has sent all.
#[tokio::test]
async fn halves_send_and_receive_at_the_same_time() {
    let (server, client) = pair().await;
    let exchange = |channel: Channel| {
        let Channel {
            mut reader,
            mut writer,
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
    let (mut near, mut far) = (channel(near), channel(far));
    near.send(&ErrorMessage::new(ErrorCode::Io, "over memory"))
        .unwrap();
    near.flush().await.unwrap();
    near.finish().await;
    assert!(matches!(far.receive(&ANY).await, Err(Error::Failed { .. })));
    assert!(matches!(far.receive_or_end(&ANY).await, Ok(None)));
}
