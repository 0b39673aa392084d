//! The `landline` command: arguments, output, progress. The only place that prints, prompts, reads
//! the environment or ends the process.

mod addresses;
mod arguments;
mod commands;
mod connect;
mod environment;
mod failure;
mod local_admin;
mod passwords;
mod profile;
mod registration;
mod service_manager;
mod settings;
mod signals;
mod terminal;
mod tofu;

use std::{net::TcpListener, process::ExitCode, time::Duration};

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;

/// How long the threads of a copy that was broken off may take to clean up. One that waits for
/// standard input never ends.
const CLEAN_UP_TIME: Duration = Duration::from_secs(2);

/// A running copy holds a thread, and a resumed one another, while logins need one each for a
/// moment. Threads that are not needed do not exist.
const BLOCKING_THREADS_MAX: usize = 4096;

fn main() -> ExitCode {
    if let Some(ended) = commands::lab::serve_if_asked() {
        return ended;
    }
    let words = match profile::expand(std::env::args_os().collect()) {
        Ok(words) => words,
        Err(failure) => return exit(Err(failure)),
    };
    let arguments = match Arguments::parse_from(words) {
        // Before there is a second thread.
        Arguments {
            state,
            command: Command::Classic(command),
        } if command.forks() => {
            return exit(
                environment::state(state)
                    .and_then(|state| commands::classic::run_forking(&state, command)),
            );
        }
        arguments => arguments,
    };
    // Before the runtime opens descriptors of its own, which could be taken for the manager's.
    let handed_over = match arguments.command {
        Command::Serve(_) => service_manager::socket(),
        _ => Ok(None),
    };
    let done = match tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let done = runtime.block_on(run(arguments, handed_over));
            runtime.shutdown_timeout(CLEAN_UP_TIME);
            done
        }
        Err(error) => Err(Failure::local(format!(
            "the runtime does not start: {error}"
        ))),
    };
    exit(done)
}

fn exit(done: Result<(), Failure>) -> ExitCode {
    signals::restore_now();
    let lost =
        terminal::lost().map(|error| Err(landline::Error::io("standard output", &error).into()));
    let done = done.and_then(|()| lost.unwrap_or(Ok(())));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_said() {
                terminal::say(&failure.to_string());
            }
            ExitCode::from(failure.status)
        }
    }
}

async fn run(
    arguments: Arguments,
    handed_over: Result<Option<TcpListener>, Failure>,
) -> Result<(), Failure> {
    let state = arguments.state;
    match arguments.command {
        Command::Serve(options) => commands::serve::run(state, options, handed_over).await,
        Command::Config(options) => commands::config::run(state, &options),
        Command::Join(options) => commands::join::run(&environment::state(state)?, options).await,
        Command::Bootstrap(options) => {
            commands::bootstrap::run(&environment::state(state)?, options).await
        }
        Command::Ping(options) => commands::ping::run(&environment::state(state)?, options).await,
        Command::Cp(options) => commands::cp::run(&environment::state(state)?, options).await,
        Command::User(options) => {
            let state = if options.on.is_some() {
                environment::state(state)
            } else {
                settings::server_state(state)
            };
            commands::user::run(&state?, options).await
        }
        Command::Passwd(options) => {
            commands::passwd::run(&environment::state(state)?, options).await
        }
        Command::Who(options) => commands::who::run(&environment::state(state)?, options).await,
        Command::Kick(options) => commands::kick::run(&environment::state(state)?, options).await,
        Command::Secret(options) => commands::secret::run(&settings::server_state(state)?, options),
        Command::Service(what) => commands::service::run(state, what),
        Command::Audit(what) => commands::audit::run(&settings::server_state(state)?, what),
        Command::Classic(command) => {
            commands::classic::run(environment::state(state)?, command).await
        }
        Command::Trust(options) => commands::trust::run(&environment::state(state)?, options),
        Command::Check(options) => commands::check::run(state, options),
        Command::Demo(options) => commands::demo::run(options).await,
        Command::Lab(lab) => commands::lab::run(lab),
    }
}
