//! `landline jobs`: lists and forgets detached jobs, and what the other commands about jobs share.

use std::time::Duration;

use clap::Args;
use landline::{
    Error,
    exec::{JobInfo, JobRequest, JobState},
    login::FirstRequest,
    net::{Channel, Target},
};
use serde_json::{Value, json};

use super::{
    follow::Dialer,
    run::reconnect::{ATTEMPT_TIME_MAX, Attempts, CONNECTED_AGAIN, CONNECTION_LOST, is_lost},
};
use crate::{
    arguments::Access,
    connect::{self, is_transient},
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

/// A request about a job whose answer takes as long as the job.
pub(super) trait LongRequest {
    /// What the server answers in the end.
    type Answer;

    /// The request to send now, which leaves out what was answered already.
    fn first_request(&self) -> Result<FirstRequest, Error>;

    /// Takes the answer.
    async fn receive(&mut self, channel: &mut Channel) -> Result<Self::Answer, Error>;
}

/// Makes a request, and again over a new connection whenever the connection is lost.
///
/// # Errors
/// The login is refused; what the server says; what [`LongRequest::receive`] fails with.
pub(super) async fn ask_until_answered<R: LongRequest>(
    context: &Context,
    dialer: &Dialer<'_>,
    request: &mut R,
) -> Result<R::Answer, Failure> {
    let mut channel = dialer.open(&request.first_request()?).await?;
    loop {
        match request.receive(&mut channel).await {
            Ok(answer) => {
                channel.finish().await;
                return Ok(answer);
            }
            Err(error) if is_lost(&error) => {}
            Err(error) => return Err(error.into()),
        }
        channel = reconnect(context, dialer, &request.first_request()?).await?;
    }
}

/// Opens a channel on a new connection, however long that takes.
async fn reconnect(
    context: &Context,
    dialer: &Dialer<'_>,
    request: &FirstRequest,
) -> Result<Channel, Failure> {
    let tell = |what| {
        if !context.json {
            context.err.print(what);
        }
    };
    let mut attempts = Attempts::new(Duration::MAX);
    loop {
        tokio::time::sleep(attempts.next_pause().unwrap_or_default()).await;
        if attempts.is_to_be_told() {
            tell(CONNECTION_LOST);
        }
        match tokio::time::timeout(ATTEMPT_TIME_MAX, dialer.redial(request)).await {
            Ok(Ok(channel)) => {
                if attempts.is_told {
                    tell(CONNECTED_AGAIN);
                }
                return Ok(channel);
            }
            Ok(Err(error)) if !is_transient(&error) => return Err(error.into()),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// A job for programs.
pub(super) fn to_json(job: &JobInfo) -> Value {
    let mut value = json!(job);
    if let Some(keys) = value.as_object_mut() {
        keys.insert("status".into(), json!(status(job)));
        keys.insert("started".into(), seconds_of_milliseconds(job.started));
        if let Some(ended) = job.ended {
            keys.insert("ended".into(), seconds_of_milliseconds(ended));
        }
        if let (Some(exit), Some(Value::Object(keys))) = (&job.exit, keys.get_mut("exit")) {
            keys.insert("user_time".into(), seconds_of_microseconds(exit.user_time));
            let time = seconds_of_microseconds(exit.system_time);
            keys.insert("system_time".into(), time);
            keys.insert("left_open".into(), json!(exit.left_open));
        }
    }
    value
}

/// A time of the protocol in seconds, as all times in JSON are.
pub(super) fn seconds_of_milliseconds(time: u64) -> Value {
    json!(time as f64 / 1e3)
}

/// The same for processor time.
pub(super) fn seconds_of_microseconds(time: u64) -> Value {
    json!(time as f64 / 1e6)
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
    let state = match job.state {
        // `landline wait` gives the reason, which would make the column wide.
        JobState::Lost => "lost".to_owned(),
        _ => describe(job),
    };
    if names.is_empty() {
        return state;
    }
    format!("{state}, watched by {}", names.join(", "))
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
