//! The server's half of the service.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use data_encoding::HEXLOWER;
use landline_proto::{BodySize, ErrorCode, Header, Name};
use landline_supervisor::{
    protocol::{Order, Report, Size, Start, Status, Step},
    signals,
};

use super::{
    Launcher,
    command::{Command, Lookup, SFTP_SERVER, Words, look_up},
    job::{Job, OUTPUT_WINDOW},
    messages::{REQUESTS, Run, SERVER_RUNNING, SERVICE, Started, TYPES},
    supervisor::Supervisor,
};
use crate::{
    Error,
    activity::Activity,
    crypto::random,
    keys::Facility,
    net::{Channel, Received},
    rights::{Action, EXEC, Right, Rights, Role, SHELL},
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture},
};

/// How long a supervisor may take to start a program.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// A line for a shell needs the word `shell`, too.
const RIGHT: Right = Right::Word("exec");

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["exec.run"],
    types: TYPES,
    requests: &REQUESTS,
    other_states: &[&SERVER_RUNNING],
    rights: &[
        ("run", RIGHT),
        ("signal", RIGHT),
        ("resize", RIGHT),
        ("done", RIGHT),
        ("bytes", RIGHT),
        ("ack", RIGHT),
        ("end", RIGHT),
        ("stop", RIGHT),
        ("error", RIGHT),
    ],
    words: &[&EXEC, &SHELL],
    request_features: &[("run", "exec.run")],
    kept_by: RIGHT,
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
            let mut has_run = false;
            loop {
                let header = match context.next_request(channel).await {
                    Ok(Some(header)) => header,
                    Ok(None) => return Ok(()),
                    // A client that has its result may be gone before it reads our `done`.
                    Err(Error::Lost(_)) if has_run => return Ok(()),
                    Err(error) => return Err(error),
                };
                let run: Run = header.read()?;
                let body = receive_body(channel, &header).await?;
                match self.start(context, &run, &body).await {
                    Ok(started) => {
                        has_run = serve_job(channel, context, &run, started).await?;
                        if !has_run {
                            return Ok(());
                        }
                    }
                    Err(error) => context.answer_failure(channel, error).await?,
                }
            }
        })
    }
}

/// A program that runs.
struct StartedJob {
    id: String,
    job: Job,
    words: Words,
}

impl ExecService {
    /// Checks a request, records it and starts the program.
    async fn start(
        &self,
        context: &ServiceContext,
        run: &Run,
        body: &[u8],
    ) -> Result<StartedJob, Error> {
        let options = self
            .options
            .as_ref()
            .ok_or_else(|| denied("this server runs no commands: it has no way to start them"))?;
        let command = Command::decode(run, body)?;
        if let Some(name) = command.refused_variable() {
            return Err(denied(&format!(
                "a client may not set the variable {name:?}"
            )));
        }
        let limits = &context.session().limits;
        if run.terminal.is_some() && limits.forbidden.contains(&Facility::Pty) {
            let message = "the key of this session may have no terminal (no-pty)";
            return Err(Error::here(ErrorCode::CredentialLimited, message));
        }
        let words = command.words()?;
        let id = new_id();
        let start = {
            let (context, options) = (context.clone(), options.clone());
            let (words, run, id) = (words.clone(), run.clone(), id.clone());
            let work_context = context.clone();
            context
                .blocking("exec run", move |_| {
                    prepare(&work_context, &options, &command, &words, &run, &id)
                })
                .await?
        };
        let launcher = options.launcher.clone();
        let launched = tokio::task::spawn_blocking(move || launcher.launch()).await;
        let launched = launched.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
        let socket = launched.map_err(|error| Error::io("the supervisor", &error))?;
        let mut supervisor = Supervisor::new(socket)?;
        let program = String::from_utf8_lossy(&start.program).into_owned();
        let folder = String::from_utf8_lossy(&start.folder).into_owned();
        supervisor.order(&Order::Start(Box::new(start)));
        let report = tokio::time::timeout(START_TIME_MAX, supervisor.next()).await;
        let report =
            report.map_err(|_| Error::here(ErrorCode::Io, "the supervisor does not answer"))?;
        match report? {
            Report::Started { .. } => Ok(StartedJob {
                id,
                job: Job::new(supervisor),
                words,
            }),
            Report::Failed { step, errno } => Err(not_started(step, errno, &program, &folder)),
            _ => Err(Error::here(
                ErrorCode::Io,
                "the supervisor broke its protocol",
            )),
        }
    }
}

