//! `udp-chat`: many members by address, and an operator.

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
    talk::Person,
};
use crate::Error;

/// The longest datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// How often to look for members that have been idle for too long, at most.
const NEVER: Duration = Duration::from_secs(3600);

/// How a chat is served.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The encoding of its lines.
    pub charset: Charset,
    /// The operator's name.
    pub name: String,
    /// The word that leaves.
    pub bye: String,
    /// Who says nothing for so long is forgotten.
    pub idle_time_max: Duration,
}

/// The server's half: relays what members say, and what `operator` says, until `shutdown`. That the
/// operator goes ends nothing else.
///
/// # Errors
/// What the system says of the socket.
pub async fn serve(
    socket: UdpSocket,
    options: &ChatOptions,
    operator: Person,
    shutdown: impl Future<Output = ()>,
    events: &ClassicSink,
) -> Result<(), Error> {
    let mut members = Members::new(options.idle_time_max, options.bye.clone(), options.charset);
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut has_operator = true;
    tokio::pin!(shutdown);
    loop {
        let wake = members
            .poll_timeout()
            .unwrap_or_else(|| Instant::now() + NEVER);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            said = operator.line(), if has_operator => match said {
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let line = ChatLine::encode(&options.name, &text, options.charset);
                    for address in members.addresses() {
                        send(&socket, &line, address).await;
                    }
                }
                None => has_operator = false,
            },
            received = socket.recv_from(&mut datagram) => match received {
                Ok((count, from)) => {
                    let datagram = datagram.get(..count).unwrap_or_default();
                    hear(&socket, &mut members, from, datagram, events).await;
                }
                // That somebody is not there any more is no reason to stop.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(Error::io("the socket", error)),
            },
            () = tokio::time::sleep_until(wake.into()) => {
                for peer in members.handle_timeout(Instant::now()) {
                    events(ClassicEvent::Left { peer: peer.to_string(), why: "has said nothing for too long" });
                }
            }
        }
    }
}

async fn hear(
    socket: &UdpSocket,
    members: &mut Members,
    from: SocketAddr,
    datagram: &[u8],
    events: &ClassicSink,
) {
    let peer = from.to_string();
    let Some(heard) = members.handle_datagram(Instant::now(), from, datagram) else {
        return events(ClassicEvent::Refused {
            peer,
            message: "there are too many members".into(),
        });
    };
    if heard.has_joined {
        events(ClassicEvent::Joined { peer: peer.clone() });
    }
    for address in heard.relay {
        send(socket, datagram, address).await;
    }
    let ChatLine { name, text } = heard.line;
    events(ClassicEvent::Said {
        peer: peer.clone(),
        name,
        text,
        spared: heard.spared,
    });
    if heard.has_left {
        events(ClassicEvent::Left {
            peer,
            why: "goodbye",
        });
    }
}

/// Sends to one member. One that cannot be reached is forgotten in time; it holds up nobody.
async fn send(socket: &UdpSocket, datagram: &[u8], address: SocketAddr) {
    let _ = socket.send_to(datagram, address).await;
}

/// The client's half: says what `person` says, and gives what comes to `hear`, until the person
/// goes or says the word `bye`, or `shutdown` completes; then says goodbye.
///
/// # Errors
/// [`Error::Lost`] where nobody is there.
pub async fn chat(
    socket: &UdpSocket,
    options: &ChatOptions,
    person: Person,
    shutdown: impl Future<Output = ()>,
    mut hear: impl FnMut(ChatLine),
) -> Result<(), Error> {
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Lost("nobody takes datagrams there".into()),
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
                hear(ChatLine::parse(&text));
            }
            () = &mut shutdown => break,
            said = person.line() => match said {
                None => break,
                Some(text) if text.trim() == options.bye => break,
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let line = ChatLine::encode(&options.name, &text, options.charset);
                    socket.send(&line).await.map_err(lost)?;
                }
            },
        }
    }
    let line = ChatLine::encode(&options.name, &options.bye, options.charset);
    socket.send(&line).await.map(|_| ()).map_err(lost)
}

/// Whether an error concerns one address, and not the socket.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused | K::ConnectionReset | K::HostUnreachable | K::NetworkUnreachable
    )
}
