//! `landline run -H`: one command on many hosts at the same time.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, value_parser};
use landline::{
    Client,
    client::ClientSession,
    exec::{ClosedOutput, CommandControl, CommandExit, CommandInput, RunningCommand},
    login::FirstRequest,
    net::Target,
    paths::local,
};
use serde_json::Value;
use tokio::{
    sync::{OnceCell, mpsc, watch},
    task::LocalSet,
};

use super::{
    RunCommand,
    input::read_input,
    lines::{HostOutput, Printer, Stream, with},
    on_lost::OnLost,
    outcome::{LEFT_OPEN, NOT_CONNECTED, check_outputs, describe_exit, status, with_status_of_ssh},
    reconnect::{Continuation, Teller, carry},
    ssh_options::SshSettings,
};
use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus},
    failure::Failure,
    many_hosts::{JOBS, Outcome, read_hosts, run_all},
    prompter::NoPrompter,
};

/// The hosts, and what becomes of their output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many hosts")]
pub(super) struct ManyHosts {
    /// Run the command on these hosts: nas,web[1-20],@db
    ///
    /// Brackets hold numbers and ranges, and keep leading zeros: `web[01-20]` or `web[1-3,7]`.
    /// `@db` is a group in client.toml. There is no HOST then: the words are the program and its
    /// arguments, exactly, with or without `--`. Commands get no input, unless --stdin FILE sends
    /// the whole file to each host. landline asks no questions: a login that needs one fails.
    #[arg(short = 'H', long = "hosts", value_name = "HOSTS")]
    hosts: Vec<String>,
    /// Run the command on the hosts in FILE
    ///
    /// Each line is like HOSTS. What follows a `#` is a comment.
    #[arg(long, value_name = "FILE")]
    hosts_file: Option<PathBuf>,
    /// Maximum number of hosts at a time [default: 32]
    #[arg(short, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Write each host's output to files in DIR
    ///
    /// The files HOST.out and HOST.err have the exact bytes, and replace older ones. landline then
    /// prints no output of the hosts.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

impl ManyHosts {
    /// Whether the command is one for many hosts.
    ///
    /// # Errors
    /// An option makes sense only there.
    pub(super) fn is_used(&self) -> Result<bool, Failure> {
        let is_used = !self.hosts.is_empty() || self.hosts_file.is_some();
        if !is_used && (self.jobs.is_some() || self.output_dir.is_some()) {
            return Err(Failure::usage(
                "-j and --output-dir need -H or --hosts-file",
            ));
        }
        Ok(is_used)
    }
}

/// What all hosts have in common.
struct Work {
    context: Context,
    client: Client,
    access: Access,
    settings: SshSettings,
    first: FirstRequest,
    /// How long the commands run on after a lost connection.
    on_lost: Duration,
    timeout: Option<Duration>,
    stdin: Option<PathBuf>,
    output_dir: Option<PathBuf>,
    printer: Arc<Printer>,
}

/// Runs the command at all hosts. The status is the highest one.
///
/// # Errors
/// The command line is wrong. A host that fails is no error here.
pub(super) async fn run(
    mut command: RunCommand,
    context: &Context,
    settings: SshSettings,
) -> Result<ExitStatus, Failure> {
    check(&command)?;
    let file = command.many.hosts_file.as_deref();
    let hosts = read_hosts(context, &command.many.hosts, file)?;
    let mut words = std::mem::take(&mut command.words);
    if !command.shell {
        words.insert(0, "--".into());
    }
    let seconds = command.timeout_seconds();
    let on_lost = match command.on_lost.unwrap_or(OnLost::default_for(false)) {
        OnLost::End(time) => time,
        OnLost::Keep => {
            return Err(Failure::usage(
                "commands on many hosts are not kept as jobs",
            ));
        }
    };
    let first = command.command(&settings, &words)?.first_request(
        None,
        seconds,
        u32::try_from(on_lost.as_secs()).unwrap_or(u32::MAX),
    )?;
    settings.change_access(&mut command.access);
    let stdin = command.stdin.take().filter(|name| name != "none");
    let jobs = command.many.jobs.map_or(JOBS, usize::from);
    let is_quiet = command.ssh.is_quiet();
    let work = Work {
        context: Context {
            prompter: Arc::new(NoPrompter),
            ..context.clone()
        },
        client: context.client()?,
        access: command.access,
        settings,
        first,
        on_lost,
        timeout: command.timeout,
        stdin: stdin.map(PathBuf::from),
        output_dir: command.many.output_dir,
        printer: Arc::new(Printer::new(context)),
    };
    let work = Arc::new(work);
    let running = run_all(hosts, jobs, |name, target, stopped| {
        let work = work.clone();
        // The compiler cannot tell that the future of an async closure may change its thread.
        async move { work.run_at(&name, &target, stopped).await }
    });
    let summary = LocalSet::new().run_until(running).await?;
    if !is_quiet && !context.json {
        context.err.print(&format!("landline: {}", summary.text()));
    }
    Ok(summary.status(NOT_CONNECTED))
}

/// Refuses what only one host can have.
fn check(command: &RunCommand) -> Result<(), Failure> {
    let problem = if command.pty || command.ssh.asks_for_one() {
        "a terminal, a subsystem and -G are for one host"
    } else if command.access.password.password_fd.is_some() {
        "--password-fd can be read for one host only; use --password-file"
    } else if command.stdin.as_ref().is_some_and(|name| name == "-") {
        "standard input cannot be copied to many hosts; name a file"
    } else if command.words.is_empty() {
        "there is no command to run"
    } else if command.words.get(1).is_some_and(|word| word == "--") {
        "-H names the hosts, so only the command follows"
    } else {
        return Ok(());
    };
    Err(Failure::usage(problem))
}

impl Work {
    /// Runs the command at one host, and prints all about it.
    async fn run_at(
        &self,
        name: &str,
        target: &Target,
        stopped: watch::Receiver<Option<String>>,
    ) -> Outcome {
        let exit = self.carry(name, target, stopped).await;
        let exit = exit.and_then(|(exit, job)| {
            if self.context.json {
                self.print_json(&with(describe_exit(&exit, &job), "host", name))?;
            } else if exit.left_open {
                let printed = self.printer.print_message(name, LEFT_OPEN);
                printed.map_err(|error| landline::Error::io("standard error", &error))?;
            }
            check_outputs(&exit)?;
            Ok(exit)
        });
        match exit {
            Ok(exit) => Outcome::Ended(status(&exit).0),
            Err(failure) if failure.code == "interrupted" => Outcome::Stopped,
            Err(failure) => {
                let failure = with_status_of_ssh(failure);
                // A stream that cannot be written to cannot tell of it either.
                let _ = self.report(name, &failure);
                match failure.status {
                    NOT_CONNECTED => Outcome::WithoutStatus,
                    status => Outcome::Ended(status),
                }
            }
        }
    }

