//! `udp-chat`: members are known by their address, and an operator takes part.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use super::{
    ClassicEvent, ClassicSink, DatagramConnection, Direction,
    codec::{ChatLine, ChatUpdate, Encodings, Members},
    own_networks::OwnNetworks,
    talk::LineSource,
};
use crate::{
    Error, Wording,
    error::{RANDOM_NUMBERS, SOCKET},
    talk::GOODBYE,
};

/// The maximum length of a datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// The longest sleep of the server loop.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The options of a chat.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The encodings of the lines.
    pub encodings: Encodings,
    /// The local user's name.
    pub name: String,
    /// The word that leaves the chat.
    pub bye: String,
    /// The silence after which a member is removed.
    pub idle_time_max: Duration,
    /// Whether a server reports each datagram as bytes.
    pub show: bool,
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
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Error::io(RANDOM_NUMBERS, io::Error::other(error)))?;
    let mut chat = Chat {
        socket,
        members: Members::new(
            Instant::now(),
            options.idle_time_max,
            options.bye.clone(),
            options.encodings,
            key,
        ),
        networks: OwnNetworks::default(),
        show: options.show,
        events: events.clone(),
    };
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut has_operator = true;
    tokio::pin!(shutdown);
    loop {
        let now = Instant::now();
        chat.send_queued(now).await;
        let wake_at = chat
            .members
            .poll_timeout(now)
            .unwrap_or_else(|| now + SLEEP_MAX);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            text = operator.next_line(), if has_operator => match text {
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let datagram = ChatLine::encode(&options.name, &text, options.encodings.sent);
                    for address in chat.members.addresses() {
                        chat.send(address, &datagram).await;
                    }
                }
                None => has_operator = false,
            },
            received = chat.socket.recv_from(&mut datagram) => match received {
                Ok((count, from)) => {
                    chat.handle_datagram(from, datagram.get(..count).unwrap_or_default());
                }
                // The error concerns one member that is gone, not the socket.
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(Error::io(SOCKET, error)),
            },
            () = tokio::time::sleep_until(wake_at.into()) => {
                for peer in chat.members.handle_timeout(Instant::now()) {
                    let why = Wording::new("has said nothing for too long", "太久没有说话");
                    events(ClassicEvent::Left { peer: peer.to_string(), why });
                }
            }
        }
    }
}

/// A running server.
struct Chat {
    socket: UdpSocket,
    members: Members,
    networks: OwnNetworks,
    show: bool,
    events: ClassicSink,
}

impl Chat {
    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        self.watch(from, Direction::Recv, datagram);
        let is_near = self.networks.contain(now, from.ip());
        let peer = from.to_string();
        let updated = self.members.handle_datagram(now, from, is_near, datagram);
        let ChatUpdate {
            line,
            has_joined,
            has_left,
            held,
        } = match updated {
            Ok(update) => update,
            Err(refusal) => {
                let message = refusal.wording();
                return (self.events)(ClassicEvent::Refused { peer, message });
            }
        };
        if has_joined {
            (self.events)(ClassicEvent::Joined { peer: peer.clone() });
        }
        if let Some(ChatLine { name, text }) = line {
            (self.events)(ClassicEvent::Said {
                peer: peer.clone(),
                name,
                text,
                held,
            });
        }
        if has_left {
            (self.events)(ClassicEvent::Left { peer, why: GOODBYE });
        }
    }

    /// Sends what the limits allow now.
    async fn send_queued(&mut self, now: Instant) {
        while let Some((address, datagram)) = self.members.poll_send(now) {
            self.send(address, &datagram).await;
        }
    }

    /// Sends to one member.
    ///
    /// A member that cannot be reached is removed when it is idle for too long.
    async fn send(&self, address: SocketAddr, datagram: &[u8]) {
        self.watch(address, Direction::Send, datagram);
        let _ = self.socket.send_to(datagram, address).await;
    }

    fn watch(&self, peer: SocketAddr, direction: Direction, datagram: &[u8]) {
        if self.show {
            (self.events)(ClassicEvent::of_wire(peer.to_string(), direction, datagram));
        }
    }
}

/// The client: sends the lines of `person`, and passes received lines to `show`.
///
/// It ends when the user leaves or says the word `bye`, or when `shutdown` completes. Then it says
/// goodbye.
///
/// # Errors
/// [`Error::Lost`] if nothing receives datagrams at the server's address.
pub async fn chat(
    connection: &DatagramConnection,
    options: &ChatOptions,
    person: LineSource,
    shutdown: impl Future<Output = ()>,
    mut show: impl FnMut(ChatLine),
) -> Result<(), Error> {
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            received = connection.receive() => {
                let line = match options.encodings.received.try_decode(&received?) {
                    Ok(text) => ChatLine::parse(&text),
                    Err(error) => ChatLine {
                        name: None,
                        text: error.to_string(),
                    },
                };
                if line.is_token() {
                    // The server sends more to an address that is known to receive it.
                    let token = ChatLine::encode(&options.name, &line.text, options.encodings.sent);
                    connection.send(&token).await?;
                } else {
                    show(line);
                }
            }
            () = &mut shutdown => break,
            text = person.next_line() => match text {
                None => break,
                Some(text) if text.trim() == options.bye => break,
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let datagram = ChatLine::encode(&options.name, &text, options.encodings.sent);
                    connection.send(&datagram).await?;
                }
            },
        }
    }
    let datagram = ChatLine::encode(&options.name, &options.bye, options.encodings.sent);
    connection.send(&datagram).await
}

/// Whether an error concerns one address, and not the socket.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused | K::ConnectionReset | K::HostUnreachable | K::NetworkUnreachable
    )
}
