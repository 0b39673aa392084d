//! `landline cp`: copies one file, and reconnects when the connection is lost.

mod attempt;
pub(super) mod progress;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use landline::{
    Error,
    files::{Copied, Progress},
    net::Location,
    proto::ErrorCode,
};
use serde_json::json;

use crate::{
    arguments::{Access, location_parser, parse_seconds},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
    terminal::{bytes, shown_line},
};
use attempt::PlannedCopy;
use progress::ProgressView;

/// The most characters of a name in the progress view.
const LABEL_CHARS: usize = 24;
/// The first wait before the next attempt; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Copy one file to or from a server
///
/// The copy is encrypted and verified. The destination appears only when it is complete. If the
/// copy is interrupted, run the same command again to resume it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline cp photo.jpg nas:photos/")]
pub(crate) struct Cp {
    /// Path, `[user@]host:path`, or - for standard input
    ///
    /// `landline://[user@]host[:port]/path` also names a file at a server. A local path with a colon
    /// before the first slash is written ./a:b.
    #[arg(value_name = "SRC", value_parser = location_parser())]
    source: Location,
    /// Path, `[user@]host:path`, or - for standard output
    #[arg(value_name = "DST", value_parser = location_parser())]
    destination: Location,
    /// Do not replace an existing file
    #[arg(short, long)]
    no_clobber: bool,
    /// Print no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print one JSON line for each event, and nothing else
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
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
        let view = ProgressView::new(context, self.quiet, self.json);
        if self.json && self.destination == Location::Stream {
            return Err(Failure::usage(
                "--json needs standard output, and the copy goes there",
            ));
        }
        view.print_event(&json!({
            "event": "start", "source": self.source.to_string(), "destination": self.destination.to_string(),
        }));
        let start = Instant::now();
        match self.prepare_and_copy(context, &view).await {
            Ok((copied, place)) => {
                self.report(context, &view, &copied, &place, start.elapsed());
                Ok(ExitStatus::SUCCESS)
            }
            Err(failure) => {
                view.print_event(&json!({"event": "error", "status": failure.status, "message": failure.to_string()}));
                Err(failure)
            }
        }
    }
}

impl Cp {
    /// Finds the server and the files, which may prompt, and copies until a signal arrives.
    async fn prepare_and_copy(
        &self,
        context: &Context,
        view: &ProgressView,
    ) -> Result<(Copied, String), Failure> {
        let client = context.client()?;
        let mut planned = PlannedCopy::new(context, &client, self).await?;
        let progress = Arc::new(Progress::default());
        let stop = signals::stop()?;
        tokio::select! {
            done = self.copy(&mut planned, view, &progress) => done,
            () = stop => Err(Failure::stopped(self.can_resume_later() && progress.done() > 0)),
        }
    }

    /// Retries until the copy is done, cannot be done, or `--retry` has passed without progress.
    async fn copy(
        &self,
        planned: &mut PlannedCopy<'_>,
        view: &ProgressView,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Failure> {
        let label = make_label(&self.source);
        let mut lost_since: Option<Instant> = None;
        let mut wait = WAIT_MIN;
        loop {
            progress.reset();
            let attempt = planned.attempt(progress);
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
            let may_pass = has_moved || lost_since.is_some() || is_session_limit(&error);
            let can_retry = planned.can_be_repeated() && may_pass && is_transient(&error);
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

    /// Whether both ends are files, so that received data is kept.
    fn can_resume_later(&self) -> bool {
        self.source != Location::Stream && self.destination != Location::Stream
    }

    fn report(
        &self,
        context: &Context,
        view: &ProgressView,
        copied: &Copied,
        place: &str,
        elapsed: Duration,
    ) {
        view.print_event(&json!({
            "event": "done", "digest": copied.digest.to_string(), "length": copied.length, "path": place,
            "seconds": elapsed.as_secs_f64(),
        }));
        let summary = format!("{}  {}", copied.digest, shown_line(place));
        match &self.destination {
            Location::Stream => context.err.print(&summary),
            _ if self.json => {}
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
fn make_label(source: &Location) -> String {
    let name = source.to_string();
    let name = shown_line(
        name.rsplit(['/', ':'])
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or(&name),
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
