//! The server's half of the service.

use std::{fmt, os::unix::ffi::OsStringExt, path::PathBuf, sync::Arc, time::Duration};

use landline_proto::{ErrorCode, Header, Message};
use landline_supervisor::{
    protocol::{Status, Store},
    signals,
};

use super::{
    Launcher,
    command::{CLIENT_VARIABLES, Command, Words},
    foreground::{Foreground, Served},
    hand_over::HandOver,
    jobs::{
        Begun, JOB_COMMAND_BYTES_MAX, Job, JobTable, OUTPUT_BYTES_MAX, OfferedKeyboard,
        admit_attach, check_name, find_to_attach, serve_attach, serve_request, serve_watch,
    },
    lost_runs::{LostRuns, StartedRun, WAITING_TIME_MAX},
    messages::{
        AttachToJob, CommandForm, Continue, Continued, REQUESTS, Run, SERVER_BUSY, SERVER_RUNNING,
        SERVER_WATCHED, SERVICE, Started, TRANSIT_TIME_MAX, TYPES, WatchJob,
    },
    reserve::Reserve,
    start::{Prepared, action, denied, may_have_terminal, prepare, record_start, shown},
    supervisor::Supervisor,
    top::{Top, serve_top},
};
use crate::{
    Error,
    keys::Facility,
    net::Channel,
    rights::{EXEC, PTY, Right, Rights, SHELL, WATCH},
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture, draining_error},
};

/// The feature that starts detached jobs.
const DETACH_FEATURE: &str = "exec.detach";
/// The feature of requests about detached jobs.
const JOBS_FEATURE: &str = "exec.jobs";

/// The feature that shows the terminals of jobs to others.
const WATCH_FEATURE: &str = "exec.watch";

/// A line for a shell needs the word `shell`, too.
const RIGHT: Right = Right::Word("exec");

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["exec.run", DETACH_FEATURE, JOBS_FEATURE, WATCH_FEATURE],
    types: TYPES,
    requests: &REQUESTS,
    other_states: &[&SERVER_RUNNING, &SERVER_WATCHED, &SERVER_BUSY],
    rights: &[
        ("run", RIGHT),
        ("continue", RIGHT),
        ("jobs", RIGHT),
        ("logs", RIGHT),
        ("wait", RIGHT),
        ("kill", RIGHT),
        ("attach", RIGHT),
        // Whose terminals a user may watch is looked at with the request.
        ("watch", Right::Account),
        ("forget", RIGHT),
        ("top", RIGHT),
        ("signal", RIGHT),
        ("resize", RIGHT),
        ("hand-over", RIGHT),
        ("done", RIGHT),
        ("bytes", RIGHT),
        ("ack", RIGHT),
        ("end", RIGHT),
        ("stop", RIGHT),
        ("resume", RIGHT),
        ("probe", RIGHT),
        ("error", RIGHT),
    ],
    words: &[&EXEC, &SHELL, &PTY, &WATCH],
    request_features: &[
        ("run", "exec.run"),
        ("continue", "exec.run"),
        ("jobs", JOBS_FEATURE),
        ("logs", JOBS_FEATURE),
        ("wait", JOBS_FEATURE),
        ("kill", JOBS_FEATURE),
        ("attach", JOBS_FEATURE),
        ("watch", WATCH_FEATURE),
        ("forget", JOBS_FEATURE),
        ("top", JOBS_FEATURE),
    ],
    kept_by: Right::Account,
};

/// How a server runs commands.
#[derive(Clone)]
pub struct ExecOptions {
    /// Starts the supervisors.
    pub launcher: Arc<dyn Launcher>,
    /// The folders in which a program without a slash in its name is looked up, separated by
    /// colons.
    pub path: String,
    /// Whether users who are no owners may run commands. All commands run as the user that the
    /// server runs as, so such a user can do what the server can.
    pub share_uid: bool,
    /// The name of the user that the server runs as; empty if it is not known.
    pub user: String,
    /// The login shell of that user.
    pub shell: PathBuf,
    /// The program that serves sftp(1), if there is one.
    pub sftp_server: Option<PathBuf>,
    /// Further variables for every command, each `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
}

impl fmt::Debug for ExecOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExecOptions")
            .field("path", &self.path)
            .field("share_uid", &self.share_uid)
            .field("user", &self.user)
            .field("shell", &self.shell)
            .finish_non_exhaustive()
    }
}

