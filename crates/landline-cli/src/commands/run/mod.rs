//! `landline run`: runs a command at a server.

mod background;
mod detached;
mod forwards;
pub(super) mod input;
mod lines;
mod many_hosts;
mod on_lost;
pub(super) mod outcome;
pub(super) mod reconnect;
mod refused_options;
mod ssh_options;

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    ops::ControlFlow,
    os::unix::ffi::{OsStrExt, OsStringExt},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use landline::{
    Client,
    client::ClientSession,
    exec::{
        AttachToJob, ClosedOutput, Command, CommandCarrier, CommandControl, CommandExit,
        CommandForm, DetachedJob, JobRequest, RunningCommand, TerminalSize,
    },
    login::{Credential, FirstRequest, KnownServer},
    net::{Channel, Target},
    paths::local,
};
use tokio::sync::{OnceCell, mpsc};

use self::{
    forwards::{ForwardOptions, Link},
    input::{ESCAPES, Interruption, read_input},
    many_hosts::ManyHosts,
    on_lost::OnLost,
    outcome::{NOT_CONNECTED, finish, with_status_of_forward, with_status_of_ssh},
    reconnect::{Continuation, carry, teller},
    ssh_options::{SshOptions, SshSettings, WantedTerminal},
};
use crate::{
    arguments::{Access, parse_span},
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    prompter::NoPrompter,
    signals,
    terminal_mode::{RawMode, terminal_size},
};

/// The status when the user has had enough, as shells have it for Ctrl-C.
const INTERRUPTED: u8 = 130;
/// Run a command at a server
///
/// After `--` the words are the program and its arguments, exactly. Without `--` they are one
/// line, as with ssh: blanks separate words and quotes hold them together, but no shell reads
/// them. A line that needs a shell, such as one with `|` or `*`, needs the right to a shell.
///
/// Standard input, standard output and standard error stay separate and unchanged. The exit
/// status is that of the command.
#[derive(Debug, Args)]
#[command(
    name = "run",
    override_usage = "landline run [OPTIONS] <HOST> -- <PROGRAM> [ARGUMENT]...\n       landline run [OPTIONS] <HOST> <WORD>...\n       landline run [OPTIONS] -H <HOSTS> -- <PROGRAM> [ARGUMENT]...",
    after_help = "Examples:\n  landline run nas -- df -h /srv\n  landline run nas 'tail -n 100 app.log' > app.log\n  \
                  landline run -H nas,web[1-20] -- uptime\n  tar cf - photos | landline run nas -- tar xf - -C /srv",
    after_long_help = "Examples:\n  landline run nas -- df -h /srv\n  landline run nas 'tail -n 100 app.log' > app.log\n  \
                       landline run -H nas,web[1-20] -- uptime\n  tar cf - photos | landline run nas -- tar xf - -C /srv\n\n\
                       Exit status:\n  \
                       124  the time of --timeout was over\n  \
                       126  the program may not be run, or not in this folder\n  \
                       127  there is no such program\n  \
                       128  and the signal's number: a signal ended the command\n  \
                       255  any other failure: no connection, no login, input or output"
)]
pub(crate) struct RunCommand {
    /// Server and command
    ///
    /// HOST is a machine name or `[user@]host[:port]`. Everything after it belongs to the command.
    #[arg(value_name = "HOST", required_unless_present_any = ["hosts", "hosts_file"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
    /// Pass the command line to the login shell at the server
    #[arg(long)]
    shell: bool,
    /// Run the command in this folder
    ///
    /// A relative path begins in your home there, which is the default.
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<OsString>,
    /// Set a variable for the command (NAME=VALUE)
    ///
    /// Allowed are TERM, COLORTERM, LANG, LC_*, TZ and GIT_PROTOCOL.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Read the command's input from FILE; none for no input
    #[arg(long, value_name = "FILE")]
    stdin: Option<OsString>,
    /// Give the command no input; the same as --stdin none
    #[arg(short = 'n', conflicts_with = "stdin")]
    no_input: bool,
    /// End the command after this time, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// Give the command a terminal
    ///
    /// Its standard output and standard error become one stream.
    #[arg(long)]
    pty: bool,
    /// When the connection is lost: keep the command, or end:TIME
    ///
    /// With end:TIME, this command connects again for that time, and continues at the exact byte.
    /// When the time is over, the command at the server is ended with all that it has started.
    /// With keep, the command is a job: it runs on, and `landline attach` follows it. The default
    /// is keep with a terminal, and else end:30s.
    #[arg(long, value_name = "ACTION", conflicts_with_all = ["detach", "hosts", "hosts_file"])]
    on_lost: Option<OnLost>,
    /// Start a job that runs by itself, and print its id
    ///
    /// Its output is kept, and it has no input. See `landline logs`, `attach`, `wait` and `kill`.
    #[arg(long, conflicts_with_all = ["stdin", "hosts", "hosts_file"])]
    detach: bool,
    /// Name the job, and never start it twice
    ///
    /// If you have a job of this name with the same command, its id is printed and nothing is
    /// started. So the command line can be run again after a lost connection.
    #[arg(long, value_name = "NAME", requires = "detach")]
    id: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    forwards: ForwardOptions,
    #[command(flatten)]
    many: ManyHosts,
    #[command(flatten)]
    ssh: SshOptions,
}

