//! The server's half of the service.

use std::{collections::BTreeMap, net::SocketAddr};

use data_encoding::HEXLOWER;
use landline_proto::{
    ErrorCode,
    streams::{Side, Streams},
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

use super::{
    connect::{self, Checked, OwnListener},
    listeners::Listeners,
    messages::{
        Closed, Connect, ConnectedTo, Incoming, Listen, Listening, Reset, SERVER_FORWARDING,
        SERVICE, TYPES,
    },
    relay::{Ended, OPTIONS, POOL_BYTES, Relay, abandon},
};
use crate::{
    Error,
    activity::Activity,
    crypto::random,
    keys::Facility,
    net::{Channel, StreamChannel, StreamInput},
    rights::{FORWARD, LISTEN, Right, Rights},
    session::{CountedUnit, Service, ServiceContext, ServiceDefinition, ServiceFuture},
};

/// The most forwarded connections of all users, where there are enough descriptors.
const CONNECTIONS_MAX: usize = 8192;
/// The share of the descriptors that forwarded connections may use.
const DESCRIPTORS_DIVISOR: u64 = 2;

const CONNECT: Right = Right::Word("forward");
const ACCEPT: Right = Right::Word("listen");

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["forward.connect", "forward.listen"],
    types: TYPES,
    requests: &SERVER_FORWARDING,
    other_states: &[],
    // What concerns a stream needs the right by which the stream was opened.
    rights: &[
        ("connect", CONNECT),
        ("listen", ACCEPT),
        ("reset", Right::Account),
        ("bytes", Right::Account),
        ("ack", Right::Account),
        ("end", Right::Account),
        ("stop", Right::Account),
        ("error", Right::Account),
    ],
    words: &[&FORWARD, &LISTEN],
    request_features: &[("connect", "forward.connect"), ("listen", "forward.listen")],
    kept_by: Right::Account,
};

/// The server's half of the service.
pub(crate) struct ForwardService {
    own: OwnListener,
    /// The most forwarded connections of all users.
    connections_max: usize,
}

impl ForwardService {
    /// The service of a server that listens on `own`.
    pub(crate) fn new(own: OwnListener) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = usize::try_from(descriptors / DESCRIPTORS_DIVISOR).unwrap_or(usize::MAX);
        Self {
            own,
            connections_max: share.min(CONNECTIONS_MAX),
        }
    }
}

impl Service for ForwardService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            let streams = Streams::new(Side::Server, POOL_BYTES);
            let mut forwarding = Forwarding {
                channel: StreamChannel::new(channel, streams),
                context,
                service: self,
                relay: Relay::new(),
                work: BTreeMap::new(),
                opening: JoinSet::new(),
                aborts: BTreeMap::new(),
                listeners: Listeners::default(),
            };
            let served = forwarding.serve().await;
            forwarding.end_all();
            served
        })
    }
}

/// An id for a connection: 16 hexadecimal digits.
pub(super) fn new_id() -> String {
    HEXLOWER.encode(&random::<8>())
}

/// A connection that is carried.
struct Work {
    id: String,
    origin: Origin,
    unit: CountedUnit,
}

/// What allows a connection.
enum Origin {
    Connected(Checked),
    Accepted { listener: u64 },
}

/// What a task has made: a connection, or why there is none. There is a stream already if the
/// client asked for it.
type Opening = (Option<u64>, Result<Made, Error>);

struct Made {
    socket: TcpStream,
    /// The address of the other end.
    address: SocketAddr,
    work: Work,
}

fn taken_back() -> Error {
    Error::here(ErrorCode::Denied, "the right to it was revoked")
}

/// The connections of one channel.
struct Forwarding<'a> {
    channel: StreamChannel<'a>,
    context: &'a ServiceContext,
    service: &'a ForwardService,
    relay: Relay,
    work: BTreeMap<u64, Work>,
    opening: JoinSet<Opening>,
    aborts: BTreeMap<u64, AbortHandle>,
    listeners: Listeners,
}

