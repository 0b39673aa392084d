//! What a copy of trees reports: what it did, and what it did not do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landline::{
    Error, Side,
    files::tree::{EntryFailure, TreeEvents, TreeProgress, TreeSummary, client::TreeReport},
    net::Target,
    proto::ErrorCode,
};
use serde_json::json;

use super::{
    habits::FOLDER_ADVICE, progress::ProgressView, rate, tree::Ends, tree_attempt::PlannedTree,
};
use crate::{
    failure::Failure,
    terminal::{bytes, shown_line},
};

/// How many failures are printed one by one.
const FAILURES_MAX: usize = 20_000;
/// How many files that grew are listed.
const GROWN_MAX: usize = 100;

/// A copy that ended. If it was resumed, what an earlier attempt has stored is in no count of
/// `summary`.
pub(super) struct EndedCopy {
    pub(super) summary: TreeSummary,
    pub(super) place: String,
    /// How many bytes of content this command has sent or received.
    pub(super) moved: u64,
    pub(super) seconds: f64,
    pub(super) was_resumed: bool,
}

impl PlannedTree<'_> {
    pub(super) fn failures(&self) -> MutexGuard<'_, Vec<EntryFailure>> {
        lock(&self.failures)
    }

    /// What an attempt tells while it runs.
    pub(super) fn tree_report(&self, progress: &Arc<TreeProgress>) -> TreeReport {
        let (failures, changes) = (self.failures.clone(), self.changes.clone());
        let grown = self.grown.clone();
        let events = TreeEvents::new(move |failure| {
            let mut failures = lock(&failures);
            let is_first_refusal = is_refusal(&failure) && !failures.iter().any(is_refusal);
            if failures.len() < FAILURES_MAX || is_first_refusal {
                failures.push(failure);
            }
        });
        let events = events.with_grown(move |message| {
            let mut grown = lock(&grown);
            if grown.len() < GROWN_MAX {
                grown.push(message);
            }
        });
        TreeReport {
            progress: progress.clone(),
            // A server may send changes that were not asked for.
            events: if self.store().changes {
                events.with_changes(move |change| changes.print(&change))
            } else {
                events
            },
        }
    }

    /// Takes the failure that says why nothing was deleted.
    fn take_refusal(&self) -> Option<EntryFailure> {
        let mut failures = self.failures();
        let found = failures.iter().position(is_refusal)?;
        Some(failures.remove(found))
    }

    /// Takes the failure that stands for a copy of which no source could be read.
    fn take_failed_source(&self, summary: &TreeSummary) -> Option<Failure> {
        let mut failures = self.failures();
        if summary.entries > 0 || failures.is_empty() {
            return None;
        }
        let EntryFailure { code, message, .. } = failures.remove(0);
        let error = match &self.ends {
            Ends::Upload { .. } => Error::here(code, message),
            Ends::Download { .. } => failed_there(code, message),
            Ends::Between { source, .. } => name_server(failed_there(code, message), source),
        };
        let failure = Failure::from(error);
        Some(if code == ErrorCode::NotAFile && !self.copy.takes_folders {
            failure.with_advice(FOLDER_ADVICE)
        } else {
            failure
        })
    }

    /// Prints what was not copied. `count` is how many entries that are.
    pub(super) fn print_failures(&self, view: &ProgressView, count: u32) {
        let mut failures = self.failures();
        let omitted = (count as usize).saturating_sub(failures.len());
        let is_cut = failures.len() >= FAILURES_MAX && omitted > 0;
        for failure in failures.drain(..) {
            let code = failure.code.as_str();
            view.print_event(&json!({
                "event": "failed", "code": code, "message": failure.message,
            }));
            if !self.context.json {
                view.print_error(&shown_line(&format!("landline: {}", failure.message)));
            }
        }
        if is_cut {
            view.remark(&format!(
                "{omitted} more could not be copied and are not listed"
            ));
        }
    }

    /// Says which files grew.
    fn remark_grown(&self, view: &ProgressView) {
        for message in lock(&self.grown).drain(..) {
            view.print_event(&json!({"event": "grown", "message": message}));
            view.remark(&shown_line(&format!("warning: {message}")));
        }
    }

    /// Says how many files have several names, if these become files of their own.
    pub(super) fn remark_shared(&self, view: &ProgressView, count: u64) {
        if count > 0 && !self.copy.walk.hard_links {
            let files = if count == 1 {
                "name of a file"
            } else {
                "names of files"
            };
            view.remark(&format!(
                "{count} {files} with several names: each becomes a file of its own; -H keeps one file"
            ));
        }
    }

    /// Reports a copy that ended.
    pub(super) fn report(&self, view: &ProgressView, ended: &EndedCopy) -> Result<(), Failure> {
        let EndedCopy {
            summary,
            place,
            moved,
            seconds,
            was_resumed,
        } = ended;
        let digest = summary.digest_text();
        let is_dry = self.copy.store.dry_run;
        let refusal = self.take_refusal();
        if refusal.is_none()
            && let Some(failure) = self.take_failed_source(summary)
        {
            self.print_failures(view, summary.failures);
            return Err(failure);
        }
        self.print_failures(view, summary.failures);
        self.remark_grown(view);
        view.print_event(&json!({
            "event": "done", "digest": digest, "path": place, "entries": summary.entries,
            "files": summary.files, "others": summary.others, "removed": summary.removed,
            "failures": summary.failures, "dry_run": is_dry, "bytes": summary.bytes,
            "sent": moved, "seconds": seconds,
        }));
        if !self.context.json && !self.copy.quiet && !self.copy.store.changes {
            let line = format!("{digest}  {}", shown_line(place));
            view.print_result(&self.context.out, &line);
        }
        let removed = match summary.removed {
            0 => String::new(),
            count if is_dry => format!(", {} would be deleted", counted_entries(count.into())),
            count => format!(", {} deleted", counted_entries(count.into())),
        };
        let copied = u64::from(summary.files) + u64::from(summary.others);
        let entries = counted_entries(summary.entries.into());
        let size = bytes(summary.bytes);
        view.remark(&match copied {
            0 if summary.failures == 0 && !self.copy.store.replace => {
                format!("nothing to copy: {entries} already there, found in {seconds:.1} s")
            }
            0 if summary.failures == 0 => {
                format!("nothing to copy: {entries} unchanged, compared in {seconds:.1} s{removed}")
            }
            _ if is_dry => {
                format!("{copied} of {entries}, {size}, would be copied; compared in {seconds:.1} s{removed}")
            }
            0 => format!("nothing of {entries} was copied; compared in {seconds:.1} s{removed}"),
            _ => {
                let rate = rate(*moved, *seconds);
                let done = format!("{copied} of {entries}, {size}, copied and verified in {seconds:.1} s");
                if *moved < summary.bytes {
                    format!("{done}, of which {} were moved{rate}{removed}", bytes(*moved))
                } else {
                    format!("{done}{rate}{removed}")
                }
            }
        });
        let left = u64::from(summary.entries) - copied.min(summary.entries.into());
        let is_left = summary.failures == 0 && left > 0 && !*was_resumed;
        if is_left && !self.copy.takes_folders && !self.copy.store.replace {
            let what = format!("already there, and not replaced: {}", counted_entries(left));
            return Err(Failure::new("exists", what));
        }
        match (refusal, summary.failures) {
            (Some(refusal), _) => Err(Failure::from(Error::here(refusal.code, refusal.message))),
            (None, 0) => Ok(()),
            (None, count) if is_dry => Err(Failure::new(
                "incomplete",
                format!("{} could not be copied", counted_entries(count.into())),
            )),
            (None, count) => Err(Failure::new(
                "incomplete",
                format!(
                    "{} could not be copied, nor what is below; all others are complete",
                    counted_entries(count.into())
                ),
            )),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn counted_entries(count: u64) -> String {
    let entries = if count == 1 { "entry" } else { "entries" };
    format!("{count} {entries}")
}

/// What a server could not read.
fn failed_there(code: ErrorCode, message: String) -> Error {
    let cause = (code == ErrorCode::NotFound).then_some("ENOENT");
    Error::Failed {
        side: Side::There,
        code,
        message,
        cause,
    }
}

/// Says which of two servers an error is about.
pub(super) fn name_server(error: Error, server: &Target) -> Error {
    match error {
        Error::Failed {
            side: side @ Side::There,
            code,
            message,
            cause,
        } => Error::Failed {
            side,
            code,
            message: format!("{}: {message}", server.host),
            cause,
        },
        error => error,
    }
}

/// Whether a failure says that nothing was deleted, because it would have been too much.
fn is_refusal(failure: &EntryFailure) -> bool {
    matches!(failure.code, ErrorCode::MassDelete | ErrorCode::MaxDelete)
}
