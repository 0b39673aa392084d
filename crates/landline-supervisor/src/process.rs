//! Starting the program.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    process::{Command, Stdio},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, grantpt, openpt, unlockpt},
    termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr,
        tcsetwinsize,
    },
};

use crate::{
    group::Group,
    platform,
    protocol::{Size, Start, Step},
};

/// How much output waits in the pipe of a program whose output is stored, in bytes.
#[cfg(target_os = "linux")]
const STORED_PIPE_BYTES: usize = 128 * 1024;

/// The program that runs, and this side of its streams. None of them blocks.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Where its input is written, if it has input.
    pub(crate) input: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    /// A program with a terminal has no standard error.
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) pty: Option<Pty>,
}

/// The program's terminal.
#[derive(Debug)]
pub(crate) struct Pty {
    /// This side of it, to change its size.
    pub(crate) descriptor: OwnedFd,
    /// The program's side. While it is open, the terminal does not end, even if the program closes
    /// it.
    pub(crate) program_side: Option<OwnedFd>,
}

/// Starts a program in a session of its own, and in this control group.
///
/// # Errors
/// What failed, and the system's reason.
pub(crate) fn start(start: &Start, group: Option<&Group>) -> Result<Process, (Step, io::Error)> {
    let folder = OsString::from_vec(start.folder.clone());
    rustix::process::chdir(folder.as_os_str()).map_err(|errno| (Step::Folder, errno.into()))?;
    // A program that cannot be in the group runs without one.
    let entrance = group.and_then(|group| group.open_entrance().ok());
    let started = match start.terminal {
        None => start_with_pipes(start, entrance),
        Some(size) => start_with_terminal(start, size, entrance),
    };
    // The supervisor keeps no folder busy.
    let _ = rustix::process::chdir("/");
    started
}

fn start_with_pipes(start: &Start, entrance: Option<File>) -> Result<Process, (Step, io::Error)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(resources);
    let ((stdout_read, stdout), (stderr_read, stderr)) = (pipe()?, pipe()?);
    let (stdin, input) = if start.has_input {
        let (stdin, input) = pipe()?;
        (Stdio::from(stdin), Some(input))
    } else {
        (Stdio::null(), None)
    };
    #[cfg(target_os = "linux")]
    if start.store == crate::protocol::Store::Disk {
        // So the program seldom waits for this process. The system may have a lower limit.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, STORED_PIPE_BYTES);
    }
    for own in [&stdout_read, &stderr_read].into_iter().chain(&input) {
        set_nonblocking(own)?;
    }
    let mut command = command(start);
    command
        .stdin(stdin)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    Ok(Process {
        pid: spawn(&mut command, false, entrance)?,
        input,
        stdout: stdout_read,
        stderr: Some(stderr_read),
        pty: None,
    })
}

fn start_with_terminal(
    start: &Start,
    size: Size,
    entrance: Option<File>,
) -> Result<Process, (Step, io::Error)> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).map_err(resources)?;
    grantpt(&terminal).map_err(resources)?;
    unlockpt(&terminal).map_err(resources)?;
    rustix::io::fcntl_setfd(&terminal, rustix::io::FdFlags::CLOEXEC).map_err(resources)?;
    let name = rustix::pty::ptsname(&terminal, Vec::new()).map_err(resources)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program_side =
        rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).map_err(resources)?;
    set_size(&terminal, size);
    set_modes(&program_side, &start.modes).map_err(resources)?;
    set_nonblocking(&terminal)?;
    let end = || {
        program_side
            .try_clone()
            .map_err(|error| (Step::Resources, error))
    };
    let mut command = command(start);
    command
        .stdin(Stdio::from(end()?))
        .stdout(Stdio::from(end()?))
        .stderr(Stdio::from(end()?));
    let pid = spawn(&mut command, true, entrance)?;
    let copy = || {
        terminal
            .try_clone()
            .map_err(|error| (Step::Resources, error))
    };
    Ok(Process {
        pid,
        input: Some(copy()?),
        stdout: copy()?,
        stderr: None,
        pty: Some(Pty {
            descriptor: terminal,
            program_side: Some(program_side),
        }),
    })
}

