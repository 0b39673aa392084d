//! The client's half of the service.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use landline_proto::{
    ErrorCode, Header,
    streams::{Side, Streams},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    messages::{
        CLIENT_FORWARDING, Closed, Connect, ConnectedTo, Incoming, Listen, Listening, Reset,
        SERVICE,
    },
    relay::{Ended, Endpoint, OPTIONS, POOL_BYTES, Relay, abandon},
};
use crate::{
    Error,
    login::FirstRequest,
    net::{Channel, HostPort, StreamChannel, StreamInput},
};

/// Makes what the local end gets before anything else, by how connecting went.
type Answer = Box<dyn FnOnce(Result<SocketAddr, &Error>) -> Vec<u8> + Send>;

/// The end of a forwarded connection on this machine.
pub struct LocalEnd {
    endpoint: Box<dyn Endpoint>,
    pending: Vec<u8>,
    answer: Option<Answer>,
}

impl LocalEnd {
    /// A connection, or another pair of streams.
    pub fn new(endpoint: impl Endpoint) -> Self {
        Self {
            endpoint: Box::new(endpoint),
            pending: Vec::new(),
            answer: None,
        }
    }

    /// Adds what was read from it already.
    pub fn with_pending(self, pending: Vec<u8>) -> Self {
        Self { pending, ..self }
    }

    /// Has it told how connecting went, before anything else.
    ///
    /// After a failure it is then closed and not reset.
    pub fn with_answer(
        self,
        answer: impl FnOnce(Result<SocketAddr, &Error>) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self {
            answer: Some(Box::new(answer)),
            ..self
        }
    }
}

/// What a [`ForwardChannel`] is to do.
pub(crate) enum ForwardOrder {
    /// Have the server connect to a host.
    Connect {
        target: HostPort,
        local: LocalEnd,
        /// Gets how the connection ended.
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Have the server listen, and connect what arrives to a host on this side.
    Listen {
        address: IpAddr,
        port: u16,
        target: HostPort,
        answer: oneshot::Sender<Result<SocketAddr, Error>>,
    },
    /// End the channel: connections that are open are reset.
    Close,
}

/// The request to open a channel.
///
/// # Errors
/// None in practice, because the message always fits.
pub(crate) fn open_request() -> Result<FirstRequest, Error> {
    FirstRequest::open(SERVICE)
}

/// The connections of one channel.
pub(crate) struct ForwardChannel<'a> {
    channel: StreamChannel<'a>,
    relay: Relay,
    carried: HashMap<u64, Carried>,
    /// Connections that wait for a number.
    waiting: VecDeque<WaitingConnection>,
    listeners: BTreeMap<u64, ClientListener>,
    /// Connections to hosts on this side, for those that the server accepted.
    dialing: JoinSet<(u64, io::Result<TcpStream>)>,
}

/// A connection to ask for: where to, its local end, and what gets how it ended.
type WaitingConnection = (HostPort, LocalEnd, oneshot::Sender<Result<(), Error>>);

struct Carried {
    /// Called once the server has connected or not.
    answer: Option<Answer>,
    is_connected: bool,
    done: Option<oneshot::Sender<Result<(), Error>>>,
}

struct ClientListener {
    target: HostPort,
    answer: Option<oneshot::Sender<Result<SocketAddr, Error>>>,
}

impl<'a> ForwardChannel<'a> {
    pub(crate) fn new(channel: &'a mut Channel) -> Self {
        let streams = Streams::new(Side::Client, POOL_BYTES);
        Self {
            channel: StreamChannel::new(channel, streams),
            relay: Relay::new(),
            carried: HashMap::new(),
            waiting: VecDeque::new(),
            listeners: BTreeMap::new(),
            dialing: JoinSet::new(),
        }
    }

