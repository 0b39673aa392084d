//! A sandbox with its own systemd.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::Outcome;

/// The longest time of a script. It only ends a test that fails.
const PATIENCE: Duration = Duration::from_secs(600);
/// The exit status if the system cannot provide a sandbox.
const NOT_HERE: i32 = 125;
const SANDBOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/sandbox.sh");
/// The functions that every script can use.
const WORDS: &str = include_str!("../systemd/words.sh");

/// Runs `script` in bash as root in a sandbox with its own systemd.
///
/// The command at `binary` is installed as `landline`. The sandbox changes nothing on this machine.
/// Prints SKIPPED and returns `None` if there can be no sandbox.
pub fn under_systemd(binary: &Path, script: &str) -> Option<Outcome> {
    let mut command = Command::new("setpriv");
    // If the test is killed, the sandbox ends too.
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
        eprintln!("SKIPPED: a sandbox with systemd needs Linux, and setpriv (util-linux)");
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
