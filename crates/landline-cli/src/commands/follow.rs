//! A command or job on the streams of this process: what `run`, `attach`, `shell` and `watch`
//! share.

use std::{io::Read, sync::Arc, time::Duration};

use landline::{
    Client,
    client::ClientSession,
    exec::{
        ClosedOutput, CommandCarrier, CommandControl, CommandExit, CommandInput, CommandTerminal,
        RunningCommand, TerminalSize,
    },
    login::{Credential, FirstRequest, KnownServer},
    net::{Channel, Target},
};
use tokio::sync::{Notify, OnceCell, mpsc};

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
/// How long the keys before an escape sequence that leaves may take to be delivered.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);
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
        if let Some(channel) = self.open_held(first).await? {
            return Ok(channel);
        }
        let log_in = async || {
            let (server, credential) = self.find_server().await?;
            Ok::<_, Failure>(ClientSession::new(server, credential))
        };
        let session = self.session.get_or_try_init(log_in).await?;
        Ok(session.open_channel(first).await?.login.channel)
    }

    /// Opens a channel on a held session, if there is one.
    ///
    /// # Errors
    /// The server refuses the login.
    pub(super) async fn open_held(&self, first: &FirstRequest) -> Result<Option<Channel>, Failure> {
        connect::open_held(self.context, &self.client, self.host, self.access, first).await
    }

    /// The server, and the credential to log in there.
    ///
    /// # Errors
    /// There is none, or the user does not trust it.
    pub(super) async fn find_server(&self) -> Result<(KnownServer, Credential), Failure> {
        connect::find_server(self.context, &self.client, self.host, self.access).await
    }

    /// Opens a channel after a lost one: in the session of this command, else in a held one, else
    /// after a login.
    ///
    /// # Errors
    /// `login-refused` if there is no login, which another attempt would not change; those of
    /// [`ClientSession::open_channel`].
    pub(super) async fn redial(&self, request: &FirstRequest) -> Result<Channel, landline::Error> {
        let log_in = async {
            let (client, access) = (&self.client, self.access);
            let session = connect::find_session(self.context, client, self.host, access).await;
            session.map_err(|failure| {
                landline::Error::here(landline::proto::ErrorCode::LoginRefused, failure.what)
            })
        };
        let session = self.session.get_or_try_init(|| log_in).await?;
        Ok(session.open_channel(request).await?.login.channel)
    }
}

/// Follows a job until it ends. `None` if the user leaves it before, so that it continues.
///
/// # Errors
/// As [`carry`]; the terminal or the input cannot be used.
pub(super) async fn follow(
    context: &Context,
    dialer: &Dialer<'_>,
    channel: Channel,
    running: RunningCommand,
    escape: EscapeKey,
    continuation: &Continuation,
) -> Result<Option<CommandExit>, Failure> {
    let (control, orders) = mpsc::channel(16);
    let leaving = signals::forward(control.clone(), SignalUse::Leave, running.has_terminal)?;
    let followed = CarriedCommand {
        has_terminal: running.has_terminal,
        running,
        escape,
        continuation,
        escape_orders: control,
        control: orders,
        leaving,
        closed_output: ClosedOutput::Leave,
    };
    let open_input = |is_needed: bool| {
        let opened = is_needed.then(|| context.input.open()).transpose();
        opened.map_err(|error| landline::Error::io("standard input", &error).into())
    };
    followed
        .carry(context, dialer, None, channel, open_input)
        .await
}

/// A command or job whose streams are those of this process.
pub(super) struct CarriedCommand<'a> {
    pub(super) running: RunningCommand,
    /// Whether its output is for a terminal.
    pub(super) has_terminal: bool,
    pub(super) escape: EscapeKey,
    /// How it continues after a lost connection.
    pub(super) continuation: &'a Continuation,
    /// Where escape sequences give their orders, which come out of `control`.
    pub(super) escape_orders: mpsc::Sender<CommandControl>,
    pub(super) control: mpsc::Receiver<CommandControl>,
    /// Notified when a signal has the user leave.
    pub(super) leaving: Arc<Notify>,
    pub(super) closed_output: ClosedOutput,
}

