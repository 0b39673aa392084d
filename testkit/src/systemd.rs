//! A machine with a systemd of its own.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::Outcome;

/// How long a script may take. Generous: it only bounds a test that fails.
const PATIENCE: Duration = Duration::from_secs(600);
/// The exit status by which the sandbox says that there is none to be had.
const NOT_HERE: i32 = 125;
const SANDBOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/sandbox.sh");
/// What every script can use.
const WORDS: &str = include_str!("../systemd/words.sh");

/// Runs `script` in bash, as root, on a machine of its own where systemd runs; the command at
/// `binary` is in there as `landline`. Nothing of it stays on this machine. `None`, said aloud,
/// where that cannot be had.
pub fn under_systemd(binary: &Path, script: &str) -> Option<Outcome> {
    let mut command = Command::new("setpriv");
    // Where the test is killed, the sandbox ends as well.
    command.args([
        "--pdeathsig",
        "TERM",
        "bash",
        SANDBOX,
        "bash",
        "-euc",
        &format!("{WORDS}\n{script}"),
    ]);
    command.stdin(File::open(binary).expect("the command under test"));
    let Ok(child) = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("SKIPPED: a systemd of its own needs Linux, and setpriv (util-linux)");
        return None;
    };
    let id = rustix::process::Pid::from_child(&child);
    let (ended, end) = mpsc::channel::<()>();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            }
        });
        let output = child.wait_with_output().expect("it can be waited for");
        drop(ended);
        output
    });
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NOT_HERE) {
        eprintln!("SKIPPED: {}", stderr.trim());
        return None;
    }
    Some(Outcome {
        status: output.status.code(),
        stdout: output.stdout,
        stderr,
    })
}