impl Run for RunCommand {
    fn prepare(self, _: &Context) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
        if !self.forwards.background {
            return ControlFlow::Continue(self);
        }
        match background::split() {
            Ok(None) => ControlFlow::Continue(self),
            Ok(Some(status)) => ControlFlow::Break(Ok(status)),
            Err(failure) => ControlFlow::Break(Err(failure)),
        }
    }

    async fn run(mut self, context: &Context) -> Result<ExitStatus, Failure> {
        let settings = self.ssh.settings(context)?;
        if self.many.is_used()? {
            if self.forwards.is_used() || self.forwards.background {
                return Err(Failure::usage(
                    "connections are forwarded by one host, not by many",
                ));
            }
            return many_hosts::run(self, context, settings).await;
        }
        let (host, words) = self.split_words()?;
        let target = settings.target(&host);
        if self.ssh.print_settings {
            settings.change_access(&mut self.access);
            print_settings(context, &target, &self.access)?;
            return Ok(ExitStatus::SUCCESS);
        }
        if self.forwards.is_alone() {
            if !words.is_empty() {
                return Err(Failure::usage("-N and -W run no command"));
            }
            let server = self.find_server(context, &target, &settings).await;
            let server = server.map_err(|failure| failure.with_status(NOT_CONNECTED))?;
            let done = self.forwards.run_alone(context, server).await;
            return done.map_err(with_status_of_forward);
        }
        let command = self.command(&settings, words)?;
        if self.detach {
            let detached = self
                .detach_at_server(context, &target, &settings, command)
                .await;
            return detached.map_err(with_status_of_ssh);
        }
        let input = self
            .open_input(context)
            .map_err(|failure| failure.with_status(NOT_CONNECTED))?;
        let (exit, job) = self
            .run_at_server(context, &target, &settings, command, input)
            .await
            .map_err(with_status_of_ssh)?;
        finish(context, &exit, &job).map_err(with_status_of_ssh)
    }
}

impl RunCommand {
    /// The server, and the words of the command.
    fn split_words(&self) -> Result<(Target, &[OsString]), Failure> {
        let Some((host, words)) = self.words.split_first() else {
            return Err(Failure::usage("a host is needed"));
        };
        let host = host
            .to_str()
            .ok_or_else(|| Failure::usage(format!("{}: a host must be UTF-8", host.display())))?
            .parse()?;
        match words.first() {
            Some(word) if word != "--" && word.as_bytes().starts_with(b"-") => {
                let what = format!("{} stands after the host", word.display());
                let advice = "options of landline go before the host; a command that begins with \
                              - goes behind --";
                Err(Failure::usage(what).with_advice(advice))
            }
            _ => Ok((host, words)),
        }
    }

    /// What the command line asks for.
    fn command(&self, settings: &SshSettings, words: &[OsString]) -> Result<Command, Failure> {
        let bytes = |word: &OsString| word.as_bytes().to_vec();
        let line = || {
            let words: Vec<Vec<u8>> = words.iter().map(bytes).collect();
            vec![words.join(&b' ')]
        };
        let (form, arguments) = match words {
            [] => {
                return Err(Failure::usage("there is no command to run").with_advice(
                    "write it behind --, such as: landline run HOST -- uptime; a shell is \
                         landline run --pty HOST bash",
                ));
            }
            [dashes, argv @ ..] if dashes == "--" => match argv {
                [] => return Err(Failure::usage("there is no command behind --")),
                _ if self.shell => {
                    let what = "--shell takes a line, not a program after --";
                    return Err(
                        Failure::usage(what).with_advice("leave out --, and quote the line")
                    );
                }
                argv => (CommandForm::Argv, argv.iter().map(bytes).collect()),
            },
            _ if self.shell => (CommandForm::Shell, line()),
            _ if self.ssh.subsystem => (CommandForm::Subsystem, line()),
            _ => (CommandForm::Line, line()),
        };
        Ok(Command {
            form,
            arguments,
            environment: settings
                .variables
                .iter()
                .map(|entry| entry.as_bytes().to_vec())
                .chain(self.env.iter().map(bytes))
                .collect(),
            folder: self.cwd.clone().map(OsString::into_vec),
        })
    }

