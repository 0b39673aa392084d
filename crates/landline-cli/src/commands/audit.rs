//! `landline audit`: prints and verifies the audit log of this machine's server.

use clap::{Args, Subcommand};
use landline::{
    Error,
    audit::{LogLine, Reader, Report, Since},
};
use serde_json::{Value, json};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::shown_line,
};

/// The fields that are printed first; the others follow by name.
const FIRST: [&str; 4] = ["user", "session", "peer", "source"];

/// Show or verify the audit log of this machine's server
///
/// Reads the files directly, so it works while the server runs, and without it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline audit show --since 1d")]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: AuditAction,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Verify that no line was edited, moved or removed
    Verify,
    /// Print the audit log
    ///
    /// With --json, prints the lines as they are in the log.
    Show {
        /// Only what this user did, or what was done to this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only lines from TIME on
        ///
        /// TIME is an age (90s, 30m, 1h, 2d), a day in UTC (2026-11-20), or a moment
        /// (2026-11-20T08:00:00Z).
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
    },
}

impl Run for Audit {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let state = context.server_state()?;
        let Some(reader) = Reader::open(&state)? else {
            return Err(Error::state(
                state.display(),
                "there is no audit log, because no server has run with this state folder",
            )
            .into());
        };
        match self.action {
            AuditAction::Verify => verify(context, &reader.verify()?)?,
            AuditAction::Show { user, since } => {
                show(context, &reader, user.as_deref(), since.as_ref())?;
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

fn show(
    context: &Context,
    reader: &Reader,
    user: Option<&str>,
    since: Option<&Since>,
) -> Result<(), Failure> {
    let mut count = 0_u64;
    let unreadable = reader.lines(|line, text| {
        count += 1;
        let is_wanted = user.is_none_or(|user| line.is_of(user))
            && since.is_none_or(|since| since.includes(line));
        if is_wanted && context.json {
            context.out.print(text);
        } else if is_wanted {
            context.out.print(&format_line(line));
        }
    })?;
    if unreadable > 0 {
        context.err.print(&format!(
            "{unreadable} lines cannot be read; run landline audit verify for details"
        ));
    } else if count == 0 {
        context
            .err
            .print("there are no lines; run landline audit verify to check for missing ones");
    }
    Ok(())
}

fn verify(context: &Context, report: &Report) -> Result<(), Failure> {
    let Report {
        files,
        lines,
        head,
        times,
        cut_through,
        violations,
    } = report;
    let (first, last) = times.clone().unwrap_or_default();
    if context.json {
        context.out.print_json(&json!({
            "ok": violations.is_empty(), "files": files, "lines": lines, "first": first, "last": last,
            "seq": head.seq, "hash": head.hash.to_string(), "cut_through": cut_through,
            "violations": violations,
        }));
    } else {
        for violation in violations {
            let place = format!(
                "{} line {} (number {})",
                violation.file, violation.line, violation.seq
            );
            context
                .out
                .print(&shown_line(&format!("{place}: {}", violation.problem)));
        }
    }
    if !violations.is_empty() {
        let count = if violations.len() == 1 {
            "1 violation".to_owned()
        } else {
            format!("{} violations", violations.len())
        };
        return Err(Failure::of_audit(format!(
            "audit log verification failed: {count}"
        )));
    }
    if !context.json {
        context.out.print(&format!(
            "verified: {lines} lines in {files} files, {first} to {last}\nlast line {} {}",
            head.seq, head.hash
        ));
        if *cut_through > 0 {
            context.out.print(&format!(
                "the server has removed the lines up to {cut_through} to limit the size of the log"
            ));
        }
    }
    Ok(())
}

/// Formats a line for people.
fn format_line(line: &LogLine) -> String {
    let mut out = format!("{} {}", line.time, line.event);
    let first = FIRST
        .iter()
        .filter_map(|name| line.fields.get_key_value(*name));
    let others = line
        .fields
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()));
    for (name, value) in first.chain(others) {
        let value = match value {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => {
                text.clone()
            }
            value => value.to_string(),
        };
        out.push_str(&format!(" {name}={value}"));
    }
    shown_line(&out)
}