    /// Carries connections until there are no more orders and none is open.
    ///
    /// # Errors
    /// What the server says, [`Error::Protocol`], [`Error::Lost`]. All connections are reset then.
    pub(crate) async fn carry(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<ForwardOrder>,
    ) -> Result<(), Error> {
        let mut has_orders = true;
        loop {
            self.open_waiting()?;
            if !has_orders && self.carried.is_empty() && self.waiting.is_empty() {
                return self.channel.flush().await;
            }
            tokio::select! {
                order = orders.recv(), if has_orders => match order {
                    Some(ForwardOrder::Close) => return self.channel.flush().await,
                    Some(order) => self.take(order)?,
                    None => has_orders = false,
                },
                news = self.relay.news() => {
                    for stream in news {
                        let ended = self.relay.advance(stream, &mut self.channel.streams);
                        self.settle(stream, ended)?;
                    }
                }
                Some(dialed) = self.dialing.join_next() => {
                    if let Ok((stream, socket)) = dialed {
                        self.dialed(stream, socket)?;
                    }
                }
                input = self.channel.next(&CLIENT_FORWARDING) => match input? {
                    StreamInput::Message(header) => self.handle(&header)?,
                    StreamInput::Event(event) => {
                        let stream = event.stream();
                        let ended = self.relay.handle(&event, &mut self.channel.streams);
                        self.settle(stream, ended)?;
                    }
                    StreamInput::End => {
                        return Err(Error::Lost("the server ended the channel".into()));
                    }
                },
            }
        }
    }

    /// Tells all connections that the channel has failed, and why.
    pub(crate) fn fail(&mut self, error: &Error) {
        let carried = self.carried.drain();
        let carried = carried.filter_map(|(_, carried)| carried.done);
        let waiting = self.waiting.drain(..).map(|(_, _, done)| done);
        for done in carried.chain(waiting) {
            let error = match error {
                Error::Failed {
                    side,
                    code,
                    message,
                    cause,
                } => Error::Failed {
                    side: *side,
                    code: *code,
                    message: message.clone(),
                    cause: *cause,
                },
                Error::Lost(problem) => Error::Lost(problem.clone()),
                other => Error::Lost(other.to_string()),
            };
            let _ = done.send(Err(error));
        }
    }

    fn take(&mut self, order: ForwardOrder) -> Result<(), Error> {
        match order {
            ForwardOrder::Connect {
                target,
                local,
                done,
            } => self.waiting.push_back((target, local, done)),
            ForwardOrder::Listen {
                address,
                port,
                target,
                answer,
            } => {
                let listener = self.listeners.len() as u64;
                let answer = Some(answer);
                self.listeners
                    .insert(listener, ClientListener { target, answer });
                self.channel.send(&Listen {
                    listener,
                    address,
                    port,
                })?;
            }
            ForwardOrder::Close => {}
        }
        Ok(())
    }

    /// Asks for connections, as many as may be open.
    fn open_waiting(&mut self) -> Result<(), Error> {
        while self.channel.streams.can_open() {
            let Some((target, local, done)) = self.waiting.pop_front() else {
                return Ok(());
            };
            let Some(port) = NonZeroU16::new(target.port) else {
                let _ = done.send(Err(Error::Address {
                    text: target.to_string(),
                    problem: "the port is not a number from 1 to 65535",
                }));
                continue;
            };
            let Some(stream) = self.channel.streams.open(&OPTIONS) else {
                return Ok(());
            };
            self.channel.send(&Connect {
                stream,
                host: target.host,
                port,
            })?;
            self.relay
                .add(stream, local.endpoint, Vec::new(), local.pending);
            let carried = Carried {
                answer: local.answer,
                is_connected: false,
                done: Some(done),
            };
            self.carried.insert(stream, carried);
        }
        Ok(())
    }

