//! `landline wait`: waits for detached jobs.

use clap::Args;
use landline::{
    Error,
    exec::{JobInfo, JobRequest},
    login::FirstRequest,
    net::{Channel, Target},
};

use super::{
    follow::Dialer,
    jobs::{LongRequest, ask_until_answered, describe, status, to_json},
    run::outcome::{NOT_CONNECTED, with_status_of_job},
};
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Wait until jobs have ended
///
/// The exit status is that of the job, as of a command of `landline run`; of several jobs, the
/// highest. It is 255 if the job is lost or not there, or for any other failure. After a lost
/// connection, landline reconnects.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline wait nas build && landline cp nas:out.tar .")]
pub(crate) struct Wait {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job
    #[arg(value_name = "ID|NAME", required = true)]
    jobs: Vec<String>,
    #[command(flatten)]
    access: Access,
}

impl Run for Wait {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let answers = self
            .wait(context)
            .await
            .map_err(|failure| with_status_of_job(failure).with_status(NOT_CONNECTED))?;
        let mut highest = 0;
        for job in &answers {
            let status = status(job);
            highest = highest.max(status.unwrap_or(NOT_CONNECTED));
            if context.json {
                context.out.print_json(&to_json(job));
            } else if status.is_none() {
                context
                    .err
                    .print(&format!("{}: {}", job.job, describe(job)));
            }
        }
        Ok(ExitStatus(highest))
    }
}

impl Wait {
    /// Waits for one job after another.
    async fn wait(&self, context: &Context) -> Result<Vec<JobInfo>, Failure> {
        let dialer = Dialer::new(context, &self.host, &self.access)?;
        let mut ended = Vec::new();
        for job in &self.jobs {
            let mut request = JobRequest::Wait { job: job.clone() };
            ended.extend(ask_until_answered(context, &dialer, &mut request).await?);
        }
        Ok(ended)
    }
}

impl LongRequest for JobRequest {
    type Answer = Vec<JobInfo>;

    fn first_request(&self) -> Result<FirstRequest, Error> {
        Self::first_request(self)
    }

    async fn receive(&mut self, channel: &mut Channel) -> Result<Vec<JobInfo>, Error> {
        Self::receive(self, channel).await
    }
}
