//! Following a job on a server on the streams of this process: what `attach`, `shell` and `watch`
//! share.

use std::time::Duration;

use landline::{
    Client,
    client::ClientSession,
    exec::{
        ClosedOutput, CommandCarrier, CommandExit, CommandInput, CommandTerminal, RunningCommand,
        TerminalSize,
    },
    login::FirstRequest,
    net::{Channel, Target},
};
use tokio::sync::{OnceCell, mpsc};

use super::run::{
    input::{EscapeKey, EscapeKeys, Input, Interruption, read_input},
    reconnect::{Continuation, Teller, carry},
};
use crate::{
    arguments::Access,
    connect,
    context::Context,
    failure::Failure,
    signals::{self, SignalUse},
    terminal_mode::{RemoteTerminal, terminal_modes, terminal_size},
};

/// The status when the user leaves, as shells have it for Ctrl-C.
pub(super) const INTERRUPTED: u8 = 130;
/// How long the server may take to forget a job that has ended.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the end of a channel may take.
const FINISH_TIME_MAX: Duration = Duration::from_millis(500);
/// What Ctrl-C sends on a terminal that passes every key on.
const CTRL_C: u8 = 3;

/// Opens channels to one server: the first one, and others after lost connections.
pub(super) struct Dialer<'a> {
    context: &'a Context,
    client: Client,
    host: &'a Target,
    access: &'a Access,
    session: OnceCell<ClientSession>,
}

impl<'a> Dialer<'a> {
    pub(super) fn new(
        context: &'a Context,
        host: &'a Target,
        access: &'a Access,
    ) -> Result<Self, Failure> {
        Ok(Self {
            context,
            client: context.client()?,
            host,
            access,
            session: OnceCell::new(),
        })
    }

    /// Opens the first channel with its first request, on a held session if there is one.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the login.
    pub(super) async fn open(&self, first: &FirstRequest) -> Result<Channel, Failure> {
        let Self {
            context,
            client,
            host,
            access,
            ..
        } = self;
        if let Some(channel) = connect::open_held(context, client, host, access, first).await? {
            return Ok(channel);
        }
        let session = self.session.get_or_try_init(|| self.log_in()).await?;
        Ok(session.open_channel(first).await?.login.channel)
    }

    async fn redial(&self, request: &FirstRequest) -> Result<Channel, landline::Error> {
        let log_in = async {
            let session = self.log_in().await;
            session.map_err(|failure| landline::Error::Lost(failure.what))
        };
        let session = self.session.get_or_try_init(|| log_in).await?;
        Ok(session.open_channel(request).await?.login.channel)
    }

    async fn log_in(&self) -> Result<ClientSession, Failure> {
        let found =
            connect::find_server(self.context, &self.client, self.host, self.access).await?;
        let (server, credential) = found;
        Ok(ClientSession::new(server, credential))
    }
}

/// Follows a job until it ends. `None` if the user leaves it before, so that it continues.
///
/// # Errors
/// As [`carry`]; the terminal or the input cannot be used.
pub(super) async fn follow(
    context: &Context,
    dialer: &Dialer<'_>,
    mut channel: Channel,
    running: RunningCommand,
    escape: EscapeKey,
    continuation: &Continuation,
) -> Result<Option<CommandExit>, Failure> {
    let is_watching = matches!(continuation, Continuation::Watch(_));
    let has_terminal = running.has_terminal;
    let (control, orders) = mpsc::channel(16);
    let leaving = signals::forward(
        control.clone(),
        SignalUse::Leave,
        has_terminal && !is_watching,
    )?;
    let terminal = RemoteTerminal::enter(context, has_terminal)?;
    let source = if running.has_input || terminal.is_raw() {
        let opened = context.input.open();
        Some(opened.map_err(|error| landline::Error::io("standard input", &error))?)
    } else {
        None
    };
    let keys = terminal.is_raw().then(|| EscapeKeys::new(context, escape));
    let Input {
        mut bytes,
        interruption,
    } = read_input(source, keys);
    // A watcher's keys go nowhere.
    let (silence, nothing) = mpsc::channel(1);
    let (typed, given) = if is_watching {
        (Some(bytes), nothing)
    } else {
        (None, std::mem::replace(&mut bytes, nothing))
    };
    let mut carrier = running.carrier(
        given,
        orders,
        terminal.output(context),
        Box::new(context.err.raw()),
        terminal.is_shown(),
        ClosedOutput::Leave,
    );
    let exit = {
        let teller = Teller::new(context, &terminal);
        let dial = async |request: &FirstRequest| dialer.redial(request).await;
        let carried = carry(&teller, &dial, &mut channel, &mut carrier, continuation);
        tokio::select! {
            exit = carried => exit.map(Some),
            Ok(interruption) = interruption => match interruption {
                Interruption::Failed(error) => {
                    Err(landline::Error::io("standard input", &error).into())
                }
                Interruption::Escaped => Ok(None),
            },
            () = leaving.notified() => Ok(None),
            () = typed_ctrl_c(typed) => Ok(None),
        }
    };
    drop(silence);
    match exit {
        Ok(Some(_)) => {
            terminal.end();
            release(&mut channel).await;
        }
        _ => drop(terminal),
    }
    finish_channel(channel).await;
    exit
}

/// Waits until the server knows that all of a job that has ended is here, so that it forgets the
/// job.
pub(super) async fn release(channel: &mut Channel) {
    let _ = tokio::time::timeout(RELEASE_TIME_MAX, CommandCarrier::release(channel)).await;
}

/// Ends a channel, whose connection may be dead.
pub(super) async fn finish_channel(channel: Channel) {
    let _ = tokio::time::timeout(FINISH_TIME_MAX, channel.finish()).await;
}

/// Waits for Ctrl-C among the keys of a watcher.
async fn typed_ctrl_c(typed: Option<mpsc::Receiver<CommandInput>>) {
    if let Some(mut typed) = typed {
        while let Some(input) = typed.recv().await {
            if matches!(input, CommandInput::Bytes(bytes) if bytes.contains(&CTRL_C)) {
                return;
            }
        }
    }
    std::future::pending().await
}

/// The terminal that a program on a server gets: one like that of this process.
pub(super) fn own_terminal() -> CommandTerminal {
    CommandTerminal {
        size: terminal_size().unwrap_or(TerminalSize::DEFAULT),
        modes: terminal_modes(),
    }
}

/// The variables that say which kind of terminal this process has, each `NAME=VALUE`.
pub(super) fn terminal_variables(context: &Context) -> Vec<Vec<u8>> {
    let entry = |name: &str| {
        let value = context.environment.variable(name)?;
        Some(format!("{name}={value}").into_bytes())
    };
    ["TERM", "COLORTERM"]
        .into_iter()
        .filter_map(entry)
        .collect()
}