    fn handle(&mut self, header: &Header) -> Result<(), Error> {
        match header.kind() {
            "connected" => {
                let ConnectedTo { stream, address } = header.read()?;
                if let Some(carried) = self.carried.get_mut(&stream) {
                    carried.is_connected = true;
                    if let Some(answer) = carried.answer.take() {
                        self.relay.set_prelude(stream, answer(Ok(address)));
                    }
                    let ended = self.relay.advance(stream, &mut self.channel.streams);
                    self.settle(stream, ended)?;
                }
            }
            "reset" => self.handle_reset(header.read()?)?,
            "listening" => {
                let Listening { listener, address } = header.read()?;
                let listener = self.listeners.get_mut(&listener);
                if let Some(answer) = listener.and_then(|listener| listener.answer.take()) {
                    let _ = answer.send(Ok(address));
                }
            }
            "closed" => {
                let closed: Closed = header.read()?;
                let listener = self.listeners.get_mut(&closed.listener);
                match listener.and_then(|listener| listener.answer.take()) {
                    Some(answer) => {
                        let _ = answer.send(Err(closed.into_error()));
                    }
                    // The port was open, and what it was for does not work any more.
                    None => return Err(closed.into_error()),
                }
            }
            _ => self.accept(&header.read()?)?,
        }
        Ok(())
    }

    fn handle_reset(&mut self, reset: Reset) -> Result<(), Error> {
        let stream = reset.stream;
        let Some(carried) = self.carried.get_mut(&stream) else {
            return Ok(());
        };
        let error = reset.into_error();
        let ended = match carried.answer.take() {
            Some(answer) if !carried.is_connected => {
                let answer = answer(Err(&error));
                self.relay.refuse(stream, answer, &mut self.channel.streams)
            }
            _ => self.relay.handle_reset(stream, &mut self.channel.streams),
        };
        if let Some(done) = carried.done.take() {
            let _ = done.send(Err(error));
        }
        if !self.relay.has(stream) && ended.is_none() {
            // It was being connected on this side.
            abandon(stream, &mut self.channel.streams);
            self.carried.remove(&stream);
        }
        self.settle(stream, ended)
    }

    /// Connects a connection that the server accepted to its host on this side.
    fn accept(&mut self, incoming: &Incoming) -> Result<(), Error> {
        let stream = incoming.stream;
        self.channel.streams.accept(stream, &OPTIONS)?;
        let Some(listener) = self.listeners.get(&incoming.listener) else {
            let error = Error::here(ErrorCode::NotFound, "there is no such listener");
            abandon(stream, &mut self.channel.streams);
            return self.channel.send(&Reset::with_reason(stream, &error));
        };
        let HostPort { host, port } = listener.target.clone();
        self.dialing.spawn(async move {
            let dialed = TcpStream::connect((host.as_str(), port)).await;
            (stream, dialed)
        });
        let carried = Carried {
            answer: None,
            is_connected: true,
            done: None,
        };
        self.carried.insert(stream, carried);
        Ok(())
    }

    fn dialed(&mut self, stream: u64, socket: io::Result<TcpStream>) -> Result<(), Error> {
        if !self.carried.contains_key(&stream) {
            return Ok(());
        }
        match socket {
            Ok(socket) => {
                self.relay
                    .add(stream, Box::new(socket), Vec::new(), Vec::new());
                Ok(())
            }
            Err(error) => {
                self.carried.remove(&stream);
                abandon(stream, &mut self.channel.streams);
                let error = super::connect::unreachable("the client's side", &error);
                self.channel.send(&Reset::with_reason(stream, &error))
            }
        }
    }

    /// Reports that a connection has ended, if it has.
    fn settle(&mut self, stream: u64, ended: Option<Ended>) -> Result<(), Error> {
        let Some(ended) = ended else {
            return Ok(());
        };
        if ended.is_reset_here {
            self.channel.send(&Reset::of_connection(stream))?;
        }
        let carried = self.carried.remove(&stream);
        if let Some(done) = carried.and_then(|carried| carried.done) {
            let result = if ended.is_complete {
                Ok(())
            } else {
                Err(Error::here(
                    ErrorCode::Unreachable,
                    "the connection was reset",
                ))
            };
            let _ = done.send(result);
        }
        Ok(())
    }
}
