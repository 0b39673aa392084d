//! `landline logs`: prints the output of a detached job.

use std::io::{self, Write};

use clap::Args;
use landline::{
    Error,
    audit::Since,
    exec::{JobInfo, LogChunk, LogItem, ReadLog},
    login::FirstRequest,
    net::{Channel, Target},
};
use serde_json::json;

use super::{
    follow::Dialer,
    jobs::{LongRequest, ask_until_answered, seconds_of_milliseconds, to_json},
};
use crate::{
    arguments::Access,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
};

/// Print the output of a job
///
/// The job's standard output goes to standard output, and its standard error to standard error, in
/// the order in which the job wrote them. The server keeps up to 32 MiB for each job: the first MiB
/// of each stream, and the newest output. After a lost connection, landline reconnects.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  landline logs nas build\n  landline logs nas build -f --since 10m"
)]
pub(crate) struct Logs {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Id or name of the job
    #[arg(value_name = "ID|NAME")]
    job: String,
    /// Continue until the job has ended
    #[arg(short, long)]
    follow: bool,
    /// Only what it wrote to standard error, on standard output
    #[arg(long)]
    stderr: bool,
    /// Only what it wrote since then, to the second
    ///
    /// TIME is an age (90s, 30m, 1h, 2d), a day in UTC (2026-11-20), or a moment
    /// (2026-11-20T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    #[command(flatten)]
    access: Access,
}

impl Run for Logs {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let request = ReadLog {
            job: self.job.clone(),
            stdout: if self.stderr { u64::MAX >> 1 } else { 0 },
            stderr: 0,
            since: self.since.map(|since| since.unix_milliseconds()),
            follow: self.follow,
        };
        let stopped = signals::stop()?;
        let dialer = Dialer::new(context, &self.host, &self.access)?;
        let mut log = PrintedLog {
            logs: &self,
            context,
            request,
        };
        let reading = async {
            let job = ask_until_answered(context, &dialer, &mut log).await?;
            if context.json
                && let Some(job) = job
            {
                context.out.print_json(&to_json(&job));
            }
            Ok(ExitStatus::SUCCESS)
        };
        tokio::select! {
            done = reading => done,
            () = stopped => Err(Failure::stopped(false)),
        }
    }
}

/// The output of a job, which is printed as it arrives.
struct PrintedLog<'a> {
    logs: &'a Logs,
    context: &'a Context,
    /// Asks for what was not printed yet.
    request: ReadLog,
}

impl LongRequest for PrintedLog<'_> {
    /// The job; `None` if the reader wants no more.
    type Answer = Option<Box<JobInfo>>;

    fn first_request(&self) -> Result<FirstRequest, Error> {
        self.request.first_request()
    }

    async fn receive(&mut self, channel: &mut Channel) -> Result<Self::Answer, Error> {
        loop {
            let chunk = match ReadLog::next(channel).await? {
                LogItem::Chunk(chunk) => chunk,
                LogItem::End(job) => return Ok(Some(job)),
            };
            match self.logs.print(self.context, &chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                Err(error) => return Err(Error::io("standard output", &error)),
            }
            let printed = if chunk.is_stderr {
                &mut self.request.stderr
            } else {
                &mut self.request.stdout
            };
            *printed = chunk.offset + chunk.dropped + chunk.bytes.len() as u64;
        }
    }
}

impl Logs {
    fn print(&self, context: &Context, chunk: &LogChunk) -> io::Result<()> {
        if context.json {
            let name = if chunk.is_stderr { "stderr" } else { "stdout" };
            context.out.print_json(&json!({
                "event": "output", "stream": name, "offset": chunk.offset,
                "time": seconds_of_milliseconds(chunk.time),
                "dropped": chunk.dropped, "bytes": landline::proto::Name(chunk.bytes.clone()),
            }));
            return Ok(());
        }
        if chunk.dropped > 0 {
            let note = format!("[{} bytes of output are not kept any more]", chunk.dropped);
            context.err.print(&note);
        }
        let stream = if chunk.is_stderr && !self.stderr {
            &context.err
        } else {
            &context.out
        };
        let mut raw = stream.raw();
        raw.write_all(&chunk.bytes).and_then(|()| raw.flush())
    }
}
