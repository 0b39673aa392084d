//! `landline attach`: follows a detached job.

use clap::Args;
use landline::{
    exec::{AttachToJob, RunningCommand},
    net::Target,
};

use super::{
    follow::{Dialer, INTERRUPTED, follow},
    run::{
        input::EscapeOption,
        outcome::{finish, with_status_of_job},
        reconnect::Continuation,
    },
};
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal_mode::terminal_size,
};

/// Follow a job until it ends
///
/// Prints the output of the job from its beginning. For a job with a terminal, it shows the screen,
/// and sends your keys to the job. The client that attached last controls the terminal.
///
/// Type `~d` at the beginning of a line to leave a job with a terminal, and Ctrl-C to leave any
/// other. The job continues. After a lost connection, landline reconnects.
///
/// When the job ends, the exit status is that of the job. Ctrl-C gives 130.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline attach nas build")]
pub(crate) struct Attach {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job
    #[arg(value_name = "ID|NAME")]
    job: String,
    #[command(flatten)]
    escape: EscapeOption,
    #[command(flatten)]
    access: Access,
}

impl Run for Attach {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        self.attach(context).await.map_err(with_status_of_job)
    }
}

impl Attach {
    async fn attach(&self, context: &Context) -> Result<ExitStatus, Failure> {
        let request = AttachToJob {
            job: self.job.clone(),
            // A file or a program gets every byte, and a terminal the screen.
            stdout: (!context.out.is_terminal()).then_some(0),
            terminal: terminal_size(),
            ..AttachToJob::default()
        };
        let dialer = Dialer::new(context, &self.host, &self.access)?;
        let mut channel = dialer.open(&request.first_request()?).await?;
        let running = RunningCommand::receive_attached(&mut channel).await?;
        let job = running.job.clone();
        let continuation = Continuation::Job { id: job.clone() };
        let key = self.escape.key;
        match follow(context, &dialer, channel, running, key, &continuation).await? {
            Some(exit) => finish(context, &exit, &job),
            // With a status by which no script takes the job for ended.
            None => Err(
                Failure::new("interrupted", format!("the job {job} is still running"))
                    .with_advice("follow it with landline attach, or end it with landline kill")
                    .with_status(INTERRUPTED),
            ),
        }
    }
}
