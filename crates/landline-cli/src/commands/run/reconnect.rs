//! Carrying a command over new connections after lost ones.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use landline::{
    Error,
    exec::{CommandCarrier, CommandExit, continue_request},
    login::FirstRequest,
    net::Channel,
    proto::ErrorCode,
};

use crate::{
    connect::is_transient, context::Context, failure::Failure, terminal_mode::terminal_size,
};

/// The pauses before the attempts to connect again; the last one repeats.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// How long an attempt may take.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);
/// After this time without a connection, the user gets a message.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// How a command is continued on another connection.
pub(in crate::commands) enum Continuation {
    /// The run of this id, for so long after the connection was lost.
    Run { id: String, time: Duration },
    /// The detached job of this id, however long it takes.
    Job { id: String },
}

impl Continuation {
    fn time(&self) -> Duration {
        match self {
            Self::Run { time, .. } => *time,
            Self::Job { .. } => Duration::MAX,
        }
    }

    /// Connects again and continues there.
    async fn attempt(
        &self,
        dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
        carrier: &mut CommandCarrier,
    ) -> Result<Channel, Error> {
        let request = match self {
            Self::Run { id, .. } => continue_request(id)?,
            Self::Job { id } => carrier.attach_request(id, terminal_size()).await?,
        };
        let mut channel = dial(&request).await?;
        match self {
            Self::Run { .. } => carrier.continue_on(&mut channel).await?,
            Self::Job { .. } => carrier.attach_again(&mut channel).await?,
        }
        Ok(channel)
    }
}

/// Carries a command to its end. After a lost connection it continues at the exact byte, if it can
/// connect again in time. `dial` opens a channel on a new connection, and `tell` is called with
/// what the user may want to know.
///
/// # Errors
/// As [`CommandCarrier::carry`]; `lost` once the time is over or the user has had enough.
pub(in crate::commands) async fn carry(
    tell: &(dyn Fn(&str) + Sync),
    dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
    channel: &mut Channel,
    carrier: &mut CommandCarrier,
    continuation: &Continuation,
) -> Result<CommandExit, Failure> {
    loop {
        let lost = match carrier.carry(channel).await {
            Ok(exit) => return Ok(exit),
            Err(error) if is_lost(&error) && !continuation.time().is_zero() => error,
            Err(error) => return Err(error.into()),
        };
        match reconnect(tell, dial, carrier, continuation).await? {
            Some(again) => *channel = again,
            None => return Err(lost.into()),
        }
    }
}

/// Connects again; `None` if that was not possible in time.
async fn reconnect(
    tell: &(dyn Fn(&str) + Sync),
    dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
    carrier: &mut CommandCarrier,
    continuation: &Continuation,
) -> Result<Option<Channel>, Failure> {
    let since = Instant::now();
    let mut is_told = false;
    let [.., last] = PAUSES;
    let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(last));
    loop {
        let pause = pauses.next().unwrap_or_default();
        if since.elapsed() + pause >= continuation.time() {
            return Ok(None);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = carrier.signaled() => return Ok(None),
        }
        if !is_told && since.elapsed() >= QUIET_TIME {
            is_told = true;
            tell("the connection is lost; trying again");
        }
        let attempt = continuation.attempt(dial, carrier);
        match tokio::time::timeout(ATTEMPT_TIME_MAX, attempt).await {
            Ok(Ok(channel)) => {
                if is_told {
                    tell("connected again");
                }
                return Ok(Some(channel));
            }
            Ok(Err(error)) if !is_transient(&error) => return Err(why_over(error)),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Whether the command may go on: the connection was lost, or the server ends.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Lost(_) => true,
        Error::Failed { code, .. } => *code == ErrorCode::Draining,
        _ => false,
    }
}

/// The failure of a command that cannot be continued.
fn why_over(error: Error) -> Failure {
    match &error {
        Error::Failed {
            code: ErrorCode::NotFound,
            ..
        } => Failure::new(
            "lost",
            "the command was ended while there was no connection",
        ),
        _ => error.into(),
    }
}

/// Prints messages to the user. With `is_raw`, the terminal passes every key on, and needs more to
/// begin a line.
pub(in crate::commands) fn teller(context: &Context, is_raw: bool) -> impl Fn(&str) + Sync {
    let (err, json) = (context.err.clone(), context.json);
    move |what| match (json, is_raw) {
        (true, _) => {}
        (false, false) => err.print(what),
        (false, true) => {
            let _ = err.raw().write_all(format!("\r\n{what}\r\n").as_bytes());
        }
    }
}