/// The server's half of the service. Without options it refuses every command.
pub(crate) struct ExecService {
    pub(crate) options: Option<ExecOptions>,
    pub(crate) jobs: JobTable,
    pub(crate) lost: LostRuns,
    pub(crate) hand_over: HandOver,
    pub(crate) reserve: Reserve,
}

impl Service for ExecService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            channel.limit_transit_time(TRANSIT_TIME_MAX);
            let mut has_run = false;
            loop {
                let header = match context.next_request(channel).await {
                    Ok(Some(header)) => header,
                    Ok(None) => return Ok(()),
                    // A client that has its result may be gone before it reads our `done`.
                    Err(Error::Lost(_)) if has_run => return Ok(()),
                    Err(error) => return Err(error),
                };
                // A request that is waited for long notes them again.
                channel.reader.set_notes_probes(false);
                has_run = match header.kind() {
                    Run::TYPE => self.serve_run(channel, context, &header).await?,
                    AttachToJob::TYPE => {
                        let request: AttachToJob = header.read()?;
                        let found = find_to_attach(context, &self.jobs, &request).await;
                        let admitted = match found {
                            Ok((job, offered)) => admit_attach(context, &job, offered.as_ref())
                                .await
                                .map(|()| (job, offered)),
                            Err(error) => Err(error),
                        };
                        match admitted {
                            Ok((job, offered)) => {
                                self.attach(channel, context, &job, &request, offered.as_ref())
                                    .await?
                            }
                            Err(error) => {
                                context.answer_failure(channel, error).await?;
                                true
                            }
                        }
                    }
                    WatchJob::TYPE => {
                        let request: WatchJob = header.read()?;
                        let watched = serve_watch(channel, context, &self.jobs, &request);
                        match self.until_hand_over(watched).await? {
                            Ok(watched) => watched?,
                            Err(error) => {
                                context.answer_failure(channel, error).await?;
                                true
                            }
                        }
                    }
                    Continue::TYPE => {
                        let request: Continue = header.read()?;
                        self.continue_run(channel, context, &request).await?
                    }
                    Top::TYPE => {
                        let served = serve_top(channel, context, &self.jobs, &self.lost).await;
                        if let Err(error) = served {
                            context.answer_failure(channel, error).await?;
                        }
                        true
                    }
                    _ => {
                        let served = serve_request(channel, context, &self.jobs, &header).await;
                        if let Err(error) = served {
                            context.answer_failure(channel, error).await?;
                        }
                        true
                    }
                };
                if !has_run {
                    return Ok(());
                }
            }
        })
    }
}

impl ExecService {
    /// Serves `run`. Returns whether the channel can carry a further request.
    async fn serve_run(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        header: &Header,
    ) -> Result<bool, Error> {
        let run: Run = header.read()?;
        let body = context.receive_body(channel, header).await?;
        if !run.detach {
            return match self.start(context, &run, &body).await {
                Ok(started) => {
                    channel.send(&Started {
                        job: started.id.clone(),
                        existing: false,
                    })?;
                    channel.flush().await?;
                    self.serve_job(channel, context, started).await
                }
                Err(error) => context.answer_failure(channel, error).await.map(|()| true),
            };
        }
        match self.detach(context, &run, &body).await {
            Ok((job, existing)) if run.attach => {
                let attached = self.attach_started(channel, context, &run, &job, existing);
                let attached = attached.await;
                // A client that was lost before it attached leaves a program that waits for it.
                job.leave_terminal(0);
                return attached;
            }
            Ok((job, existing)) => send_started(channel, &job, existing).await?,
            Err(error) => context.answer_failure(channel, error).await?,
        }
        Ok(true)
    }

    /// Attaches the client to the job of its `run`. Returns whether the channel can carry a further
    /// request.
    async fn attach_started(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        run: &Run,
        job: &Arc<Job>,
        existing: bool,
    ) -> Result<bool, Error> {
        send_started(channel, job, existing).await?;
        let request = AttachToJob {
            job: job.id().to_owned(),
            // The client of a new job gets every byte.
            stdout: (!existing).then_some(0),
            terminal: run.terminal,
            ..AttachToJob::default()
        };
        self.attach(channel, context, job, &request, None).await
    }

    /// Serves a client that follows a job. Returns whether the channel can carry a further request.
    async fn attach(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        job: &Arc<Job>,
        request: &AttachToJob,
        offered: Option<&OfferedKeyboard>,
    ) -> Result<bool, Error> {
        let attached = serve_attach(channel, context, &self.jobs, job, request, offered);
        self.until_hand_over(attached).await?
    }

