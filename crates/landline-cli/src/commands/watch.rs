//! `landline watch`: shows the terminal of a job, without its keyboard.

use std::str::FromStr;

use clap::Args;
use landline::{
    exec::{RunningCommand, WatchJob},
    net::Target,
    proto::login::UserName,
};

use super::{
    follow::{Dialer, follow},
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

/// Watch the terminal of a job, without typing
///
/// Shows what the terminal of a shell or job shows, even while other people use it. Your keys are
/// not sent to the job. Ctrl-C leaves. If your terminal is smaller than that of the job, you see
/// the upper left part.
///
/// The owner may hand you the keyboard: then your keys are sent, and `~h` gives it back.
///
/// You may watch your own jobs, and those of the users that the right `watch` names. `landline
/// jobs` shows who watches.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline watch nas work\n  landline watch nas alice/work")]
pub(crate) struct Watch {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job, after USER/ for another user's job
    #[arg(value_name = "[USER/]ID|NAME")]
    job: WatchedJob,
    #[command(flatten)]
    escape: EscapeOption,
    #[command(flatten)]
    access: Access,
}

/// A job, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WatchedJob(WatchJob);

impl FromStr for WatchedJob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, job) = match text.split_once('/') {
            Some((user, job)) => {
                let user: Result<UserName, _> = user.parse();
                let user = user.map_err(|_| format!("{text:?} does not begin with a user"))?;
                (Some(user), job)
            }
            None => (None, text),
        };
        if job.is_empty() {
            return Err("the id or name of the job is missing".into());
        }
        let job = job.to_owned();
        Ok(Self(WatchJob {
            job,
            user,
            terminal: None,
        }))
    }
}

impl Run for Watch {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        self.watch(context).await.map_err(with_status_of_job)
    }
}

impl Watch {
    async fn watch(&self, context: &Context) -> Result<ExitStatus, Failure> {
        let WatchedJob(request) = &self.job;
        let request = WatchJob {
            terminal: terminal_size().filter(|_| context.out.is_terminal()),
            ..request.clone()
        };
        let dialer = Dialer::new(context, &self.host, &self.access)?;
        let mut channel = dialer.open(&request.first_request()?).await?;
        let running = RunningCommand::receive_attached(&mut channel).await?;
        let job = running.job.clone();
        let continuation = Continuation::Watch(request.clone());
        let key = self.escape.key;
        match follow(context, &dialer, channel, running, key, &continuation).await? {
            Some(exit) => finish(context, &exit, &job),
            None => Ok(ExitStatus::SUCCESS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_may_name_its_user() {
        let parse = |text: &str| {
            text.parse::<WatchedJob>()
                .map(|WatchedJob(request)| request)
        };
        let request = |user: Option<&str>, job: &str| {
            Ok(WatchJob {
                job: job.into(),
                user: user.map(|user| user.parse().unwrap()),
                terminal: None,
            })
        };
        assert_eq!(parse("work"), request(None, "work"));
        assert_eq!(parse("alice/work"), request(Some("alice"), "work"));
        for bad in ["", "alice/", "/work", "a b/work"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
