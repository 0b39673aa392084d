//! Subcommands that landline starts as child processes of itself, and one that `cargo xtask dist`
//! starts. Users do not see them.

use std::{env, ffi::OsString};

use landline::exec::{LocalLauncher, serve_launcher};

use crate::{
    commands::lab,
    context::{Context, ExitStatus},
    failure::Failure,
    packaging, service_manager,
    terminal::shown_line,
};

/// Runs with the words after the name; `None` if they do not fit.
type Hidden = fn(&Context, &[OsString]) -> Option<Result<ExitStatus, Failure>>;

/// The server that `lab models` measures, with the model's name and the parent's process id.
pub(crate) const MODEL_SERVER: &str = "lab-model-server";

/// Writes manual pages, completions and units into a folder.
const PACKAGE_FILES: &str = "package-files";

/// The supervisor of a command that the server runs.
pub(crate) const SUPERVISOR: &str = "supervisor";

/// The process that starts supervisors for a server, on the socket from the service manager.
pub(crate) const LAUNCHER: &str = "launcher";

/// Every hidden subcommand.
const HIDDEN: [(&str, Hidden); 4] = [
    (LAUNCHER, launch),
    (MODEL_SERVER, lab::serve_model),
    (PACKAGE_FILES, packaging::write_files),
    (SUPERVISOR, supervise),
];

/// Runs the hidden subcommand that the command line names; `None` if it names none.
///
/// `main` calls this before the command line is parsed and before there is a second thread: a
/// hidden subcommand may fork.
pub(crate) fn run(context: &Context, words: &[OsString]) -> Option<Result<ExitStatus, Failure>> {
    let [_, name, rest @ ..] = words else {
        return None;
    };
    let (_, run) = HIDDEN.iter().find(|(hidden, _)| name == hidden)?;
    run(context, rest)
}

/// Runs a supervisor, whose standard input is a socket to the server.
fn supervise(_: &Context, words: &[OsString]) -> Option<Result<ExitStatus, Failure>> {
    words.is_empty().then(|| {
        landline_supervisor::main()
            .map(|()| ExitStatus::SUCCESS)
            .map_err(|error| Failure::local(format!("the supervisor does not start: {error}")))
    })
}

/// Starts a supervisor for each connection.
fn launch(context: &Context, words: &[OsString]) -> Option<Result<ExitStatus, Failure>> {
    words.is_empty().then(|| {
        let listener = service_manager::take_unix_socket(&context.environment)?;
        // An upgrade replaces the file, and what starts then is to be of the new release.
        let program = env::current_exe()
            .map_err(|error| Failure::local(format!("the path of this program: {error}")))?;
        let launcher = LocalLauncher::new(program, SUPERVISOR);
        serve_launcher(&listener, &launcher, |error| {
            let line = format!("the supervisor does not start: {error}");
            context.err.print(&shown_line(&line));
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::TestContext;

    #[test]
    fn other_words_are_left_to_the_parser() {
        let test = TestContext::new();
        for words in [
            &["landline"][..],
            &["landline", MODEL_SERVER],
            &["landline", MODEL_SERVER, "telepathy", "1"],
            &["landline", MODEL_SERVER, "tasks", "parent"],
            &["landline", PACKAGE_FILES],
            &["landline", SUPERVISOR, "more"],
            &["landline", LAUNCHER, "more"],
            &["landline", "lab", MODEL_SERVER, "tasks", "1"],
        ] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(run(&test.context, &words).is_none(), "{words:?}");
        }
    }
}
