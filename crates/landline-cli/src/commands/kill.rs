//! `landline kill`: sends a signal to a detached job.

use clap::Args;
use landline::{exec::JobRequest, net::Target};
use serde_json::json;

use super::jobs::ask;
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Send a signal to jobs
///
/// The signal goes to the process group of the job's program. The default is SIGTERM. A shell at a
/// terminal ignores SIGTERM: end it with `-s HUP`, or with `--tree`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline kill nas build\n  landline kill nas build -s INT")]
pub(crate) struct Kill {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job
    #[arg(value_name = "ID|NAME", required = true)]
    jobs: Vec<String>,
    /// The signal's name, such as INT or KILL
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = parse_signal)]
    signal: String,
    /// End everything that the job has started, too
    ///
    /// What is left after 5 seconds gets SIGKILL.
    #[arg(long)]
    tree: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for Kill {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let requests: Vec<JobRequest> = self
            .jobs
            .iter()
            .map(|job| JobRequest::Kill {
                job: job.clone(),
                signal: self.signal.clone(),
                tree: self.tree,
            })
            .collect();
        ask(context, &self.host, &self.access, &requests).await?;
        for job in self.jobs.iter().filter(|_| context.json) {
            context.out.print_json(&json!({
                "event": "signaled", "job": job, "signal": self.signal, "tree": self.tree,
            }));
        }
        Ok(ExitStatus::SUCCESS)
    }
}

/// The name of a signal without `SIG`.
fn parse_signal(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match landline_supervisor::signals::number(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err("there is no such signal; give a name such as TERM, INT, HUP or KILL".into()),
    }
}
