use landline_proto::{BodySize, ErrorCode, Limits, MessageRule, messages::ErrorMessage};

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