impl CarriedCommand<'_> {
    /// Carries the streams until the command ends. `None` if the user leaves it before.
    ///
    /// New connections after lost ones are of `session`, or else of a session of their own.
    /// `open_input` opens the input; it gets whether the command takes any, or keys have a meaning.
    ///
    /// # Errors
    /// As [`carry`]; the terminal or the input cannot be used.
    pub(super) async fn carry(
        self,
        context: &Context,
        dialer: &Dialer<'_>,
        session: Option<&ClientSession>,
        mut channel: Channel,
        open_input: impl FnOnce(bool) -> Result<Option<Box<dyn Read + Send>>, Failure>,
    ) -> Result<Option<CommandExit>, Failure> {
        let Self {
            running,
            has_terminal,
            escape,
            continuation,
            escape_orders,
            control,
            leaving,
            closed_output,
        } = self;
        let terminal = RemoteTerminal::enter(context, has_terminal)?;
        let source = open_input(running.has_input || terminal.is_raw())?;
        let keys = terminal
            .is_raw()
            .then(|| EscapeKeys::new(context, escape, escape_orders));
        let Input {
            mut bytes,
            interruption,
        } = read_input(source, keys);
        let teller = Arc::new(Teller::new(context, &terminal, escape));
        // A watcher's keys go nowhere, unless the owner has handed the keyboard over.
        let (passed, lent) = mpsc::channel(2);
        let (typed, given) = if matches!(continuation, Continuation::Watch(_)) {
            (Some(bytes), lent)
        } else {
            (None, std::mem::replace(&mut bytes, lent))
        };
        let mut carrier = running.carrier(
            given,
            control,
            terminal.output(context),
            Box::new(context.err.raw()),
            terminal.is_shown(),
            closed_output,
        );
        let owner_teller = teller.clone();
        if teller.can_type() {
            carrier.take_offers();
        }
        carrier.on_keyboard(move |news| owner_teller.tell_keyboard(news));
        let exit = {
            let dial = async |request: &FirstRequest| match session {
                Some(session) => Ok(session.open_channel(request).await?.login.channel),
                None => dialer.redial(request).await,
            };
            let carried = carry(&teller, &dial, &mut channel, &mut carrier, continuation);
            let passing = pass_keys(typed, passed, &teller);
            tokio::pin!(carried, passing);
            tokio::select! {
                exit = &mut carried => exit,
                Ok(interruption) = interruption => match interruption {
                    Interruption::Failed(error) => {
                        Err(landline::Error::io("standard input", &error).into())
                    }
                    // The keys before it are delivered first.
                    Interruption::Escaped => tokio::select! {
                        exit = carried => exit.or(Ok(None)),
                        () = passing => Ok(None),
                        () = tokio::time::sleep(LEAVE_TIME_MAX) => Ok(None),
                    },
                },
                () = leaving.notified() => Ok(None),
                () = &mut passing => Ok(None),
            }
        };
        match exit {
            Ok(Some(_)) => {
                terminal.end();
                if !matches!(continuation, Continuation::Run { .. }) {
                    release(&mut channel).await;
                }
            }
            _ => drop(terminal),
        }
        // The server ends a command that is not kept at the end of its channel.
        finish_channel(channel).await;
        exit
    }
}

/// Waits until the server knows that all of a job that has ended is here, so that it forgets the
/// job.
async fn release(channel: &mut Channel) {
    let _ = tokio::time::timeout(RELEASE_TIME_MAX, CommandCarrier::release(channel)).await;
}

/// Ends a channel, whose connection may be dead.
async fn finish_channel(channel: Channel) {
    let _ = tokio::time::timeout(FINISH_TIME_MAX, channel.finish()).await;
}

/// Passes the keys of a watcher on while it has the keyboard, and else waits for Ctrl-C.
async fn pass_keys(
    typed: Option<mpsc::Receiver<CommandInput>>,
    passed: mpsc::Sender<CommandInput>,
    teller: &Teller,
) {
    if let Some(mut typed) = typed {
        while let Some(input) = typed.recv().await {
            match input {
                CommandInput::Bytes(_) if teller.is_guest() => {
                    let _ = passed.send(input).await;
                }
                CommandInput::Bytes(bytes) if bytes.contains(&CTRL_C) => return,
                CommandInput::Leave => drop(passed.send(input).await),
                CommandInput::Bytes(_) | CommandInput::End => {}
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
