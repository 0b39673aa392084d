//! `landline audit`: prints and verifies the audit log of a server.

use clap::{Args, Subcommand};
use landline::{
    admin::audit_log::{self, AuditReport, ShowAudit},
    audit::{LogLine, Reader, Since},
};
use serde_json::{Value, json};

use crate::{
    admin_client::connect_to,
    arguments::On,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    local_admin,
    terminal::shown_line,
};

/// The fields that are printed first; the others follow by name.
const FIRST: [&str; 4] = ["user", "session", "peer", "source"];

/// Show or verify the audit log
///
/// Reads the files of this machine's server directly, so it works while the server runs, hangs or
/// is stopped. With --on, it asks another server, where you must be an admin.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  landline audit show --since 1d
  landline audit verify --on nas")]
pub(crate) struct Audit {
    #[command(flatten)]
    on: On,
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
    Show(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// Only what this user did, or what was done to this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only lines from TIME on
    ///
    /// TIME is an age (90s, 30m, 1h, 2d), a day in UTC (2026-11-20), or a moment
    /// (2026-11-20T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only the last N of these lines [default: all, with --on 10000]
    #[arg(long, value_name = "N")]
    last: Option<u64>,
}

impl Run for Audit {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        if let Some(target) = &self.on.host {
            let (mut channel, _) = connect_to(context, target, &self.on).await?;
            match self.action {
                AuditAction::Verify => {
                    let report = audit_log::verify(&mut channel).await?;
                    channel.finish().await;
                    verify(context, &report)?;
                }
                AuditAction::Show(options) => {
                    let mut shown = Shown::new(context);
                    let unreadable =
                        audit_log::show(&mut channel, &options.request(), |line| shown.take(line))
                            .await?;
                    channel.finish().await;
                    shown.report(unreadable);
                }
            }
            return Ok(ExitStatus::SUCCESS);
        }
        let state = context.server_state()?;
        let reader = Reader::open(&state)?.ok_or_else(|| local_admin::no_server(&state))?;
        match self.action {
            AuditAction::Verify => verify(context, &reader.verify()?.into())?,
            AuditAction::Show(options) => options.show(context, &reader)?,
        }
        Ok(ExitStatus::SUCCESS)
    }
}

impl Show {
    fn includes(&self, line: &LogLine) -> bool {
        self.user.as_deref().is_none_or(|user| line.is_of(user))
            && self.since.is_none_or(|since| since.includes(line))
    }

    fn request(self) -> ShowAudit {
        ShowAudit {
            user: self.user,
            since: self.since.map(|since| since.to_string()),
            last: self.last,
        }
    }

    fn show(&self, context: &Context, reader: &Reader) -> Result<(), Failure> {
        let mut skipped = 0;
        if let Some(last) = self.last {
            let mut count = 0_u64;
            reader.lines(|line, _| {
                count += u64::from(self.includes(line));
                Ok(())
            })?;
            skipped = count.saturating_sub(last);
        }
        let mut shown = Shown::new(context);
        let unreadable = reader.lines(|line, text| {
            if self.includes(line) && skipped > 0 {
                skipped -= 1;
            } else if self.includes(line) {
                shown.print(line, text);
            }
            Ok(())
        })?;
        shown.report(unreadable);
        Ok(())
    }
}

/// Prints lines and counts them.
struct Shown<'a> {
    context: &'a Context,
    count: u64,
    /// Lines of another server that could not be read.
    unreadable: u64,
}

impl<'a> Shown<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            count: 0,
            unreadable: 0,
        }
    }

    /// Takes a line from another server.
    fn take(&mut self, line: &[u8]) {
        match (LogLine::parse(line), str::from_utf8(line)) {
            (Ok(parsed), Ok(text)) => self.print(&parsed, text),
            _ => self.unreadable += 1,
        }
    }

    fn print(&mut self, line: &LogLine, text: &str) {
        self.count += 1;
        if self.context.json {
            self.context.out.print(text);
        } else {
            self.context.out.print(&format_line(line));
        }
    }

    fn report(&self, unreadable: u64) {
        let unreadable = unreadable + self.unreadable;
        if unreadable > 0 {
            self.context.err.print(&format!(
                "{unreadable} lines cannot be read; run landline audit verify for details"
            ));
        } else if self.count == 0 {
            self.context.err.print(
                "there are no such lines; run landline audit verify to check for missing ones",
            );
        }
    }
}

fn verify(context: &Context, report: &AuditReport) -> Result<(), Failure> {
    let AuditReport {
        files,
        lines,
        first,
        last,
        seq,
        hash,
        cut_through,
        violations,
        more_violations,
        ..
    } = report;
    if context.json {
        context.out.print_json(&json!(report));
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
    let count = violations.len() as u64 + more_violations;
    if count > 0 || !report.ok {
        let count = if count == 1 {
            "1 violation".to_owned()
        } else {
            format!("{count} violations")
        };
        return Err(Failure::of_audit(format!(
            "audit log verification failed: {count}"
        )));
    }
    if !context.json {
        context.out.print(&shown_line(&format!(
            "verified: {lines} lines in {files} files, {first} to {last}"
        )));
        context
            .out
            .print(&shown_line(&format!("last line {seq} {hash}")));
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