    /// The time limit in seconds, as the server takes it.
    fn timeout_seconds(&self) -> Option<u32> {
        self.timeout
            .map(|time| time.as_secs().max(1).try_into().unwrap_or(u32::MAX))
    }

    /// What the command reads; `None` for nothing.
    fn open_input(&self, context: &Context) -> Result<Option<Box<dyn Read + Send>>, Failure> {
        let failed =
            |name: &str, error: &io::Error| Failure::from(landline::Error::io(name, error));
        match &self.stdin {
            _ if self.no_input || self.forwards.background => Ok(None),
            Some(name) if name == "none" => Ok(None),
            Some(name) => {
                let shown = name.display().to_string();
                let file = local::open(name.as_ref()).map_err(|error| failed(&shown, &error))?;
                Ok(Some(Box::new(file)))
            }
            None => {
                let input = context.input.open();
                Ok(Some(
                    input.map_err(|error| failed("standard input", &error))?,
                ))
            }
        }
    }

    /// Adds what the options of ssh say about the login. Returns the context that asks the user.
    fn prepare_login(&mut self, context: &Context, settings: &SshSettings) -> Context {
        let mut asking = context.clone();
        if settings.batch {
            asking.prompter = Arc::new(NoPrompter);
        }
        settings.change_access(&mut self.access);
        asking
    }

    /// The server, and the credential to log in there.
    async fn find_server(
        &mut self,
        context: &Context,
        target: &Target,
        settings: &SshSettings,
    ) -> Result<(KnownServer, Credential), Failure> {
        let asking = self.prepare_login(context, settings);
        let client = context.client()?;
        connect::find_server(&asking, &client, target, &self.access).await
    }

    /// The size of the terminal that the command gets, whose kind is added to its variables;
    /// `None` for no terminal.
    fn terminal(
        &self,
        context: &Context,
        settings: &SshSettings,
        command: &mut Command,
    ) -> Option<TerminalSize> {
        let has_terminal = match settings.terminal {
            _ if self.pty => true,
            Some(WantedTerminal::Yes) => true,
            Some(WantedTerminal::IfThereIsOne) => context.input.is_terminal(),
            Some(WantedTerminal::No) | None => false,
        };
        if has_terminal && let Some(term) = context.environment.variable("TERM") {
            command
                .environment
                .insert(0, format!("TERM={term}").into_bytes());
        }
        has_terminal.then(|| terminal_size().unwrap_or(DEFAULT_SIZE))
    }

    /// Opens a held channel with the first request, or finds out where to log in.
    async fn open(
        &self,
        asking: &Context,
        client: &Client,
        target: &Target,
        first: &FirstRequest,
    ) -> Result<Opened, Failure> {
        // What is forwarded needs a session of its own.
        if !self.forwards.is_used()
            && let Some(channel) =
                connect::open_held(asking, client, target, &self.access, first).await?
        {
            return Ok(Opened::Held(Box::new(channel)));
        }
        let found = connect::find_server(asking, client, target, &self.access).await?;
        Ok(Opened::Server(Box::new(found)))
    }

