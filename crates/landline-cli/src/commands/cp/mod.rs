//! `landline cp`: copies files one after another, and reconnects when the connection is lost.

mod attempt;
pub(super) mod progress;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use attempt::{CopyItem, PlannedCopies};
use clap::Args;
use landline::{
    Error,
    files::{Copied, Progress},
    net::Location,
    proto::ErrorCode,
};
use progress::ProgressView;
use serde_json::{Value, json};

use crate::{
    arguments::{Access, TypedLocation, location_parser, parse_seconds},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
    terminal::{bytes, shown_line},
};

/// The most characters of a name in the progress view.
const LABEL_CHARS: usize = 24;
/// The first wait before the next attempt; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Copy files to or from a server
///
/// The copy is encrypted and verified. The destination appears only when it is complete. If the
/// copy is interrupted, run the same command again to resume it. Several files go one after
/// another into the folder DST.
#[derive(Debug, Args)]
#[command(
    override_usage = "landline cp [OPTIONS] <SRC>... <DST>",
    after_help = "Examples:\n  landline cp photo.jpg nas:photos/\n  landline cp nas:notes.txt nas:todo.txt ."
)]
pub(crate) struct Cp {
    /// Path, `[user@]host:path`, or - for standard input or output
    ///
    /// The host is the name of a machine, an alias of ssh, or an address. -P names a port, and so
    /// does `landline://[user@]host[:port]/path`. A local path with a colon before the first slash
    /// is written ./a:b.
    #[arg(value_name = "PATH", num_args = 2.., required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Do not replace an existing file
    #[arg(short, long)]
    no_clobber: bool,
    /// Print no progress
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Start again instead of resuming an earlier attempt
    #[arg(long)]
    restart: bool,
    /// Time to retry after a lost connection; 0 does not retry
    ///
    /// Also the time to wait while too many sessions are open.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    retry: Duration,
    #[command(flatten)]
    access: Access,
}

impl Run for Cp {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        // Standard output may be the copy itself.
        let events = match self.paths.last().map(|path| &path.location) {
            Some(Location::Stream) => &context.err,
            _ => &context.out,
        };
        let view = ProgressView::new(context, self.quiet, events);
        // Finding the server and the files may prompt.
        let planned = match PlannedCopies::new(context, &self).await {
            Ok(planned) => planned,
            Err(failure) => {
                view.print_event(&error_event(&failure));
                return Err(failure);
            }
        };
        let stop = signals::stop()?;
        let progress = Arc::new(Progress::default());
        let has_one = planned.has_one();
        let can_resume = planned.can_resume_later();
        tokio::select! {
            done = self.copy_all(context, planned, &view, &progress) => done.map(|()| ExitStatus::SUCCESS),
            () = stop => {
                let failure = Failure::stopped(can_resume && (!has_one || progress.done() > 0));
                view.print_event(&error_event(&failure));
                Err(failure)
            }
        }
    }
}

impl Cp {
    /// Copies one file after another. A failure does not stop the others.
    async fn copy_all(
        &self,
        context: &Context,
        mut planned: PlannedCopies<'_>,
        view: &ProgressView,
        progress: &Arc<Progress>,
    ) -> Result<(), Failure> {
        let mut first_failure = None;
        while let Some(item) = planned.next() {
            view.print_event(&json!({
                "event": "start", "source": item.source, "destination": item.destination.text,
            }));
            let start = Instant::now();
            match self.copy(&mut planned, &item, view, progress).await {
                Ok((copied, place)) => {
                    self.report(context, view, &item, &copied, &place, start.elapsed());
                }
                Err(failure) => {
                    view.print_event(&error_event(&failure));
                    // The last one that is printed is the first one, whose status the command has.
                    match &first_failure {
                        None => first_failure = Some(failure),
                        Some(_) => failure.print(context),
                    }
                }
            }
        }
        planned.finish().await;
        first_failure.map_or(Ok(()), Err)
    }

    /// Retries until the copy is done, cannot be done, or `--retry` has passed without progress.
    async fn copy(
        &self,
        planned: &mut PlannedCopies<'_>,
        item: &CopyItem,
        view: &ProgressView,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Failure> {
        let label = make_label(&item.source);
        let mut lost_since: Option<Instant> = None;
        let mut wait = WAIT_MIN;
        // Only the first attempt discards what an earlier command has kept.
        let mut restart = self.restart;
        loop {
            progress.reset();
            let was_connected = planned.was_connected();
            let attempt = planned.attempt(item, std::mem::take(&mut restart), progress);
            let error = match view.follow(&label, progress, attempt).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let has_moved = progress.done() > progress.resumed_at();
            if has_moved {
                lost_since = None;
                wait = WAIT_MIN;
            }
            // The first attempt fails at once if it moved nothing: the address may be wrong. It is
            // retried if an earlier attempt may still hold the session.
            let may_pass =
                has_moved || was_connected || lost_since.is_some() || is_session_limit(&error);
            let can_retry = item.can_be_repeated() && may_pass && is_transient(&error);
            let since = *lost_since.get_or_insert_with(Instant::now);
            if !can_retry || since.elapsed() + wait > self.retry {
                return Err(explain(error));
            }
            view.remark(&format!("{error}; trying again"));
            view.print_event(&json!({"event": "reconnecting", "message": error.to_string()}));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn report(
        &self,
        context: &Context,
        view: &ProgressView,
        item: &CopyItem,
        copied: &Copied,
        place: &str,
        elapsed: Duration,
    ) {
        view.print_event(&json!({
            "event": "done", "digest": copied.digest.to_string(), "length": copied.length, "path": place,
            "seconds": elapsed.as_secs_f64(),
        }));
        let summary = format!("{}  {}", copied.digest, shown_line(place));
        match &item.destination.location {
            _ if context.json => {}
            Location::Stream => context.err.print(&summary),
            _ => context.out.print(&summary),
        }
        let seconds = elapsed.as_secs_f64();
        let rate = match copied.length as f64 / seconds {
            // A rate over such a short time is noise.
            _ if seconds < 0.5 => String::new(),
            per_second => format!(", {}/s", bytes(per_second as u64)),
        };
        view.remark(&format!(
            "{} copied and verified in {seconds:.1} s{rate}",
            bytes(copied.length)
        ));
    }
}

fn error_event(failure: &Failure) -> Value {
    let Failure {
        status, code, what, ..
    } = failure;
    json!({"event": "error", "code": code, "message": what, "status": status})
}

/// Explains why a copy failed, and what to do about it.
fn explain(error: Error) -> Failure {
    let exists = matches!(
        &error,
        Error::Failed {
            code: ErrorCode::Exists,
            ..
        }
    );
    let failure = Failure::from(error);
    if exists {
        failure.with_advice("leave out --no-clobber to replace it")
    } else {
        failure
    }
}

/// The name of a copy in the progress view: the file's own name, shortened for a narrow terminal.
fn make_label(source: &str) -> String {
    let name = shown_line(
        source
            .rsplit(['/', ':'])
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or(source),
    );
    match name.char_indices().nth(LABEL_CHARS) {
        Some((end, _)) => format!("{}…", name.split_at(end).0),
        None => name,
    }
}

fn is_session_limit(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::TooManySessions,
            ..
        }
    )
}

/// Whether a new connection may succeed.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Lost(_) | Error::Connect { .. } | Error::Ssh { .. } => true,
        // The server may still hold the session of the lost connection.
        Error::Failed { code, .. } => {
            matches!(
                code,
                ErrorCode::Draining | ErrorCode::TooManySessions | ErrorCode::OpenTimeout
            )
        }
        _ => false,
    }
}
