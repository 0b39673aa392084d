//! `landline shell`: a login shell on a server.

use clap::Args;
use landline::{
    exec::{Command, DetachedJob, JobOptions, RunningCommand},
    net::Target,
};

use super::{
    follow::{Dialer, INTERRUPTED, follow, own_terminal, terminal_variables},
    run::{
        input::EscapeOption,
        outcome::{finish, with_status_of_ssh},
        reconnect::Continuation,
    },
};
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Open a shell on a server, or return to one
///
/// Type `~d` at the beginning of a line to leave the shell. It keeps running, also after a lost
/// connection. With NAME, the same command returns to it from any machine, and shows the screen as
/// it was. Without NAME, return to it with `landline attach`.
///
/// Type `~h` to hand the keyboard to the other user who watches, and again to take it back.
///
/// End the shell with `exit`. The exit status of the shell is that of this command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline shell nas\n  landline shell nas work")]
pub(crate) struct Shell {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Name of the shell; attaches if it is running
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    escape: EscapeOption,
    #[command(flatten)]
    access: Access,
}

impl Run for Shell {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        self.open(context).await.map_err(with_status_of_ssh)
    }
}

impl Shell {
    async fn open(&self, context: &Context) -> Result<ExitStatus, Failure> {
        if !context.input.is_terminal() {
            return Err(Failure::usage("a shell needs a terminal to type at")
                .with_advice("a script needs none: landline run HOST --shell 'COMMANDS'"));
        }
        let mut command = Command::login_shell();
        command.environment = terminal_variables(context);
        let first = command.first_detached_request(&JobOptions {
            terminal: Some(own_terminal()),
            name: self.name.clone(),
            attaches: true,
            is_forgotten: true,
            ..JobOptions::default()
        })?;
        let dialer = Dialer::new(context, &self.host, &self.access)?;
        let mut channel = dialer.open(&first).await?;
        let job = DetachedJob::receive(&mut channel).await?.job;
        let running = RunningCommand::receive_attached(&mut channel).await?;
        let continuation = Continuation::Job { id: job.clone() };
        let key = self.escape.key;
        match follow(context, &dialer, channel, running, key, &continuation).await? {
            Some(exit) => finish(context, &exit, &job),
            None => Err(self.left(&job)),
        }
    }

    /// The user has left a shell that is still running.
    fn left(&self, job: &str) -> Failure {
        let (what, command) = match &self.name {
            Some(name) => (
                format!("the shell {name} is still running"),
                format!("landline shell {} {name}", self.host),
            ),
            None => (
                format!("the shell {job} is still running"),
                format!("landline attach {} {job}", self.host),
            ),
        };
        Failure::new("interrupted", what)
            .with_advice(&format!("return to it with {command}"))
            .with_status(INTERRUPTED)
    }
}