    /// Starts to forward, and has the command started.
    async fn start(
        &self,
        context: &Context,
        opened: Opened,
        first: &FirstRequest,
        on_lost: OnLost,
        size: Option<TerminalSize>,
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
                let request = AttachToJob {
                    job: DetachedJob::receive(&mut channel).await?.job,
                    terminal: size,
                    ..AttachToJob::default()
                };
                request.send(&mut channel).await?;
                RunningCommand::receive_attached(&mut channel).await?
            }
        };
        background::detach()?;
        Ok((link, channel, running))
    }

    async fn run_at_server(
        mut self,
        context: &Context,
        target: &Target,
        settings: &SshSettings,
        mut command: Command,
        input: Option<Box<dyn Read + Send>>,
    ) -> Result<(CommandExit, String), Failure> {
        let asking = self.prepare_login(context, settings);
        let client = context.client()?;
        let size = self.terminal(context, settings, &mut command);
        let has_terminal = size.is_some();
        let timeout = self.timeout_seconds();
        let on_lost = self
            .on_lost
            .unwrap_or_else(|| OnLost::default_for(has_terminal));
        let first = match on_lost {
            OnLost::End(time) => {
                let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                command.first_request(size, timeout, seconds)?
            }
            OnLost::Keep => command.first_detached_request(size, timeout, None, true)?,
        };
        // The user is asked before signals are for the command.
        let opened = self.open(&asking, &client, target, &first).await?;
        let (control, mut control_orders) = mpsc::channel(16);
        let leaving = signals::forward(control.clone(), has_terminal)?;
        let start = self.start(context, opened, &first, on_lost, size);
        let (link, mut channel, running) = tokio::select! {
            started = start => started?,
            () = first_signal(&mut control_orders) => return Err(Failure::stopped(false)),
        };
        let job = running.job.clone();
        let continuation = match on_lost {
            OnLost::End(time) => Continuation::Run {
                id: job.clone(),
                time,
            },
            OnLost::Keep => Continuation::Job { id: job.clone() },
        };
        let raw = if has_terminal {
            RawMode::enter()?
        } else {
            None
        };
        let help = raw.as_ref().map(|_| escape_help(context));
        let input = read_input(input, help);
        let (stdout, stderr) = (context.out.raw(), context.err.raw());
        let mut carrier = running.carrier(
            input.bytes,
            control_orders,
            Box::new(stdout),
            Box::new(stderr),
            match on_lost {
                OnLost::End(_) => ClosedOutput::Stop,
                OnLost::Keep => ClosedOutput::Signal,
            },
        );
        // A held channel has no session here, so there is one for when it is lost.
        let later = OnceCell::new();
        let dial = async |request: &FirstRequest| {
            let session = match &link {
                Some(link) => link.session(),
                None => {
                    let login = async {
                        connect::find_server(&asking, &client, target, &self.access)
                            .await
                            .map(|(server, credential)| ClientSession::new(server, credential))
                            .map_err(|failure| landline::Error::Lost(failure.what))
                    };
                    later.get_or_try_init(|| login).await?
                }
            };
            let connected = session.open_channel(request).await?;
            Ok(connected.login.channel)
        };
        let exit = {
            let tell = teller(context, raw.is_some());
            let carried = carry(&tell, &dial, &mut channel, &mut carrier, &continuation);
            tokio::select! {
                exit = carried => exit,
                Ok(interruption) = input.interruption => Err(match interruption {
                    Interruption::Failed(error) => {
                        landline::Error::io("standard input", &error).into()
                    }
                    Interruption::Escaped(_) => left(&continuation),
                }),
                () = leaving.notified() => Err(left(&continuation)),
            }
        };
        drop(raw);
        if on_lost == OnLost::Keep && exit.is_ok() {
            forget(&mut channel, &job).await;
        }
        // The server ends a command that is not kept at the end of its channel.
        channel.finish().await;
        let exit = exit?;
        if let Some(link) = link {
            link.finish().await;
        }
        Ok((exit, job))
    }
}

/// What a command begins with.
enum Opened {
    /// A channel of a held session.
    Held(Box<Channel>),
    Server(Box<(KnownServer, Credential)>),
}

/// Removes a job whose output was written here. If it stays, it is removed in time.
async fn forget(channel: &mut Channel, job: &str) {
    let forget = JobRequest::Forget {
        job: job.to_owned(),
    };
    if CommandCarrier::release(channel).await.is_ok() && forget.send(channel).await.is_ok() {
        let _ = forget.receive(channel).await;
    }
}

/// Prints the escape sequences on a terminal that passes every key on.
pub(super) fn escape_help(context: &Context) -> Box<dyn Fn() + Send> {
    let err = context.err.clone();
    Box::new(move || {
        let mut raw = err.raw();
        let text = format!("\n{ESCAPES}\n").replace('\n', "\r\n");
        let _ = raw.write_all(text.as_bytes());
    })
}

/// The user leaves a command.
pub(super) fn left(continuation: &Continuation) -> Failure {
    match continuation {
        Continuation::Run { .. } => Failure::stopped(false),
        Continuation::Job { id } => Failure::new("interrupted", format!("the job {id} runs on"))
            .with_advice("follow it with landline attach, or end it with landline kill")
            .with_status(INTERRUPTED),
    }
}

/// Waits for a signal before there is a command that could get it.
pub(super) async fn first_signal(control: &mut mpsc::Receiver<CommandControl>) {
    while let Some(CommandControl::Resize(_)) = control.recv().await {}
}

/// Prints what the host means, as `ssh -G` does: git asks for it.
fn print_settings(context: &Context, target: &Target, access: &Access) -> Result<(), Failure> {
    let client = context.client()?;
    for (key, value) in connect::describe_target(context, &client, target, access)? {
        context.out.print(&format!("{key} {value}"));
    }
    Ok(())
}

/// The size of a terminal that is none.
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};