/// Serves a program that runs until the client has taken everything. Returns whether the channel
/// can carry a further request.
async fn serve_job(
    channel: &mut Channel,
    context: &ServiceContext,
    run: &Run,
    mut started: StartedJob,
) -> Result<bool, Error> {
    channel.send(&Started {
        job: started.id.clone(),
    })?;
    channel.flush().await?;
    context.set_activity(&format!("running {}", shown(&started.words)));
    let timeout = run
        .timeout
        .map(|seconds| Duration::from_secs(seconds.into()));
    let mut rules = context.rights().watch();
    let (user, words) = (context.user().clone(), started.words.clone());
    let root = context.root().clone();
    let still = move |rules: &Rights| rules.check(&user, &action(&words), &root).allowed;
    let revoked = context.terminate_on_revocation(&mut rules, "run this command", still);
    let served = started.job.serve(channel, context, timeout, revoked).await;
    let (exit, stdout, stderr) = match started.job.exit() {
        Some((exit, stdout, stderr)) => (Some(exit), stdout, stderr),
        None => (None, 0, 0),
    };
    context.note(|user, session| Activity::RunEnd {
        user,
        session,
        job: started.id,
        status: exit.map(|exit| describe(exit.status)),
        stdout,
        stderr,
    });
    context.set_activity(SERVICE);
    served
}

/// What is started, after all checks. The start is recorded durably. Blocking.
fn prepare(
    context: &ServiceContext,
    options: &ExecOptions,
    command: &Command,
    words: &Words,
    run: &Run,
    id: &str,
) -> Result<Start, Error> {
    let (user, rules) = (context.user(), context.rights().rules());
    if !options.share_uid && rules.role(user) < Role::Owner {
        return Err(denied(
            "commands run as the user of the server, so only owners may run them here",
        ));
    }
    let verdict = rules.check(user, &action(words), context.root());
    if !verdict.allowed {
        return Err(denied(&format!(
            "you may not run {}: {}",
            shown(words),
            verdict.reason
        )));
    }
    let folder = folder(context, &rules, command)?;
    let (program, arguments) = match words {
        Words::Argv(words) => {
            let name = words.first().cloned().unwrap_or_default();
            let from = Path::new(OsStr::from_bytes(&folder));
            (find(&name, from, &options.path)?, words.clone())
        }
        Words::Sftp => {
            let program = options.sftp_server.as_ref().ok_or_else(|| {
                let message = "this server has no program for sftp: see its setting sftp_server";
                Error::here(ErrorCode::NoProgram, message)
            })?;
            let program = program.as_os_str().as_bytes().to_vec();
            (program, vec![SFTP_SERVER.to_vec()])
        }
        Words::Shell(line) => {
            let shell = options.shell.as_os_str().as_bytes().to_vec();
            let name = options
                .shell
                .file_name()
                .map(|name| name.as_bytes().to_vec());
            let arguments = vec![name.unwrap_or_default(), b"-c".to_vec(), line.clone()];
            (shell, arguments)
        }
    };
    let environment = environment(options, context.root().home_path(), id, command);
    context.record_blocking(|user, session| Activity::RunStart {
        user,
        session,
        job: id.to_owned(),
        command: Name(words.to_line()),
        shell: matches!(words, Words::Shell(_)),
        folder: Name(folder.clone()),
        environment: command.variable_names(),
    })?;
    Ok(Start {
        program,
        arguments,
        environment,
        folder,
        terminal: run.terminal.map(|size| Size {
            rows: size.rows,
            columns: size.columns,
        }),
        has_input: true,
        window: OUTPUT_WINDOW,
        ..Start::default()
    })
}

/// The right that a command needs.
fn action(words: &Words) -> Action {
    match words {
        Words::Argv(words) => Action::Word {
            name: EXEC.name.to_owned(),
            arguments: words.clone(),
        },
        Words::Sftp => Action::Word {
            name: EXEC.name.to_owned(),
            arguments: vec![SFTP_SERVER.to_vec()],
        },
        Words::Shell(_) => Action::Word {
            name: SHELL.name.to_owned(),
            arguments: Vec::new(),
        },
    }
}

/// The working folder: what the client names, as the user writes paths, or the home. A user
/// without the right to a shell may only name a folder of `files`.
fn folder(context: &ServiceContext, rules: &Rights, command: &Command) -> Result<Vec<u8>, Error> {
    let user = context.user();
    let Some(named) = &command.folder else {
        return home(context, rules);
    };
    if !rules.has(user, Right::Word(SHELL.name)) {
        let verdict = rules.check(user, &Action::Read(named.clone()), context.root());
        if !verdict.allowed {
            return Err(denied(&format!(
                "you may not run commands in {}: {}",
                String::from_utf8_lossy(named),
                verdict.reason
            )));
        }
    }
    Ok(absolute(context, &rules.locate(user, named)?))
}

