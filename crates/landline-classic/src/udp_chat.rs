//! `udp-chat`: members are known by their address, and an operator takes part.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use super::{
    ClassicEvent, ClassicSink,
    codec::{Charset, ChatLine, Members},
    talk::LineSource,
};
use crate::Error;

/// The maximum length of a datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// The longest sleep of the server loop.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The options of a chat.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The encoding of the lines.
    pub charset: Charset,
    /// The local user's name.
    pub name: String,
    /// The word that leaves the chat.
    pub bye: String,
    /// The silence after which a member is removed.
    pub idle_time_max: Duration,
}

/// The server: relays the lines of members and of `operator` until `shutdown`.
///
/// The chat continues when the operator leaves.
///
/// # Errors
/// [`Error::Io`] if the socket fails.
pub async fn serve(
    socket: UdpSocket,
    options: &ChatOptions,
    operator: LineSource,
    shutdown: impl Future<Output = ()>,
    events: &ClassicSink,
) -> Result<(), Error> {
    let mut members = Members::new(options.idle_time_max, options.bye.clone(), options.charset);
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut has_operator = true;
    tokio::pin!(shutdown);
    loop {
        let wake_at = members
            .poll_timeout()
            .unwrap_or_else(|| Instant::now() + SLEEP_MAX);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            text = operator.next_line(), if has_operator => match text {
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let datagram = ChatLine::encode(&options.name, &text, options.charset);
                    for address in members.addresses() {
                        send(&socket, &datagram, address).await;
                    }
                }
                None => has_operator = false,
            },
            received = socket.recv_from(&mut datagram) => match received {
                Ok((count, from)) => {
                    let datagram = datagram.get(..count).unwrap_or_default();
                    handle_datagram(&socket, &mut members, from, datagram, events).await;
                }
                // The error concerns one member that is gone, not the socket.
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(Error::io("the socket", error)),
            },
            () = tokio::time::sleep_until(wake_at.into()) => {
                for peer in members.handle_timeout(Instant::now()) {
                    events(ClassicEvent::Left { peer: peer.to_string(), why: "has said nothing for too long" });
                }
            }
        }
    }
}

async fn handle_datagram(
    socket: &UdpSocket,
    members: &mut Members,
    from: SocketAddr,
    datagram: &[u8],
    events: &ClassicSink,
) {
    let peer = from.to_string();
    let Some(update) = members.handle_datagram(Instant::now(), from, datagram) else {
        return events(ClassicEvent::Refused {
            peer,
            message: "there are too many members".into(),
        });
    };
    if update.has_joined {
        events(ClassicEvent::Joined { peer: peer.clone() });
    }
    for address in update.relay {
        send(socket, datagram, address).await;
    }
    let ChatLine { name, text } = update.line;
    events(ClassicEvent::Said {
        peer: peer.clone(),
        name,
        text,
        spared: update.spared,
    });
    if update.has_left {
        events(ClassicEvent::Left {
            peer,
            why: "goodbye",
        });
    }
}

/// Sends to one member.
///
/// A member that cannot be reached is removed when it is idle for too long.
async fn send(socket: &UdpSocket, datagram: &[u8], address: SocketAddr) {
    let _ = socket.send_to(datagram, address).await;
}

/// The client: sends the lines of `person`, and passes received lines to `show`.
///
/// It ends when the user leaves or says the word `bye`, or when `shutdown` completes. Then it says
/// goodbye.
///
/// # Errors
/// [`Error::Lost`] if nothing receives datagrams at the server's address.
pub async fn chat(
    socket: &UdpSocket,
    options: &ChatOptions,
    person: LineSource,
    shutdown: impl Future<Output = ()>,
    mut show: impl FnMut(ChatLine),
) -> Result<(), Error> {
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Error::Lost("nothing receives datagrams at that address".into())
        }
        _ => Error::Lost(error.to_string()),
    };
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            received = socket.recv(&mut datagram) => {
                let count = received.map_err(lost)?;
                let text = options.charset.decode(datagram.get(..count).unwrap_or_default());
                show(ChatLine::parse(&text));
            }
            () = &mut shutdown => break,
            text = person.next_line() => match text {
                None => break,
                Some(text) if text.trim() == options.bye => break,
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let datagram = ChatLine::encode(&options.name, &text, options.charset);
                    socket.send(&datagram).await.map_err(lost)?;
                }
            },
        }
    }
    let datagram = ChatLine::encode(&options.name, &options.bye, options.charset);
    socket.send(&datagram).await.map(|_| ()).map_err(lost)
}

/// Whether an error concerns one address, and not the socket.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused | K::ConnectionReset | K::HostUnreachable | K::NetworkUnreachable
    )
}