    fn report(&self, name: &str, failure: &Failure) -> Result<(), Failure> {
        if self.context.json {
            let event = with(with(failure.to_json(), "event", "failed"), "host", name);
            // Events go to standard output, which may be what has failed.
            return self
                .print_json(&event)
                .inspect_err(|_| self.context.err.print_json(&event));
        }
        let printed = self.printer.print_message(name, &failure.to_line());
        printed.map_err(|error| landline::Error::io("standard error", &error).into())
    }

    fn print_json(&self, event: &Value) -> Result<(), Failure> {
        let printed = self.printer.print_json(event);
        printed.map_err(|error| landline::Error::io("standard output", &error).into())
    }

    async fn carry(
        &self,
        name: &str,
        target: &Target,
        mut stopped: watch::Receiver<Option<String>>,
    ) -> Result<(CommandExit, String), Failure> {
        let input = match &self.stdin {
            None => no_input(),
            Some(path) => {
                let file = local::open(path)
                    .map_err(|error| landline::Error::io(path.display(), &error))?;
                read_input(Some(Box::new(file)), None).bytes
            }
        };
        let target = self.settings.target(target);
        let (context, access) = (&self.context, &self.access);
        let start = async {
            let mut channel =
                connect::open_channel(context, &self.client, &target, access, &self.first).await?;
            let running = RunningCommand::receive(&mut channel).await?;
            Ok::<_, Failure>((channel, running))
        };
        let (mut channel, running) = tokio::select! {
            started = within(self.timeout, start) => started?,
            _ = stopped.wait_for(Option::is_some) => return Err(Failure::interrupted()),
        };
        let (orders, control) = mpsc::channel(1);
        tokio::spawn(async move {
            let signal = stopped.wait_for(Option::is_some).await;
            if let Some(signal) = signal.ok().and_then(|signal| signal.clone()) {
                let _ = orders.send(CommandControl::Signal(signal)).await;
            }
        });
        let job = running.job.clone();
        let lines = [Stream::Out, Stream::Err]
            .map(|stream| HostOutput::new(self.printer.clone(), name, stream));
        let [stdout, stderr] = self.outputs(name, &lines)?;
        let mut carrier =
            running.carrier(input, control, stdout, stderr, false, ClosedOutput::Stop);
        let session = OnceCell::new();
        let dial = async |request: &FirstRequest| {
            let login = async {
                let found = connect::find_session(context, &self.client, &target, access).await;
                found.map_err(|failure| landline::Error::Lost(failure.what))
            };
            let session: &ClientSession = session.get_or_try_init(|| login).await?;
            let connected = session.open_channel(request).await?;
            Ok(connected.login.channel)
        };
        let teller = Teller::of_host(context, self.printer.clone(), name);
        let continuation = Continuation::Run {
            id: job.clone(),
            time: self.on_lost,
        };
        let exit = carry(&teller, &dial, &mut channel, &mut carrier, &continuation).await;
        for lines in &lines {
            let printed = lines.finish();
            printed.map_err(|error| landline::Error::io("standard output", &error))?;
        }
        let exit = exit?.ok_or_else(Failure::interrupted)?;
        channel.finish().await;
        Ok((exit, job))
    }

    /// Where the two outputs of a host go.
    fn outputs(
        &self,
        name: &str,
        lines: &[HostOutput; 2],
    ) -> Result<[Box<dyn Write + Send>; 2], Failure> {
        let [out, err] = lines;
        let Some(folder) = &self.output_dir else {
            return Ok([Box::new(out.clone()), Box::new(err.clone())]);
        };
        let create = |ending: &str| -> Result<Box<dyn Write + Send>, Failure> {
            let path = folder.join(format!("{name}.{ending}"));
            let file = local::create(&path)
                .map_err(|error| landline::Error::io(path.display(), &error))?;
            Ok(Box::new(file))
        };
        Ok([create("out")?, create("err")?])
    }
}

/// An input that has ended.
fn no_input() -> mpsc::Receiver<CommandInput> {
    let (sender, receiver) = mpsc::channel(1);
    let _ = sender.try_send(CommandInput::End);
    receiver
}

/// Fails if the work takes longer.
async fn within<T>(
    time: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(time) = time else {
        return work.await;
    };
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => {
            let what = format!(
                "the server did not start the command within {} s",
                time.as_secs()
            );
            Err(Failure::new("connect", what))
        }
    }
}