    /// Serves a client of a job until the server hands its work over to the next one, at which the
    /// client continues.
    async fn until_hand_over<T>(&self, serving: impl Future<Output = T>) -> Result<T, Error> {
        let _counted = self.hand_over.enter();
        tokio::select! {
            served = serving => Ok(served),
            () = self.hand_over.begun() => Err(draining_error()),
        }
    }

    /// Serves a program that runs until the client has taken everything. Returns whether the
    /// channel can carry a further request.
    async fn serve_job(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        mut started: StartedRun,
    ) -> Result<bool, Error> {
        context.set_activity(&format!("running {}", shown(&started.words)));
        let mut rules = context.rights().watch();
        // They may have changed since they were checked.
        rules.mark_changed();
        let (user, words) = (context.user().clone(), started.words.clone());
        let (root, has_terminal) = (context.root().clone(), started.has_terminal);
        let still = move |rules: &Rights| {
            rules.check(&user, &action(&words), &root).allowed
                && (!has_terminal || may_have_terminal(rules, &user))
        };
        let served = {
            let StartedRun { job, claims, .. } = &mut started;
            let _counted = job.outlives_channel().then(|| self.hand_over.enter());
            let revoked = context.terminate_on_revocation(&mut rules, "run this command", still);
            job.serve(channel, context, revoked, claims, &self.hand_over)
                .await
        };
        context.set_activity(SERVICE);
        match served {
            Ok(Served::Done { continues }) => {
                started.finish();
                Ok(continues)
            }
            Ok(Served::Claimed(claim)) => {
                if let Some(started) = claim.hand_over(started) {
                    self.lost.keep(started, Some(context.clone()));
                }
                let message = "another connection continues the command";
                Err(Error::here(ErrorCode::Superseded, message))
            }
            Err(error @ Error::Lost(_)) if started.job.outlives_channel() => {
                self.lost.keep(started, Some(context.clone()));
                Err(error)
            }
            // The next server takes it up.
            Err(
                error @ Error::Failed {
                    code: ErrorCode::Draining,
                    ..
                },
            ) => Err(error),
            Err(error) => {
                started.end();
                Err(error)
            }
        }
    }

    /// Continues a program on this connection. Returns whether the channel can carry a further
    /// request.
    async fn continue_run(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        request: &Continue,
    ) -> Result<bool, Error> {
        let mut started = match self.lost.claim(&request.job, context).await {
            Ok(started) => started,
            Err(error) => {
                context.answer_failure(channel, error).await?;
                return Ok(true);
            }
        };
        channel.send(&Continued {})?;
        if let Err(error) = channel.flush().await {
            self.lost.keep(started, Some(context.clone()));
            return Err(error);
        }
        started.job.reconnect();
        self.serve_job(channel, context, started).await
    }

    /// Checks a request without looking at rights.
    fn command(
        &self,
        context: &ServiceContext,
        run: &Run,
        body: &[u8],
    ) -> Result<(ExecOptions, Command, Words), Error> {
        let options = self
            .options
            .as_ref()
            .ok_or_else(|| denied("this server runs no commands: it has no way to start them"))?;
        let command = Command::decode(run, body)?;
        if let Some(name) = command.refused_variable() {
            return Err(denied(&format!(
                "a client may not set the variable {name:?}, but only {}",
                CLIENT_VARIABLES.join(", ")
            )));
        }
        let limits = &context.session().limits;
        if run.terminal.is_some() && limits.forbidden.contains(&Facility::Pty) {
            let message = "the key of this session may have no terminal (no-pty)";
            return Err(Error::here(ErrorCode::CredentialLimited, message));
        }
        let command = match &limits.command {
            Some(forced) => command.forced_to(forced)?,
            None => command,
        };
        let words = command.words()?;
        Ok((options.clone(), command, words))
    }