/// Changes the size of a terminal; 0 is no size.
pub(crate) fn set_size(terminal: &OwnedFd, size: Size) {
    if size.rows > 0 && size.columns > 0 {
        let _ = tcsetwinsize(
            terminal,
            Winsize {
                ws_row: size.rows,
                ws_col: size.columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        );
    }
}

/// Characters with a function at a terminal, by their numbers in RFC 4254, section 8.
const CHARACTERS: [(u8, SpecialCodeIndex); 11] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
];
/// Modes of the input, by their numbers.
const INPUT_MODES: [(u8, InputModes); 3] = [
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (42, InputModes::IUTF8),
];
/// Local modes, by their numbers.
const LOCAL_MODES: [(u8, LocalModes); 1] = [(53, LocalModes::ECHO)];

/// Sets modes of a terminal: numbers and values of RFC 4254, section 8. Others are ignored.
fn set_modes(terminal: &OwnedFd, modes: &[(u8, u8)]) -> rustix::io::Result<()> {
    let mut state = tcgetattr(terminal)?;
    state.input_modes.insert(InputModes::IUTF8);
    for (mode, value) in modes {
        for (_, index) in CHARACTERS.iter().filter(|(number, _)| number == mode) {
            state.special_codes[*index] = *value;
        }
        for (_, flag) in INPUT_MODES.iter().filter(|(number, _)| number == mode) {
            state.input_modes.set(*flag, *value != 0);
        }
        for (_, flag) in LOCAL_MODES.iter().filter(|(number, _)| number == mode) {
            state.local_modes.set(*flag, *value != 0);
        }
    }
    tcsetattr(terminal, OptionalActions::Now, &state)
}

fn command(start: &Start) -> Command {
    let string = |bytes: &Vec<u8>| OsString::from_vec(bytes.clone());
    let mut command = Command::new(string(&start.program));
    let mut arguments = start.arguments.iter();
    if let Some(name) = arguments.next() {
        command.arg0(string(name));
    }
    command.args(arguments.map(string)).env_clear();
    for entry in &start.environment {
        // A name may begin with "=", and nothing says what that means: it is not passed on.
        let split = entry.iter().position(|byte| *byte == b'=');
        if let Some((name, value)) = split
            .filter(|at| *at > 0)
            .and_then(|at| entry.split_at_checked(at))
        {
            command.env(
                string(&name.to_vec()),
                string(&value.get(1..).unwrap_or_default().to_vec()),
            );
        }
    }
    command
}

#[allow(unsafe_code, reason = "what runs between fork and exec")]
fn spawn(
    command: &mut Command,
    has_terminal: bool,
    entrance: Option<File>,
) -> Result<u32, (Step, io::Error)> {
    // SAFETY: the closure allocates nothing and calls async-signal-safe functions only.
    unsafe {
        command.pre_exec(move || {
            if let Some(entrance) = &entrance {
                let _ = rustix::io::write(entrance, b"0");
            }
            rustix::process::setsid()?;
            if has_terminal {
                platform::take_terminal()?;
            }
            platform::reset_signals();
            platform::close_on_exec();
            Ok(())
        });
    }
    let child = command.spawn().map_err(|error| (Step::Program, error))?;
    // Children are collected by `platform::reap`, all alike.
    Ok(child.id())
}

fn set_nonblocking(descriptor: &OwnedFd) -> Result<(), (Step, io::Error)> {
    fcntl_setfl(descriptor, OFlags::NONBLOCK).map_err(resources)
}

fn resources(errno: rustix::io::Errno) -> (Step, io::Error) {
    (Step::Resources, errno.into())
}
