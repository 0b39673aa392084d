//! `landline attach`: follows a detached job.

use clap::Args;
use landline::{
    client::ClientSession,
    exec::{AttachToJob, ClosedOutput, CommandControl, RunningCommand},
    login::FirstRequest,
    net::Target,
};
use tokio::sync::mpsc;

use super::run::{
    escape_help,
    input::{Escape, Interruption, read_input},
    left,
    outcome::{finish, with_status_of_ssh},
    reconnect::{Continuation, carry, teller},
};
use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
    terminal_mode::{RawMode, terminal_size},
};

/// Follow a job from the beginning until it ends
///
/// Prints the output of the job.
/// The exit status is that of the job, as of `landline run`. Ctrl-C leaves the job, which
/// continues, with status 130.
/// A job with a terminal gets every key instead; `~d` at the beginning of a line leaves it. Of
/// several clients that attach to such a job, the last one has it. A lost connection is made again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline attach nas build")]
pub(crate) struct Attach {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job
    #[arg(value_name = "ID|NAME")]
    job: String,
    #[command(flatten)]
    access: Access,
}

impl Run for Attach {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        self.attach(context).await.map_err(with_status_of_ssh)
    }
}

impl Attach {
    async fn attach(&self, context: &Context) -> Result<ExitStatus, Failure> {
        let request = AttachToJob {
            job: self.job.clone(),
            terminal: terminal_size(),
            ..AttachToJob::default()
        };
        let first = request.first_request()?;
        let client = context.client()?;
        let (server, credential) =
            connect::find_server(context, &client, &self.host, &self.access).await?;
        let session = ClientSession::new(server, credential);
        let mut channel = session.open_channel(&first).await?.login.channel;
        let running = RunningCommand::receive_attached(&mut channel).await?;
        let job = running.job.clone();
        let has_terminal = running.has_terminal;
        let (control, mut orders) = mpsc::channel(16);
        let leaving = signals::forward(control.clone(), has_terminal)?;
        // Without a terminal, a signal to this command leaves the job.
        let (passed, passed_orders) = mpsc::channel(16);
        let signaled = async {
            while let Some(order) = orders.recv().await {
                match order {
                    CommandControl::Signal(_) if !has_terminal => return,
                    order => drop(passed.send(order).await),
                }
            }
            std::future::pending().await
        };
        let raw = if has_terminal {
            RawMode::enter()?
        } else {
            None
        };
        let source = if running.has_input {
            let opened = context.input.open();
            Some(opened.map_err(|error| landline::Error::io("standard input", &error))?)
        } else {
            None
        };
        let help = raw.as_ref().map(|_| escape_help(context));
        let input = read_input(source, help);
        let (stdout, stderr) = (context.out.raw(), context.err.raw());
        let mut carrier = running.carrier(
            input.bytes,
            passed_orders,
            Box::new(stdout),
            Box::new(stderr),
            ClosedOutput::Leave,
        );
        let continuation = Continuation::Job { id: job.clone() };
        let tell = teller(context, raw.is_some());
        let dial = async |request: &FirstRequest| {
            let connected = session.open_channel(request).await?;
            Ok(connected.login.channel)
        };
        let carried = carry(&tell, &dial, &mut channel, &mut carrier, &continuation);
        let exit = tokio::select! {
            exit = carried => Some(exit?),
            Ok(interruption) = input.interruption => match interruption {
                Interruption::Failed(error) => {
                    return Err(landline::Error::io("standard input", &error).into());
                }
                Interruption::Escaped(Escape::Disconnect | Escape::Detach | Escape::Help) => None,
            },
            () = signaled => None,
            () = leaving.notified() => None,
        };
        drop(raw);
        channel.finish().await;
        match exit {
            Some(exit) => finish(context, &exit, &job),
            // With a status by which no script takes the job for ended.
            None => Err(left(&continuation)),
        }
    }
}