impl Forwarding<'_> {
    /// Serves until the client finishes.
    async fn serve(&mut self) -> Result<(), Error> {
        let context = self.context;
        let mut rules = context.rights().watch();
        loop {
            let is_idle = self.relay.is_empty() && self.opening.is_empty();
            let accepts = !self.listeners.is_empty() && self.channel.streams.can_open();
            tokio::select! {
                error = context.connection().terminated() => return Err(error),
                error = context.draining(), if is_idle => return Err(error),
                Ok(()) = rules.changed() => {
                    let now = rules.borrow_and_update().clone();
                    self.recheck(&now)?;
                }
                news = self.relay.news() => {
                    for stream in news {
                        let ended = self.relay.advance(stream, &mut self.channel.streams);
                        self.settle(stream, ended)?;
                    }
                }
                Some(opening) = self.opening.join_next() => {
                    if let Ok(opening) = opening {
                        self.opened(opening)?;
                    }
                }
                (listener, socket, peer) = self.listeners.accept(), if accepts => {
                    self.accepted(listener, socket, peer);
                }
                input = self.channel.next(&SERVER_FORWARDING) => match input? {
                    StreamInput::Message(header) => match header.kind() {
                        "connect" => self.connect(header.read()?)?,
                        "listen" => self.listen(header.read()?).await?,
                        _ => self.reset(&header.read()?)?,
                    },
                    StreamInput::Event(event) => {
                        let stream = event.stream();
                        let ended = self.relay.handle(&event, &mut self.channel.streams);
                        self.settle(stream, ended)?;
                    }
                    StreamInput::End => return Ok(()),
                },
            }
        }
    }

    /// Checks that the session may make such a request at all.
    fn admit(&self, kind: &str) -> Result<(), Error> {
        let forbidden = &self.context.session().limits.forbidden;
        if forbidden.contains(&Facility::PortForwarding) {
            let message = "the key of this session may forward nothing (no-port-forwarding)";
            return Err(Error::here(ErrorCode::CredentialLimited, message));
        }
        self.context.admit(kind)
    }

    /// Begins to connect.
    fn connect(&mut self, request: Connect) -> Result<(), Error> {
        let stream = request.stream;
        self.channel.streams.accept(stream, &OPTIONS)?;
        if let Err(error) = self.admit("connect") {
            return self.refuse(stream, error);
        }
        let (context, own) = (self.context.clone(), self.service.own.clone());
        let connections_max = self.service.connections_max;
        let abort = self.opening.spawn(async move {
            let opened = connect::open(&context, &own, connections_max, &request).await;
            let made = opened.map(|opened| Made {
                address: opened.checked.address,
                socket: opened.socket,
                work: Work {
                    id: opened.id,
                    origin: Origin::Connected(opened.checked),
                    unit: opened.unit,
                },
            });
            (Some(stream), made)
        });
        self.aborts.insert(stream, abort);
        Ok(())
    }

    async fn listen(&mut self, request: Listen) -> Result<(), Error> {
        self.listeners.count_request()?;
        let listener = request.listener;
        let listening = match self.admit("listen") {
            Ok(()) => self.listeners.listen(self.context, &request).await,
            Err(error) => Err(error),
        };
        match listening {
            Ok(address) => self.channel.send(&Listening { listener, address }),
            Err(error) => {
                let error = self.failed(error)?;
                self.channel.send(&Closed::with_reason(listener, &error))
            }
        }
    }

    /// Records a connection that a listener accepted, before the client learns of it.
    fn accepted(&mut self, listener: u64, socket: TcpStream, peer: SocketAddr) {
        let unit = connect::count(self.context, self.service.connections_max);
        let context = self.context.clone();
        self.opening.spawn(async move {
            let made = async {
                let unit = unit?;
                let local = socket.local_addr();
                let local = local.map_err(|error| Error::io("a connection", &error))?;
                let id = new_id();
                context
                    .record(|user, session| Activity::ForwardStart {
                        user,
                        session,
                        connection: id.clone(),
                        target: local.to_string(),
                        address: peer,
                        incoming: true,
                    })
                    .await?;
                let origin = Origin::Accepted { listener };
                Ok(Made {
                    socket,
                    address: peer,
                    work: Work { id, origin, unit },
                })
            };
            (None, made.await)
        });
    }

    /// Carries a connection that was made, unless the user has lost the right to it meanwhile.
    fn opened(&mut self, (stream, made): Opening) -> Result<(), Error> {
        if let Some(stream) = stream {
            self.aborts.remove(&stream);
        }
        let rules = self.context.rights().rules();
        let made = made.and_then(|made| {
            if self.is_allowed(&made.work, &rules) {
                Ok(made)
            } else {
                Err(taken_back())
            }
        });
        let (stream, made) = match (stream, made) {
            (Some(stream), Ok(made)) => {
                let address = made.address;
                self.channel.send(&ConnectedTo { stream, address })?;
                (stream, made)
            }
            (Some(stream), Err(error)) => return self.refuse(stream, error),
            (None, Ok(made)) => {
                let Some(stream) = self.channel.streams.open(&OPTIONS) else {
                    return Ok(());
                };
                if let Origin::Accepted { listener } = made.work.origin {
                    let peer = made.address;
                    self.channel.send(&Incoming {
                        stream,
                        listener,
                        peer,
                    })?;
                }
                (stream, made)
            }
            // The connection is closed, and its peer sees that.
            (None, Err(error)) => return self.failed(error).map(drop),
        };
        self.work.insert(stream, made.work);
        self.relay
            .add(stream, Box::new(made.socket), Vec::new(), Vec::new());
        self.show_activity();
        Ok(())
    }

    fn is_allowed(&self, work: &Work, rules: &Rights) -> bool {
        match &work.origin {
            Origin::Connected(checked) => checked.is_allowed(self.context, rules),
            Origin::Accepted { listener } => self.listeners.has(*listener),
        }
    }

    /// The client has reset a connection, or does not want it.
    fn reset(&mut self, reset: &Reset) -> Result<(), Error> {
        let stream = reset.stream;
        if let Some(abort) = self.aborts.remove(&stream) {
            abort.abort();
            abandon(stream, &mut self.channel.streams);
        }
        let ended = self.relay.handle_reset(stream, &mut self.channel.streams);
        self.settle(stream, ended)
    }

    /// Tells the client why a stream has no connection.
    fn refuse(&mut self, stream: u64, error: Error) -> Result<(), Error> {
        abandon(stream, &mut self.channel.streams);
        let error = self.failed(error)?;
        self.channel.send(&Reset::with_reason(stream, &error))
    }

    /// Notes an error of a request.
    ///
    /// # Errors
    /// The error itself where the session is being ended.
    fn failed(&self, error: Error) -> Result<Error, Error> {
        if matches!(
            &error,
            Error::Failed {
                code: ErrorCode::Ended,
                ..
            }
        ) {
            return Err(error);
        }
        self.context.note_failure(&error);
        Ok(error)
    }

    /// Records that a connection has ended, if it has.
    fn settle(&mut self, stream: u64, ended: Option<Ended>) -> Result<(), Error> {
        let Some(ended) = ended else {
            return Ok(());
        };
        if ended.is_reset_here {
            self.channel.send(&Reset::of_connection(stream))?;
        }
        self.note_end(stream, &ended);
        self.show_activity();
        Ok(())
    }

    fn note_end(&mut self, stream: u64, ended: &Ended) {
        let Some(work) = self.work.remove(&stream) else {
            return;
        };
        work.unit.spend(ended.sent + ended.received);
        self.context.note(|user, session| Activity::ForwardEnd {
            user,
            session,
            connection: work.id,
            sent: ended.received,
            received: ended.sent,
            reset: !ended.is_complete,
        });
    }

    fn show_activity(&self) {
        let what = match self.work.len() {
            0 => SERVICE.to_owned(),
            1 => "forwarding 1 connection".to_owned(),
            count => format!("forwarding {count} connections"),
        };
        self.context.set_activity(&what);
    }

    /// Ends what the rules do not allow any more.
    fn recheck(&mut self, rules: &Rights) -> Result<(), Error> {
        let error = taken_back();
        for listener in self.listeners.retain_allowed(self.context, rules) {
            self.channel.send(&Closed::with_reason(listener, &error))?;
        }
        let denied: Vec<u64> = self
            .work
            .iter()
            .filter(|(_, work)| !self.is_allowed(work, rules))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in denied {
            if let Some(ended) = self.relay.reset(stream, &mut self.channel.streams) {
                self.channel.send(&Reset::with_reason(stream, &error))?;
                self.note_end(stream, &ended);
            }
        }
        Ok(())
    }

    /// Resets all connections: the channel is over.
    fn end_all(&mut self) {
        let streams: Vec<u64> = self.work.keys().copied().collect();
        for stream in streams {
            if let Some(ended) = self.relay.reset(stream, &mut self.channel.streams) {
                self.note_end(stream, &ended);
            }
        }
    }
}
