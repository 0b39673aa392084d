//! `landline jobs`: lists and forgets detached jobs, and what the other commands about jobs share.

use clap::Args;
use landline::{
    exec::{JobInfo, JobRequest, JobState},
    net::Target,
};
use serde_json::{Value, json};

use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::{moment, table},
};

/// The most characters of a command in the list.
const COMMAND_CHARS_MAX: usize = 60;

/// List your jobs on a server, or forget them
///
/// `landline run --detach` and `landline shell` start jobs. The server keeps a job for 14 days
/// after its end, or until newer jobs need its space.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline jobs nas\n  landline jobs nas --forget build")]
pub(crate) struct Jobs {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Remove this ended job with its output
    #[arg(long, value_name = "ID|NAME")]
    forget: Vec<String>,
    #[command(flatten)]
    access: Access,
}

impl Run for Jobs {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        if self.forget.is_empty() {
            let list = [JobRequest::List];
            let jobs = ask(context, &self.host, &self.access, &list)
                .await?
                .concat();
            if context.json {
                for job in &jobs {
                    context.out.print_json(&to_json(job));
                }
            } else {
                let head = ["JOB", "NAME", "STATE", "STARTED", "COMMAND"].map(str::to_owned);
                context.out.print(&table(head, jobs.iter().map(row)));
            }
            return Ok(ExitStatus::SUCCESS);
        }
        let forget: Vec<JobRequest> = self
            .forget
            .iter()
            .map(|job| JobRequest::Forget { job: job.clone() })
            .collect();
        ask(context, &self.host, &self.access, &forget).await?;
        for job in &self.forget {
            if context.json {
                context
                    .out
                    .print_json(&json!({"event": "forgotten", "job": job}));
            } else {
                context.out.print(&format!("forgot {job}"));
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

/// Makes requests about jobs, one after another on one channel. Returns what each has brought.
///
/// # Errors
/// The first that fails.
pub(super) async fn ask(
    context: &Context,
    host: &Target,
    access: &Access,
    requests: &[JobRequest],
) -> Result<Vec<Vec<JobInfo>>, Failure> {
    let Some((first, further)) = requests.split_first() else {
        return Ok(Vec::new());
    };
    let client = context.client()?;
    let request = first.first_request()?;
    let mut channel = connect::open_channel(context, &client, host, access, &request).await?;
    let mut answers = vec![first.receive(&mut channel).await?];
    for request in further {
        request.send(&mut channel).await?;
        answers.push(request.receive(&mut channel).await?);
    }
    channel.finish().await;
    Ok(answers)
}

/// A job for programs.
pub(super) fn to_json(job: &JobInfo) -> Value {
    let mut value = json!(job);
    if let Some(keys) = value.as_object_mut() {
        keys.insert("status".into(), json!(status(job)));
    }
    value
}

/// The exit status that a job ended with, as shells have it; `None` if it has not ended,
/// or if that is not known.
pub(super) fn status(job: &JobInfo) -> Option<u8> {
    let exit = job.exit.as_ref()?;
    Some(match (exit.number, exit.code) {
        _ if exit.timed_out => super::run::outcome::TIMED_OUT,
        (Some(number), _) => super::run::outcome::SIGNAL_BASE.saturating_add(number),
        (None, code) => code?,
    })
}

fn row(job: &JobInfo) -> [String; 5] {
    let command = String::from_utf8_lossy(&job.command.0);
    let mut shown: String = command.chars().take(COMMAND_CHARS_MAX).collect();
    if shown.len() < command.len() {
        shown.push('…');
    }
    [
        job.job.clone(),
        job.name.clone().unwrap_or_else(|| "-".into()),
        describe_with_watchers(job),
        moment(i64::try_from(job.started / 1000).unwrap_or(0)),
        shown,
    ]
}

/// The state of a job and who watches it, for people.
fn describe_with_watchers(job: &JobInfo) -> String {
    let names: Vec<&str> = job.watchers.iter().map(|user| user.as_str()).collect();
    if names.is_empty() {
        return describe(job);
    }
    format!("{}, watched by {}", describe(job), names.join(", "))
}

/// The state of a job, for people.
pub(super) fn describe(job: &JobInfo) -> String {
    match (job.state, &job.exit) {
        (JobState::Ended, Some(exit)) if exit.timed_out => "ended: its time was over".into(),
        (JobState::Ended, Some(exit)) => match (&exit.signal, exit.code) {
            (Some(signal), _) => format!("ended by SIG{signal}"),
            (None, Some(code)) => format!("ended with {code}"),
            (None, None) => "ended".into(),
        },
        (JobState::Ended, None) => "ended".into(),
        (JobState::Lost, _) => {
            let reason = job.reason.as_deref().unwrap_or("the reason is not known");
            format!("lost: {reason}")
        }
        (JobState::Starting, _) => "starting".into(),
        (JobState::Running, _) => "running".into(),
        (JobState::Silent, _) => "does not answer".into(),
    }
}
