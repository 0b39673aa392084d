//! Starting a program: what a request means on this server, and the checks before it runs.

use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    time::Duration,
};

use data_encoding::HEXLOWER;
use landline_proto::{ErrorCode, Name, login::UserName};
use landline_supervisor::protocol::{Size, Start, Step};

use super::{
    ExecOptions,
    command::{Command, Lookup, SFTP_SERVER, Words, look_up},
    foreground::OUTPUT_WINDOW,
    messages::{Run, TerminalSize},
    terminfo::set_terminal_kind,
};
use crate::{
    Error,
    activity::Activity,
    crypto::random,
    rights::{Action, EXEC, OWNERS_ONLY, PTY, Right, Rights, SHELL},
    session::ServiceContext,
};

/// A program that may be started.
pub(super) struct Prepared {
    /// The id of the job.
    pub(super) id: String,
    /// The first order to the supervisor.
    pub(super) start: Start,
}

/// What is started, after all checks. Blocking.
///
/// # Errors
/// `denied`, `credential-limited`, `no-program`, `not-executable`, `name-refused`.
pub(super) fn prepare(
    context: &ServiceContext,
    options: &ExecOptions,
    command: &Command,
    words: &Words,
    run: &Run,
) -> Result<Prepared, Error> {
    let (user, rules) = (context.user(), context.rights().rules());
    if !rules.may_run_commands(user, options.share_uid) {
        return Err(denied(OWNERS_ONLY));
    }
    let verdict = rules.check(user, &action(words), context.root());
    if !verdict.allowed {
        return Err(denied(&format!(
            "you may not run {}: {}",
            shown(words),
            verdict.reason
        )));
    }
    if run.terminal.is_some() && !may_have_terminal(&rules, user) {
        let message = "you may not have a terminal: there is neither pty nor shell in your rights";
        return Err(denied(message));
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
            let arguments = vec![shell_name(options), b"-c".to_vec(), line.clone()];
            (options.shell.as_os_str().as_bytes().to_vec(), arguments)
        }
        // A dash before the name tells a shell that it is a login shell.
        Words::Login => {
            let arguments = vec![[b"-", shell_name(options).as_slice()].concat()];
            (options.shell.as_os_str().as_bytes().to_vec(), arguments)
        }
    };
    let id = new_id();
    let home = context.root().home_path();
    let mut environment = environment(options, home, &id, command);
    if run.terminal.is_some() {
        set_terminal_kind(&mut environment, home);
    }
    let timeout = run
        .timeout
        .map(|seconds| Duration::from_secs(seconds.into()));
    let start = Start {
        program,
        arguments,
        environment,
        folder,
        terminal: run.terminal.map(terminal_size),
        modes: run
            .modes
            .as_chunks()
            .0
            .iter()
            .map(|[mode, value]| (*mode, *value))
            .collect(),
        is_attended: run.terminal.is_some() && (run.attach || !run.detach),
        has_input: true,
        window: OUTPUT_WINDOW,
        timeout,
        ..Start::default()
    };
    Ok(Prepared { id, start })
}

/// The size that a program's terminal gets at first.
fn terminal_size(size: TerminalSize) -> Size {
    let TerminalSize { rows, columns } = size.clamped().unwrap_or(TerminalSize::DEFAULT);
    Size { rows, columns }
}

/// Whether a user may have a terminal.
pub(super) fn may_have_terminal(rules: &Rights, user: &UserName) -> bool {
    [&PTY, &SHELL]
        .iter()
        .any(|word| rules.has(user, Right::Word(word.name)))
}

/// The name of the shell as it is called.
fn shell_name(options: &ExecOptions) -> Vec<u8> {
    let name = options.shell.file_name().unwrap_or_default();
    name.as_bytes().to_vec()
}

/// Records durably that a program is about to start. Blocking.
///
/// # Errors
/// `audit`, `audit-quota`.
pub(super) fn record_start(
    context: &ServiceContext,
    command: &Command,
    words: &Words,
    prepared: &Prepared,
    is_detached: bool,
) -> Result<(), Error> {
    context.record_blocking(|user, session| Activity::RunStart {
        user,
        session,
        job: prepared.id.clone(),
        command: Name(words.to_line()),
        shell: words.needs_shell(),
        detached: is_detached,
        folder: Name(prepared.start.folder.clone()),
        environment: command.variable_names(),
    })
}

/// The right that a command needs.
pub(super) fn action(words: &Words) -> Action {
    match words {
        Words::Argv(words) => Action::Word {
            name: EXEC.name.to_owned(),
            arguments: words.clone(),
        },
        Words::Sftp => Action::Word {
            name: EXEC.name.to_owned(),
            arguments: vec![SFTP_SERVER.to_vec()],
        },
        Words::Shell(_) | Words::Login => Action::Word {
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
/// Why a supervisor could not start the program.
pub(super) fn not_started(step: Step, errno: u32, program: &str, folder: &str) -> Error {
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
            format!("the folder of the job cannot be used: {error}"),
        ),
    };
    Error::here(code, message)
}

/// The command in a few characters.
pub(super) fn shown(words: &Words) -> String {
    let line = words.to_line();
    String::from_utf8_lossy(&line).chars().take(100).collect()
}

/// An id for a job: 16 hexadecimal digits.
fn new_id() -> String {
    HEXLOWER.encode(&random::<8>())
}

pub(super) fn denied(message: &str) -> Error {
    Error::here(ErrorCode::Denied, message)
}