/// The user's home.
fn home(context: &ServiceContext, rules: &Rights) -> Result<Vec<u8>, Error> {
    let mut home = absolute(context, &rules.locate(context.user(), b"~/")?);
    while home.len() > 1 && home.ends_with(b"/") {
        home.pop();
    }
    Ok(home)
}

/// The absolute form of a path of this server.
fn absolute(context: &ServiceContext, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let below = path.strip_prefix(b"~").unwrap_or(path);
    let below = below.strip_prefix(b"/").unwrap_or(below);
    let home = context.root().home_path();
    home.join(OsStr::from_bytes(below))
        .into_os_string()
        .into_vec()
}

/// The program of this name.
///
/// # Errors
/// `no-program`, `not-executable`.
fn find(name: &[u8], folder: &Path, path: &str) -> Result<Vec<u8>, Error> {
    let shown = String::from_utf8_lossy(name);
    match look_up(name, folder, path) {
        Lookup::Program(program) => Ok(program.into_os_string().into_vec()),
        Lookup::NotExecutable => {
            let message = format!("{shown} is not executable");
            Err(Error::here(ErrorCode::NotExecutable, message))
        }
        Lookup::Missing => {
            let message = format!("there is no program {shown}");
            Err(Error::here(ErrorCode::NoProgram, message))
        }
    }
}

/// Everything that the program finds in its environment.
///
/// `HOME` is that of the account that serves, as `USER` is: a program obeys the configuration that
/// it finds there, so it must not be a folder that a user with few commands can write to.
fn environment(options: &ExecOptions, home: &Path, job: &str, command: &Command) -> Vec<Vec<u8>> {
    let entry = |name: &str, value: &[u8]| [name.as_bytes(), b"=", value].concat();
    let mut environment = options.environment.clone();
    if !options.user.is_empty() {
        environment.extend(["USER", "LOGNAME"].map(|name| entry(name, options.user.as_bytes())));
    }
    environment.extend([
        entry("HOME", home.as_os_str().as_bytes()),
        entry("SHELL", options.shell.as_os_str().as_bytes()),
        entry("PATH", options.path.as_bytes()),
        entry("LANDLINE_JOB", job.as_bytes()),
    ]);
    // Most programs take the first entry of a name, so there must be one only.
    for entry in &command.environment {
        environment.retain(|other| name_of(other) != name_of(entry));
        environment.push(entry.clone());
    }
    environment
}

/// The name of a variable in `NAME=VALUE`.
fn name_of(entry: &[u8]) -> &[u8] {
    entry.split(|byte| *byte == b'=').next().unwrap_or(entry)
}

/// Receives the body of a request.
async fn receive_body(channel: &mut Channel, header: &Header) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    if header.body() == Some(BodySize::Known(0)) {
        return Ok(body);
    }
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match channel.receive_data(&mut buffer).await? {
            Received::Data(_) => body.extend_from_slice(&buffer),
            Received::End(_) => return Ok(body),
        }
    }
}

/// Why a supervisor could not start the program.
fn not_started(step: Step, errno: u32, program: &str, folder: &str) -> Error {
    let error = std::io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0));
    let kind = error.kind();
    let (code, message) = match step {
        Step::Folder => (
            ErrorCode::NotFound,
            format!("the working folder {folder} cannot be entered: {error}"),
        ),
        Step::Program if kind == std::io::ErrorKind::NotFound => (
            // The file is there: its interpreter is not.
            ErrorCode::NotExecutable,
            format!("{program} cannot be executed: its interpreter is missing"),
        ),
        Step::Program => (
            ErrorCode::NotExecutable,
            format!("{program} cannot be executed: {error}"),
        ),
        Step::Resources => (
            ErrorCode::Io,
            format!("no process, pipe or terminal for {program}: {error}"),
        ),
        Step::Store => (
            ErrorCode::Io,
            format!("the folder of the command cannot be used: {error}"),
        ),
    };
    Error::here(code, message)
}

/// The command in a few characters.
fn shown(words: &Words) -> String {
    let line = words.to_line();
    String::from_utf8_lossy(&line).chars().take(100).collect()
}

fn describe(status: Status) -> String {
    match status {
        Status::Code(code) => format!("{code}"),
        Status::Signal { signal, .. } => format!("SIG{}", signals::name(signal)),
    }
}

/// An id for a job: 16 hexadecimal digits.
fn new_id() -> String {
    HEXLOWER.encode(&random::<8>())
}

fn denied(message: &str) -> Error {
    Error::here(ErrorCode::Denied, message)
}
