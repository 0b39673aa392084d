//! What `--verbose` and `--debug` print: the steps of a connection, with times, on standard error.

use std::{env::consts, fmt::Display, time::Instant};

use log::{LevelFilter, Log, Metadata, Record};
use serde_json::json;

use crate::{context::Context, settings, streams::OutputStream, terminal::shown_line};

/// Variables that change what landline does. Their values are paths, names and numbers.
const VARIABLES: [&str; 13] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "LANDLINE_PASSWORD_FILE",
    "TERM",
    "LC_ALL",
    "LC_MESSAGES",
    "LANG",
    "LISTEN_FDS",
];

/// Prints the steps of connections from now on, if `is_verbose` or `is_debug`.
pub(crate) fn start(context: &Context, is_verbose: bool, is_debug: bool) {
    let level = match (is_verbose, is_debug) {
        (_, true) => LevelFilter::Trace,
        (true, false) => LevelFilter::Debug,
        (false, false) => return,
    };
    let trace = Trace {
        out: context.err.clone(),
        is_json: context.json,
        start: Instant::now(),
    };
    if is_debug {
        describe_process(context, &trace);
    }
    // This process starts one trace.
    if log::set_boxed_logger(Box::new(trace)).is_ok() {
        log::set_max_level(level);
    }
}

/// Prints what a report of a fault needs. Arguments are left out: an invite is a secret.
fn describe_process(context: &Context, trace: &Trace) {
    trace.print(format_args!("landline {}", env!("CARGO_PKG_VERSION")));
    trace.print(format_args!("{} on {}", consts::OS, consts::ARCH));
    match context.client_state() {
        Ok(folder) => trace.print(format_args!("the state folder is {}", folder.display())),
        Err(failure) => trace.print(failure.what),
    }
    let file = settings::find_config_file(&context.environment, "server.toml");
    match file {
        Some(file) => trace.print(format_args!(
            "the server's settings are in {}",
            file.display()
        )),
        None => trace.print("there is no server.toml"),
    }
    for name in settings::variables().chain(VARIABLES) {
        if let Some(value) = context.environment.path(name) {
            trace.print(format_args!("{name}={}", value.display()));
        }
    }
}

/// Prints lines with the time since the start.
struct Trace {
    out: OutputStream,
    is_json: bool,
    start: Instant,
}

impl Trace {
    fn print(&self, what: impl Display) {
        let time = self.start.elapsed();
        if self.is_json {
            let line = json!({"trace": what.to_string(), "seconds": time.as_secs_f64()});
            self.out.print_json(&line);
            return;
        }
        let line = format!("{:9.1} ms  {what}", time.as_secs_f64() * 1000.0);
        self.out.print(&shown_line(&line));
    }
}

impl Log for Trace {
    /// Other crates say little that helps, and may say what is secret.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("landline")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.print(record.args());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::TestContext;

    fn record(trace: &Trace, target: &str, text: &str) {
        trace.log(
            &Record::builder()
                .target(target)
                .level(log::Level::Debug)
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn trace_of(test: &TestContext, is_json: bool) -> Trace {
        Trace {
            out: test.context.err.clone(),
            is_json,
            start: Instant::now(),
        }
    }

    #[test]
    fn trace_is_safe_for_a_terminal_and_has_only_our_lines() {
        let test = TestContext::new();
        let trace = trace_of(&test, false);
        record(&trace, "landline::net", "\u{1b}[2J one\ntwo");
        record(&trace, "rustls", "of another crate");
        let printed = test.err();
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(
            !printed.contains('\u{1b}') && printed.contains("two"),
            "{printed}"
        );
        assert_eq!(test.out(), "");
    }

    #[test]
    fn trace_is_json_where_failures_are() {
        let test = TestContext::new();
        record(&trace_of(&test, true), "landline", "connecting");
        let line: serde_json::Value = serde_json::from_str(&test.err()).unwrap();
        assert_eq!(line["trace"], "connecting");
    }

    #[test]
    fn debug_report_names_settings() {
        let test = TestContext::new()
            .with_variable("HOME", "/home/alice")
            .with_variable("LANDLINE_LISTEN", "5999");
        describe_process(&test.context, &trace_of(&test, false));
        let printed = test.err();
        for expected in ["HOME=/home/alice", "LANDLINE_LISTEN=5999", consts::OS] {
            assert!(printed.contains(expected), "{printed}");
        }
    }
}
