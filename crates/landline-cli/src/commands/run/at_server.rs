//! `landline run`: a command whose streams are here.

use std::io::Read;

use landline::{
    exec::{
        ClosedOutput, Command, CommandControl, CommandExit, CommandTerminal, DetachedJob,
        JobOptions, RunningCommand,
    },
    login::{Credential, FirstRequest, KnownServer},
    net::{Channel, Target},
};
use tokio::sync::mpsc;

use super::{
    RunCommand, background,
    forwards::Link,
    on_lost::OnLost,
    reconnect::Continuation,
    ssh_options::{SshSettings, WantedTerminal},
};
use crate::{
    commands::follow::{CarriedCommand, Dialer, INTERRUPTED, own_terminal, terminal_variables},
    context::Context,
    failure::Failure,
    signals::{self, SignalUse},
};

/// What a command begins with.
enum Opened {
    /// A channel of a held session.
    Held(Box<Channel>),
    Server(Box<(KnownServer, Credential)>),
}

impl RunCommand {
    /// The terminal that the command gets, whose kind is added to its variables; `None` for no
    /// terminal.
    pub(super) fn terminal(
        &self,
        context: &Context,
        settings: &SshSettings,
        command: &mut Command,
    ) -> Option<CommandTerminal> {
        let has_terminal = match settings.terminal {
            _ if self.pty => true,
            Some(WantedTerminal::Yes) => true,
            Some(WantedTerminal::IfThereIsOne) => context.input.is_terminal(),
            Some(WantedTerminal::No) | None => false,
        };
        has_terminal.then(|| {
            let variables = terminal_variables(context);
            // What the user sets comes last, and counts.
            command.environment.splice(0..0, variables);
            own_terminal()
        })
    }

    /// Opens a held channel with the first request, or finds out where to log in.
    async fn open(&self, dialer: &Dialer<'_>, first: &FirstRequest) -> Result<Opened, Failure> {
        // What is forwarded needs a session of its own.
        if !self.forwards.is_used()
            && let Some(channel) = dialer.open_held(first).await?
        {
            return Ok(Opened::Held(Box::new(channel)));
        }
        Ok(Opened::Server(Box::new(dialer.find_server().await?)))
    }

    /// Starts to forward, and has the command started.
    async fn start(
        &self,
        context: &Context,
        opened: Opened,
        first: &FirstRequest,
        on_lost: OnLost,
    ) -> Result<(Option<Link>, Channel, RunningCommand), Failure> {
        let (link, mut channel) = match opened {
            Opened::Held(channel) => (None, *channel),
            Opened::Server(server) => {
                let link = self.forwards.start(context, *server).await?;
                let connected = link.session().open_channel(first).await?;
                (Some(link), connected.login.channel)
            }
        };
        let running = match on_lost {
            OnLost::End(_) => RunningCommand::receive(&mut channel).await?,
            OnLost::Keep => {
                DetachedJob::receive(&mut channel).await?;
                RunningCommand::receive_attached(&mut channel).await?
            }
        };
        background::detach()?;
        Ok((link, channel, running))
    }

    pub(super) async fn run_at_server(
        mut self,
        context: &Context,
        target: &Target,
        settings: &SshSettings,
        mut command: Command,
        input: Option<Box<dyn Read + Send>>,
    ) -> Result<(CommandExit, String), Failure> {
        let asking = self.prepare_login(context, settings);
        let dialer = Dialer::new(&asking, target, &self.access)?;
        let terminal = self.terminal(context, settings, &mut command);
        let has_terminal = terminal.is_some();
        let timeout = self.timeout_seconds();
        let on_lost = self
            .on_lost
            .unwrap_or_else(|| OnLost::default_for(has_terminal));
        let first = match on_lost {
            OnLost::End(time) => {
                let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                command.first_request(terminal.as_ref(), timeout, seconds)?
            }
            OnLost::Keep => command.first_detached_request(&JobOptions {
                terminal,
                timeout,
                name: None,
                has_input: true,
                attaches: true,
                is_forgotten: true,
            })?,
        };
        // The user is asked before signals are for the command.
        let opened = self.open(&dialer, &first).await?;
        let (control, mut control_orders) = mpsc::channel(16);
        let signal_use = signal_use(context, has_terminal, on_lost);
        let leaving = signals::forward(control.clone(), signal_use, has_terminal)?;
        let start = self.start(context, opened, &first, on_lost);
        let (link, channel, running) = tokio::select! {
            started = start => started?,
            () = first_signal(&mut control_orders) => return Err(Failure::stopped(false)),
            () = leaving.notified() => return Err(Failure::stopped(false)),
        };
        let job = running.job.clone();
        let continuation = continuation(&job, on_lost);
        let carried = CarriedCommand {
            running,
            has_terminal,
            escape: settings.escape.unwrap_or(self.escape.key),
            continuation: &continuation,
            escape_orders: control,
            control: control_orders,
            leaving,
            closed_output: match on_lost {
                OnLost::End(_) => ClosedOutput::Stop,
                OnLost::Keep => ClosedOutput::Signal,
            },
        };
        let session = link.as_ref().map(Link::session);
        let carried = carried.carry(context, &dialer, session, channel, |_| Ok(input));
        let Some(exit) = carried.await? else {
            return Err(left(&continuation));
        };
        if let Some(link) = link {
            link.finish().await;
        }
        Ok((exit, job))
    }
}

/// What signals to this process do.
fn signal_use(context: &Context, has_terminal: bool, on_lost: OnLost) -> SignalUse {
    // At a terminal, the keys for signals go to the command as they are.
    if has_terminal && context.input.is_terminal() && on_lost == OnLost::Keep {
        SignalUse::Leave
    } else {
        SignalUse::Pass
    }
}

/// How the command is continued after a lost connection.
fn continuation(job: &str, on_lost: OnLost) -> Continuation {
    let id = job.to_owned();
    match on_lost {
        OnLost::End(time) => Continuation::Run { id, time },
        OnLost::Keep => Continuation::Job { id },
    }
}

/// The user leaves a command.
fn left(continuation: &Continuation) -> Failure {
    match continuation {
        Continuation::Job { id } => {
            Failure::new("interrupted", format!("the job {id} is still running"))
                .with_advice("follow it with landline attach, or end it with landline kill")
                .with_status(INTERRUPTED)
        }
        Continuation::Run { .. } | Continuation::Watch(_) => Failure::stopped(false),
    }
}

/// Waits for a signal before there is a command that could get it.
pub(super) async fn first_signal(control: &mut mpsc::Receiver<CommandControl>) {
    while let Some(CommandControl::Resize(_)) = control.recv().await {}
}
