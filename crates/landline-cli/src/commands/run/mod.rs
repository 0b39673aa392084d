//! `landline run`: runs a command on a server.

mod at_server;
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
    io::{self, Read},
    ops::ControlFlow,
    os::unix::ffi::{OsStrExt, OsStringExt},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use landline::{
    exec::{Command, CommandForm},
    login::{Credential, KnownServer},
    net::Target,
    paths::local,
};

use self::{
    forwards::ForwardOptions,
    input::EscapeOption,
    many_hosts::ManyHosts,
    on_lost::OnLost,
    outcome::{NOT_CONNECTED, finish, with_status_of_forward, with_status_of_ssh},
    ssh_options::{SshOptions, SshSettings},
};
use crate::{
    arguments::{Access, parse_span},
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    prompter::NoPrompter,
};

/// Run a command on a server
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
                       124  the time of --timeout is over\n  \
                       126  you may not run the program, or not in this folder\n  \
                       127  there is no such program\n  \
                       128+ a signal ended the command: 128 and the signal's number\n  \
                       255  any other failure: no connection, no login, input or output"
)]
pub(crate) struct RunCommand {
    /// Server and command
    ///
    /// HOST is a machine name or `[user@]host[:port]`. Everything after it belongs to the command.
    #[arg(value_name = "HOST", required_unless_present_any = ["hosts", "hosts_file"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
    /// Pass the command line to the login shell on the server
    #[arg(long)]
    shell: bool,
    /// Run the command in this folder
    ///
    /// A relative path begins in your home on the server, which is the default.
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<OsString>,
    /// Set a variable for the command (NAME=VALUE)
    ///
    /// Allowed are TERM, COLORTERM, LANG, LC_*, TZ and GIT_PROTOCOL.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Read the command's input from FILE, or `none` for no input
    #[arg(long, value_name = "FILE")]
    stdin: Option<OsString>,
    /// Give the command no input; the same as --stdin none
    #[arg(short = 'n', conflicts_with = "stdin")]
    no_input: bool,
    /// End the command after TIME, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// Give the command a terminal
    ///
    /// Its standard output and standard error become one stream.
    #[arg(long)]
    pty: bool,
    /// When the connection is lost: keep the command, or end:TIME
    ///
    /// With end:TIME, landline reconnects for at most TIME, and continues at the exact byte. After
    /// TIME, the server ends the command and all that it has started. With keep, the command
    /// becomes a job: it continues, and `landline attach` returns to it. The default is keep with
    /// a terminal, otherwise end:30s. With -H, only end:TIME is allowed.
    #[arg(long, value_name = "ACTION", conflicts_with = "detach")]
    on_lost: Option<OnLost>,
    /// Start a job that runs by itself, and print its id
    ///
    /// Its output is kept, and it has no input. See `landline logs`, `attach`, `wait` and `kill`.
    #[arg(long, conflicts_with_all = ["stdin", "hosts", "hosts_file"])]
    detach: bool,
    /// Name the job, and never start it twice
    ///
    /// If you have a job of this name with the same command, landline prints its id and starts
    /// nothing. So you can repeat the command line after a lost connection.
    #[arg(long, value_name = "NAME", requires = "detach")]
    id: Option<String>,
    #[command(flatten)]
    escape: EscapeOption,
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
    /// Whether it runs on several servers.
    pub(crate) fn has_many_hosts(&self) -> bool {
        !matches!(self.many.is_used(), Ok(false))
    }

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
                let what = format!("{} comes after the host", word.display());
                let advice = "options of landline go before the host; a command that begins with \
                              - goes after --";
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
                    "write it after --, such as: landline run HOST -- uptime; a shell is \
                     landline shell HOST",
                ));
            }
            [dashes, argv @ ..] if dashes == "--" => match argv {
                [] => return Err(Failure::usage("there is no command after --")),
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
}

/// Prints what the host means, as `ssh -G` does: git asks for it.
fn print_settings(context: &Context, target: &Target, access: &Access) -> Result<(), Failure> {
    let client = context.client()?;
    for (key, value) in connect::describe_target(context, &client, target, access)? {
        context.out.print(&format!("{key} {value}"));
    }
    Ok(())
}
