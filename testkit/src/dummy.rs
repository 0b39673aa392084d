//! A service with a little of everything.
//!
//! It proves that a service needs only its own module and its registration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use landline::{
    Error,
    net::{Channel, Received, StreamChannel, StreamInput},
    proto::{
        BodySize, Message, MessageRule, ProtocolState,
        messages::ErrorMessage,
        streams::{self, Read, Side, StreamEvent, StreamOptions, Streams},
    },
    rights::{Right, RightWord, Switch},
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture, WorkUnit},
};
use serde::{Deserialize, Serialize};

/// The name of the service.
pub const SERVICE: &str = "dummy";

/// The longest body that the service accepts, in bytes.
pub const BODY_BYTES_MAX: u64 = 1 << 20;

macro_rules! messages {
    ($($(#[$doc:meta])* $type:ident = $name:literal { $($(#[$field_doc:meta])* $field:ident: $of:ty,)* },)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            pub struct $type {
                $($(#[$field_doc])* pub $field: $of,)*
            }

            impl Message for $type {
                const TYPE: &'static str = $name;
            }
        )*
    };
}

messages! {
    /// Client: a request with a body.
    Store = "dummy-store" {},
    /// Server: the length of the body, and the sum of its bytes.
    Stored = "dummy-stored" {
        /// The length in bytes.
        length: u64,
        /// The sum of the bytes.
        sum: u64,
    },
    /// Client: work until the session ends.
    Work = "dummy-work" {},
    /// Client: from now on stream 1 returns the bytes of stream 0, and every `Note` is answered.
    Echo = "dummy-echo" {},
    /// Client: answer with a `Note`, if the user has this service's right.
    Shout = "dummy-shout" {},
    /// Either side while streams flow, and the server's answer to `Shout`.
    Note = "dummy-note" {
        /// Any number.
        number: u64,
    },
}

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

static REQUESTS: ProtocolState = ProtocolState::new(
    "dummy-requests",
    &[
        MessageRule::sized(Store::TYPE, BODY_BYTES_MAX),
        MessageRule::new(Work::TYPE),
        MessageRule::new(Echo::TYPE),
        MessageRule::new(Shout::TYPE),
    ],
);
/// Either side while streams flow.
pub static STREAMING: ProtocolState = ProtocolState::new(
    "dummy-streaming",
    &[
        MessageRule::new(Note::TYPE),
        streams::Bytes::RULE,
        streams::Ack::RULE,
        streams::End::RULE,
        streams::Stop::RULE,
        streams::Resume::RULE,
        ERROR,
    ],
);
/// Client: a request was sent.
pub static ANSWER: ProtocolState = ProtocolState::new(
    "dummy-answer",
    &[
        MessageRule::new(Stored::TYPE),
        MessageRule::new(Note::TYPE),
        ERROR,
    ],
);

/// The key of `rights.toml` that allows `Shout`.
static SHOUT: RightWord = RightWord {
    name: "shout",
    description: "shout here",
    arguments: None,
    parse: |item| Switch::parse("shout", item),
};

static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["dummy.echo", "dummy.store"],
    types: &[],
    requests: &REQUESTS,
    other_states: &[&STREAMING],
    rights: &[
        (Store::TYPE, Right::Account),
        (Work::TYPE, Right::Account),
        (Echo::TYPE, Right::Account),
        (Shout::TYPE, Right::Word("shout")),
        (Note::TYPE, Right::Account),
        (streams::Bytes::TYPE, Right::Account),
        (streams::Ack::TYPE, Right::Account),
        (streams::End::TYPE, Right::Account),
        (streams::Stop::TYPE, Right::Account),
        (streams::Resume::TYPE, Right::Account),
        (ErrorMessage::TYPE, Right::Account),
    ],
    words: &[&SHOUT],
    request_features: &[(Echo::TYPE, "dummy.echo"), (Store::TYPE, "dummy.store")],
    kept_by: Right::Account,
};

/// The service.
#[derive(Debug, Default)]
pub struct DummyService {
    /// Whether work is running.
    pub is_working: Arc<AtomicBool>,
}

impl Service for DummyService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            while let Some(header) = context.next_request(channel).await? {
                match header.kind() {
                    Store::TYPE => store(channel, context).await?,
                    Work::TYPE => self.work(channel, context).await?,
                    Shout::TYPE => {
                        channel.send(&Note { number: 1 })?;
                        channel.flush().await?;
                    }
                    _ => echo(channel).await?,
                }
            }
            Ok(())
        })
    }
}