    /// Checks a request, records it and starts the program.
    async fn start(
        &self,
        context: &ServiceContext,
        run: &Run,
        body: &[u8],
    ) -> Result<StartedRun, Error> {
        let (options, command, words) = self.command(context, run, body)?;
        let launcher = options.launcher.clone();
        let on_lost = Duration::from_secs(run.on_lost.into()).min(WAITING_TIME_MAX);
        let has_terminal = run.terminal.is_some();
        let Prepared { id, start } = {
            let (work_context, words, run) = (context.clone(), words.clone(), run.clone());
            let lost = self.lost.clone();
            context
                .blocking("exec run", move |_| {
                    let mut prepared = prepare(&work_context, &options, &command, &words, &run)?;
                    record_start(&work_context, &command, &words, &prepared, false)?;
                    if !on_lost.is_zero() {
                        let folder = lost.create_folder(
                            &prepared.id,
                            &work_context,
                            &words,
                            has_terminal,
                            on_lost,
                        )?;
                        prepared.start.job_folder = folder.into_os_string().into_vec();
                        prepared.start.on_lost = on_lost;
                    }
                    Ok(prepared)
                })
                .await?
        };
        let supervisor = match Supervisor::start(launcher, self.reserve.clone(), start).await {
            Ok(supervisor) => supervisor,
            Err(error) => {
                let (lost, id) = (self.lost.clone(), id.clone());
                let removing = tokio::task::spawn_blocking(move || lost.remove_folder(&id));
                let _ = removing.await;
                return Err(error);
            }
        };
        let job = Foreground::new(supervisor, !on_lost.is_zero());
        let run = self
            .lost
            .register(&id, context, job, words, has_terminal, on_lost);
        Ok(run)
    }

    /// Checks a request, records it and starts the program as a detached job. Once it has begun,
    /// it is done to its end, even if the client is lost. Returns the job, and whether it was there
    /// already.
    async fn detach(
        &self,
        context: &ServiceContext,
        run: &Run,
        body: &[u8],
    ) -> Result<(Arc<Job>, bool), Error> {
        let (options, command, words) = self.command(context, run, body)?;
        let limits = &context.session().limits;
        limits.check_request(SERVICE, Some(DETACH_FEATURE))?;
        if let Some(name) = &run.name {
            check_name(name)?;
        }
        if body.len() as u64 > JOB_COMMAND_BYTES_MAX {
            let message = format!("the command of a job has at most {JOB_COMMAND_BYTES_MAX} bytes");
            return Err(Error::here(ErrorCode::NameRefused, message));
        }
        let launcher = options.launcher.clone();
        let request = hash_request(run, body)?;
        let (jobs, run, work_context) = (self.jobs.clone(), run.clone(), context.clone());
        let beginning = context.blocking("exec detach", move |_| {
            let mut prepared = prepare(&work_context, &options, &command, &words, &run)?;
            prepared.start.has_input = run.input || run.terminal.is_some();
            let session = work_context.session();
            let begun = jobs.begin(session, &run, &request, &words, &prepared)?;
            if let Begun::New(_) = &begun {
                record_start(&work_context, &command, &words, &prepared, true)?;
            }
            Ok((begun, prepared.start))
        });
        let (new, mut start) = match beginning.await? {
            (Begun::New(new), start) => (new, start),
            (Begun::Existing(job), _) => return Ok((job, true)),
        };
        start.job_folder = new.folder().into_os_string().into_vec();
        start.store = Store::Disk;
        start.bytes_max = OUTPUT_BYTES_MAX;
        start.on_lost = Duration::MAX;
        let (table, reserve) = (self.jobs.clone(), self.reserve.clone());
        let starting = tokio::spawn(async move {
            let supervisor = Supervisor::start(launcher, reserve, start).await?;
            let job = new.started(supervisor);
            table.check_started(&job).await;
            Ok::<_, Error>(job)
        });
        let job = starting
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
        Ok((job, false))
    }
}

/// A hash of a request. The name is no part of it, nor what the client does with the job. All
/// login shells are alike: where one runs, it is attached to from any terminal.
fn hash_request(run: &Run, body: &[u8]) -> Result<String, Error> {
    let (run, body) = match run.form {
        CommandForm::Login => (
            Run {
                form: CommandForm::Login,
                ..Run::default()
            },
            &[][..],
        ),
        _ => (
            Run {
                name: None,
                attach: false,
                ..run.clone()
            },
            body,
        ),
    };
    let header = serde_json::to_vec(&run)
        .map_err(|error| Error::here(ErrorCode::BadHeader, error.to_string()))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);
    hasher.update(&[0]);
    hasher.update(body);
    Ok(hasher.finalize().to_hex().to_string())
}

/// Tells the client which job its `run` has started or found.
async fn send_started(channel: &mut Channel, job: &Job, existing: bool) -> Result<(), Error> {
    channel.send(&Started {
        job: job.id().to_owned(),
        existing,
    })?;
    channel.flush().await
}

pub(super) fn describe(status: Status) -> String {
    match status {
        Status::Code(code) => format!("{code}"),
        Status::Signal { signal, .. } => format!("SIG{}", signals::name(signal)),
    }
}
