//! The service `ping`: a sign of life (`docs/protocol.md` section 7).

use std::time::{Duration, Instant};

use landline_proto::{
    Message, MessageRule, MessageType, ProtocolState,
    messages::{ErrorMessage, Ping, Pong},
};

use crate::{
    Error,
    net::Channel,
    rights::Right,
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture},
};

/// The service's name.
pub const SERVICE: &str = "ping";

static REQUESTS: ProtocolState =
    ProtocolState::new("ping-requests", &[MessageRule::new(Ping::TYPE)]);
static ANSWER: ProtocolState = ProtocolState::new(
    "ping-answer",
    &[
        MessageRule::new(Pong::TYPE),
        MessageRule::new(ErrorMessage::TYPE),
    ],
);

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["ping"],
    types: &[MessageType::of::<Ping>(), MessageType::of::<Pong>()],
    requests: &REQUESTS,
    other_states: &[],
    rights: &[(Ping::TYPE, Right::Account)],
    words: &[],
    request_features: &[],
    kept_by: Right::Account,
};

/// Sends one `ping` and waits for the answer; returns the round-trip time.
///
/// # Errors
/// [`Error::Lost`], or an error that the server sends.
pub async fn ping(channel: &mut Channel) -> Result<Duration, Error> {
    let start = Instant::now();
    channel.send(&Ping {})?;
    channel.flush().await?;
    receive_pong(channel).await?;
    Ok(start.elapsed())
}

/// Waits for the answer to a `ping` that was sent with the login.
///
/// # Errors
/// As [`ping`].
pub async fn receive_pong(channel: &mut Channel) -> Result<(), Error> {
    channel.receive(&ANSWER).await?.read::<Pong>()?;
    Ok(())
}

/// The server's half of the service.
pub(crate) struct PingService;

impl Service for PingService {
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
                header.read::<Ping>()?;
                channel.send(&Pong {})?;
                channel.flush().await?;
            }
            Ok(())
        })
    }
}
