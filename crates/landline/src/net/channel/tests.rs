use landline_proto::messages::ErrorMessage;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{Side, login::Identity, net::tls, paths::PrivateFolder};

/// What the line between both ends holds, in bytes: less than what the tests send, so that writing
/// has to wait.
const LINE_BYTES: usize = 1024;

/// Two ends of a line, the server's first, over real TLS.
async fn pair() -> (Channel, Channel) {
    let stage = testkit::Stage::new("unused");
    let folder = PrivateFolder::open_or_create(&stage.path("server")).unwrap();
    let identity = Identity::load_or_create(&folder, false).unwrap();
    let (near, far) = tokio::io::duplex(LINE_BYTES);
    let (near, far): (Box<dyn Transport>, Box<dyn Transport>) = (Box::new(near), Box::new(far));
    let connector = TlsConnector::from(tls::client_config(identity.fingerprint()).unwrap());
    let acceptor = TlsAcceptor::from(identity.tls());
    let name = ServerName::try_from("landline").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    let channel = |stream| Channel::new(stream, MessageDecoder::new(Limits::SESSION));
    (
        channel(TlsStream::Server(server.unwrap())),
        channel(TlsStream::Client(client.unwrap())),
    )
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
async fn the_reason_is_heard_though_the_line_breaks_while_what_was_gathered_leaves() {
    let (server, mut client) = pair().await;
    // TLS takes it all, the line only a part: it is the flush that waits, and breaks.
    client
        .send(&ErrorMessage::new(
            ErrorCode::Io,
            "x".repeat(8 * LINE_BYTES),
        ))
        .unwrap();
    let (flushed, ()) = tokio::join!(client.flush(), break_off(server));
    assert!(flushed.as_ref().is_err_and(says_why), "{flushed:?}");
}

#[tokio::test]
async fn the_reason_is_heard_though_the_line_breaks_within_a_body() {
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
            if let Err(error) = client.send_data(&data).await {
                return error;
            }
        }
    };
    let (error, ()) = tokio::join!(sending, break_off(server));
    assert!(says_why(&error), "{error:?}");
}

#[tokio::test]
async fn a_line_that_breaks_without_a_word_is_lost() {
    let (server, mut client) = pair().await;
    client
        .send(&ErrorMessage::new(
            ErrorCode::Io,
            "x".repeat(8 * LINE_BYTES),
        ))
        .unwrap();
    let (flushed, ()) = tokio::join!(client.flush(), async { drop(server) });
    assert!(matches!(flushed, Err(Error::Lost(_))), "{flushed:?}");
}
