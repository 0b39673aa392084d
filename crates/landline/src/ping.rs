//! The service `ping`: a sign of life, and how long it takes (`docs/protocol.md` section 7).

use std::time::{Duration, Instant};

use landline_proto::{
    messages::{Ping, Pong},
    order::State,
};

use crate::{
    Error,
    net::Channel,
    session::{Drain, ServiceContext, draining_error},
};

/// The service's name.
pub const SERVICE: &str = "ping";

/// Asks once and waits for the answer; returns the round trip.
///
/// # Errors
/// [`Error::Lost`], or what the server says.
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
    channel.receive(State::ClientPong).await?.read::<Pong>()?;
    Ok(())
}

/// Serves one `ping` channel until the client finishes or the server drains.
pub(crate) async fn serve(
    channel: &mut Channel,
    account: &ServiceContext,
    drain: &mut Drain,
) -> Result<(), Error> {
    loop {
        let header = tokio::select! {
            biased;
            () = drain.begun() => return Err(draining_error()),
            header = channel.receive_or_end(State::ServerPing) => header?,
        };
        let Some(header) = header else { return Ok(()) };
        account.admit(State::ServerPing, &header)?;
        channel.send(&Pong {})?;
        channel.flush().await?;
    }
}