impl DummyService {
    async fn work(&self, channel: &mut Channel, context: &ServiceContext) -> Result<(), Error> {
        let is_working = self.is_working.clone();
        let work = move |unit: &WorkUnit| {
            is_working.store(true, Ordering::Relaxed);
            let stopped = loop {
                if let Err(error) = unit.spend(1) {
                    break error;
                }
                thread::sleep(Duration::from_millis(1));
            };
            is_working.store(false, Ordering::Relaxed);
            Err(stopped)
        };
        tokio::select! {
            done = context.blocking("dummy work", work) => done,
            // The client has disconnected. Dropping the work cancels it.
            error = channel.reader.interruption(&STREAMING) => Err(error),
        }
    }
}

async fn store(channel: &mut Channel, context: &ServiceContext) -> Result<(), Error> {
    let mut body = Vec::new();
    while let Received::Data(_) = channel.receive_data(&mut body).await? {}
    let add = move |unit: &WorkUnit| {
        unit.spend(body.len() as u64)?;
        Ok(Stored {
            length: body.len() as u64,
            sum: body.iter().map(|byte| u64::from(*byte)).sum(),
        })
    };
    channel.send(&context.blocking("dummy store", add).await?)?;
    channel.flush().await
}

/// Stream 1 returns the bytes of stream 0. The client never reads stream 2.
async fn echo(channel: &mut Channel) -> Result<(), Error> {
    let mut flowing = StreamChannel::new(channel, streams(Side::Server));
    flowing.streams.write(2, &[0; 64 << 10]);
    loop {
        match flowing.next(&STREAMING).await? {
            StreamInput::End => return flowing.finish().await,
            StreamInput::Message(header) => {
                let Note { number } = header.read()?;
                flowing.send(&Note { number: number + 1 })?;
            }
            StreamInput::Event(
                StreamEvent::Readable { stream: 0 } | StreamEvent::Writable { .. },
            ) => {
                copy(&mut flowing.streams);
            }
            StreamInput::Event(_) => {}
        }
    }
}

/// Copies the bytes of stream 0 to stream 1, as far as its credit allows.
fn copy(streams: &mut Streams) {
    while let Read::Bytes(bytes) = streams.read(0) {
        let bytes = bytes.to_vec();
        match streams.write(1, &bytes) {
            None | Some(0) => return,
            Some(written) => streams.consume(0, written),
        }
    }
    if streams.read(0) == Read::End {
        streams.finish(1);
    }
}

/// The streams of one side.
pub fn streams(side: Side) -> Streams {
    let (own, other) = (&StreamOptions::SEND, &StreamOptions::RECEIVE);
    let (first, others) = match side {
        Side::Client => (own, other),
        Side::Server => (other, own),
    };
    let mut streams = Streams::new(side, 1 << 20);
    streams.add(0, first);
    streams.add(1, others);
    streams.add(2, others);
    streams
}

/// Sends a `Store` with this body, as a request after the first one.
pub async fn send_store(channel: &mut Channel, body: &[u8]) -> Result<(), Error> {
    channel.send_with_body(&Store {}, BodySize::Known(body.len() as u64))?;
    let mut rest = body;
    while !rest.is_empty() {
        let mut frame = landline::net::DataFrame::new();
        let taken = frame.fill(|content| {
            let length = rest.len().min(content.len());
            content[..length].copy_from_slice(&rest[..length]);
            Ok::<_, Error>(length)
        })?;
        channel.send_data(&frame, &ANSWER).await?;
        rest = &rest[taken..];
    }
    channel.flush().await
}
