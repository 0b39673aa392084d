//! `landline audit`: prints and verifies the audit log of this machine's server.

use clap::{Args, Subcommand};
use landline::{
    Error,
    audit::{Line, Reader, Report, Since},
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
                "there is no audit log: no server has run with this state folder",
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
            "{unreadable} lines cannot be read; landline audit verify says where"
        ));
    } else if count == 0 {
        context
            .err
            .print("there are no lines; landline audit verify says whether there were");
    }
    Ok(())
}

fn verify(context: &Context, report: &Report) -> Result<(), Failure> {
    let Report {
        files,
        lines,
        tip,
        times,
        flaws,
    } = report;
    let (first, last) = times.clone().unwrap_or_default();
    if context.json {
        context.out.print_json(&json!({
            "ok": flaws.is_empty(), "files": files, "lines": lines, "first": first, "last": last,
            "seq": tip.seq, "hash": tip.hash.to_string(), "flaws": flaws,
        }));
    } else {
        for flaw in flaws {
            let place = format!("{} line {} (number {})", flaw.file, flaw.line, flaw.seq);
            context
                .out
                .print(&shown_line(&format!("{place}: {}", flaw.problem)));
        }
    }
    if !flaws.is_empty() {
        let count = if flaws.len() == 1 {
            "1 flaw".to_owned()
        } else {
            format!("{} flaws", flaws.len())
        };
        return Err(Failure::of_audit(format!(
            "the audit log is not as it was written: {count}"
        )));
    }
    if !context.json {
        context.out.print(&format!(
            "whole: {lines} lines in {files} files, {first} to {last}\nlast line {} {}",
            tip.seq, tip.hash
        ));
    }
    Ok(())
}

/// Formats a line for people.
fn format_line(line: &Line) -> String {
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
