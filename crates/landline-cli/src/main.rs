//! The `landline` command: arguments, output, prompts. Only this crate prints, asks the user, reads
//! the environment or ends the process.

mod activity_text;
mod addresses;
mod admin_client;
mod advice;
mod arguments;
mod client_settings;
mod codes;
mod commands;
mod connect;
mod context;
mod descriptor;
mod environment;
mod failure;
mod help;
mod hidden;
mod inherited;
mod interruptible;
mod listen_address;
mod local_admin;
mod many_hosts;
mod packaging;
mod passwords;
mod prompter;
mod registration;
mod remote_files;
mod service_manager;
mod settings;
mod signals;
mod ssh_name;
mod streams;
mod suggestions;
mod terminal;
mod terminal_mode;
#[cfg(test)]
mod test_context;
mod tofu;
mod trace;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    ops::ControlFlow::{Break, Continue},
    process::ExitCode,
    time::Duration,
};

use arguments::Arguments;
use commands::{Command, classic};
use context::{Context, ExitStatus, Run};
use failure::Failure;
use tokio::runtime;

/// How long threads may clean up after an interrupted command. A thread that reads standard input
/// may never end.
const CLEAN_UP_TIME: Duration = Duration::from_secs(2);

/// A transfer blocks a thread, a resumed one a second thread, and each login one for a moment.
/// Threads start on demand.
const BLOCKING_THREADS_MAX: usize = 4096;

fn main() -> ExitCode {
    inherited::normalize();
    let mut context = Context::of_process();
    let words = ssh_name::expand(env::args_os().collect());
    let done = run(&mut context, words);
    signals::restore_now();
    match check_output(&context, done) {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.print(&context);
            ExitCode::from(failure.status)
        }
    }
}

/// Runs the command of these words, the first of which is the program's name.
fn run(context: &mut Context, words: Vec<OsString>) -> Result<ExitStatus, Failure> {
    if let Some(done) = hidden::run(context, &words) {
        return done;
    }
    // A command line that cannot be parsed may ask for JSON, too.
    context.json = asks_for_json(&words);
    let words = classic::expand_profile(context, words)?;
    let Arguments { common, command } =
        match Arguments::read(words).map_err(suggestions::keep_close) {
            Ok(arguments) => arguments,
            Err(error) if error.use_stderr() && context.json => {
                return Err(Failure::usage(error.to_string().trim_end()));
            }
            Err(error) if error.use_stderr() => error.exit(),
            Err(help) => return print_help(context, &help),
        };
    context.state = common
        .state
        .or_else(|| context.environment.path("LANDLINE_STATE"));
    context.json = common.json;
    trace::start(context, common.verbose, common.debug);
    let Some(command) = command else {
        context.out.print(&help::overview());
        return Ok(ExitStatus::SUCCESS);
    };
    match command.prepare(context) {
        Continue(command) => run_async(context, command),
        Break(done) => done,
    }
}

/// Prints the help or the version that was asked for.
fn print_help(context: &Context, help: &clap::Error) -> Result<ExitStatus, Failure> {
    let printed = if context.out.is_terminal() {
        help.print()
    } else {
        write!(context.out.raw(), "{}", help.render())
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(output_failure(&error)),
        _ => Ok(ExitStatus::SUCCESS),
    }
}

fn asks_for_json(words: &[OsString]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

fn run_async(context: &Context, command: Command) -> Result<ExitStatus, Failure> {
    inherited::check_descriptor_limit()?;
    let threads = if has_one_task(&command) {
        // Signals are taken even while an output blocks the first thread.
        1
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("the runtime does not start: {error}")))?;
    let done = runtime.block_on(command.run(context));
    runtime.shutdown_timeout(CLEAN_UP_TIME);
    done
}

/// Whether a command does one thing at a time, so that further threads only cost time at its start.
fn has_one_task(command: &Command) -> bool {
    if let Command::RunCommand(run) = command {
        return !run.has_many_hosts();
    }
    matches!(
        command,
        Command::Shell(_)
            | Command::Watch(_)
            | Command::Attach(_)
            | Command::Jobs(_)
            | Command::Logs(_)
            | Command::Wait(_)
            | Command::Kill(_)
            | Command::Ping(_)
            | Command::Who(_)
    )
}

/// Fails a command whose output could not be written. A closed pipe is no failure.
///
/// A status that is a result, such as that of `check`, stays.
fn check_output(
    context: &Context,
    done: Result<ExitStatus, Failure>,
) -> Result<ExitStatus, Failure> {
    let error = context.out.take_error();
    match (done, error) {
        (Ok(ExitStatus::SUCCESS), Some(error)) => Err(output_failure(&error)),
        (Ok(status), Some(error)) => {
            output_failure(&error).print(context);
            Ok(status)
        }
        (done, _) => done,
    }
}

fn output_failure(error: &io::Error) -> Failure {
    landline::Error::io("standard output", error).into()
}

#[cfg(test)]
mod tests {
    use test_context::TestContext;

    use super::*;

    #[test]
    fn bare_command_lists_the_commands_on_stdout() {
        let mut test = TestContext::new();
        let done = run(&mut test.context, vec!["landline".into()]);
        assert_eq!(done.unwrap(), ExitStatus::SUCCESS);
        assert_eq!(test.out(), help::overview() + "\n");
        assert_eq!(test.err(), "");
    }
}
