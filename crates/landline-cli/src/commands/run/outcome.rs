//! How a command ended: exit statuses, and what a failure means for one.

use std::io;

use landline::exec::CommandExit;
use serde_json::{Value, json};

use crate::{
    context::{Context, ExitStatus},
    failure::Failure,
};

/// The status when the connection, the login or the protocol fails, as ssh has it.
pub(in crate::commands) const NOT_CONNECTED: u8 = 255;
/// The status when the server has ended the command because its time was over, as timeout(1).
pub(in crate::commands) const TIMED_OUT: u8 = 124;
/// The status of a program that may not be executed, as shells have it.
pub(in crate::commands) const NOT_EXECUTABLE: u8 = 126;
/// The status when there is no such program, as shells have it.
pub(in crate::commands) const NO_PROGRAM: u8 = 127;
/// What is added to the number of a signal, as shells do.
pub(in crate::commands) const SIGNAL_BASE: u8 = 128;

/// What is printed when a process of the command still had an output open.
pub(super) const LEFT_OPEN: &str = "warning: the command has ended, but a process that it left \
                                    behind still had its output open; what that process prints \
                                    from now on is lost";
/// What to do then.
const LEFT_OPEN_ADVICE: &str =
    "have the command wait for the process, or have the process write to a file";

/// The exit status of this process after a command, which is described if wanted.
///
/// # Errors
/// Output was lost.
pub(in crate::commands) fn finish(
    context: &Context,
    exit: &CommandExit,
    job: &str,
) -> Result<ExitStatus, Failure> {
    if context.json {
        context.err.print_json(&describe_exit(exit, job));
    } else if exit.left_open {
        context
            .err
            .print(&format!("{LEFT_OPEN}\n{LEFT_OPEN_ADVICE}"));
    }
    check_outputs(exit)?;
    Ok(status(exit))
}

/// How a command ended, for programs.
pub(super) fn describe_exit(exit: &CommandExit, job: &str) -> Value {
    json!({
        "event": "exit", "job": job, "status": status(exit).0, "code": exit.code,
        "signal": exit.signal.as_ref().map(|(name, _)| name), "timed_out": exit.timed_out,
        "user_time": exit.user_time.as_secs_f64(),
        "system_time": exit.system_time.as_secs_f64(), "memory": exit.memory_bytes,
        "left_open": exit.left_open,
    })
}

/// The exit status of this process for that of the command.
pub(super) fn status(exit: &CommandExit) -> ExitStatus {
    match (&exit.signal, exit.code) {
        _ if exit.timed_out => ExitStatus(TIMED_OUT),
        (Some((_, number)), _) => ExitStatus(SIGNAL_BASE.saturating_add(*number)),
        (None, code) => ExitStatus(code.unwrap_or(NOT_CONNECTED)),
    }
}

/// Fails if output was lost, except because nothing reads it any more.
pub(super) fn check_outputs(exit: &CommandExit) -> Result<(), Failure> {
    let outputs = [
        ("standard output", &exit.stdout_error),
        ("standard error", &exit.stderr_error),
    ];
    for (name, error) in outputs {
        if let Some(error) = error
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(landline::Error::io(name, error).into());
        }
    }
    Ok(())
}

/// The failure of a forward, with the status that ssh has for it.
pub(super) fn with_status_of_forward(failure: Failure) -> Failure {
    let failure = match failure.code.as_str() {
        "interrupted" | "usage" => return failure,
        "lost" => failure.with_advice("connections that were open are lost; run the command again"),
        _ => failure,
    };
    failure.with_status(NOT_CONNECTED)
}

/// As [`with_status_of_ssh`], for a job. One that is not there has the status of a failed
/// connection, not that of a program that cannot run.
pub(in crate::commands) fn with_status_of_job(failure: Failure) -> Failure {
    match failure.code.as_str() {
        "not-found" => failure.with_status(NOT_CONNECTED),
        "lost" => failure
            .with_advice("run the command again to follow the job; landline jobs shows its state")
            .with_status(NOT_CONNECTED),
        _ => with_status_of_ssh(failure),
    }
}

/// The failure with the status that ssh and shells have for it, and with advice for commands.
pub(in crate::commands) fn with_status_of_ssh(failure: Failure) -> Failure {
    let status = match failure.code.as_str() {
        "interrupted" | "usage" => return failure,
        "no-program" => NO_PROGRAM,
        "not-executable" | "denied" | "credential-limited" | "not-found" => NOT_EXECUTABLE,
        _ => NOT_CONNECTED,
    };
    let failure = match failure.code.as_str() {
        "no-program" => failure.with_advice(
            "words of a shell, such as cd, need --shell; after --, each argument is its own word",
        ),
        "lost" => failure.with_advice(
            "the command may have run in part or as a whole; look before you run it again",
        ),
        _ => failure,
    };
    failure.with_status(status)
}
