//! `landline wait`: waits for detached jobs.

use clap::Args;
use landline::{exec::JobRequest, net::Target};

use super::{
    jobs::{ask, describe, status, to_json},
    run::outcome::NOT_CONNECTED,
};
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Wait until jobs have ended
///
/// The exit status is that of the job, as of a command of `landline run`; of several jobs, the
/// highest. It is 255 if the job is lost or not there, or for any other failure.
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
        let requests: Vec<JobRequest> = self
            .jobs
            .into_iter()
            .map(|job| JobRequest::Wait { job })
            .collect();
        let answers = ask(context, &self.host, &self.access, &requests)
            .await
            .map_err(|failure| failure.with_status(NOT_CONNECTED))?;
        let mut highest = 0;
        for job in answers.iter().flatten() {
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
