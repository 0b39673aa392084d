//! `landline cp`: copies one file, and goes on by itself when the line breaks.

mod attempt;
pub(super) mod progress;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use landline::{
    Client, Error,
    files::{Copied, Progress},
    net::Location,
    proto::ErrorCode,
};
use serde_json::json;

use crate::{
    arguments::Cp,
    failure::Failure,
    signals,
    terminal::{bytes, print, say, shown_line},
};
use attempt::Copy;
use progress::Show;

/// The longest name that is shown whole.
const LABEL_CHARS: usize = 24;
/// The first wait before the line is tried again; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(8);

pub(crate) async fn run(state: &Path, options: Cp) -> Result<(), Failure> {
    let show = Show::new(options.quiet, options.json);
    if options.json && options.destination == Location::Stream {
        return Err(Failure::usage(
            "--json needs standard output, and the copy goes there",
        ));
    }
    show.event(&json!({
        "event": "start", "source": options.source.to_string(), "destination": options.destination.to_string(),
    }));
    let start = Instant::now();
    match understood(state, &options, show).await {
        Ok((copied, place)) => {
            report(&options, show, &copied, &place, start.elapsed());
            Ok(())
        }
        Err(failure) => {
            show.event(&json!({"event": "error", "status": failure.status, "message": failure.to_string()}));
            Err(failure)
        }
    }
}

/// Finds out what is to be copied, asking for a passphrase if need be, and copies until a signal
/// comes.
async fn understood(state: &Path, options: &Cp, show: Show) -> Result<(Copied, String), Failure> {
    let client = Client::open(state)?;
    let mut the_copy = Copy::new(&client, options).await?;
    let progress = Arc::new(Progress::default());
    let stop = signals::stop()?;
    tokio::select! {
        done = copy(&mut the_copy, options, show, &progress) => done,
        () = stop => Err(Failure::stopped(can_go_on_later(options) && progress.done() > 0)),
    }
}

/// Tries until it is done, it cannot be done, or the line has been broken for too long.
async fn copy(
    copy: &mut Copy<'_>,
    options: &Cp,
    show: Show,
    progress: &Arc<Progress>,
) -> Result<(Copied, String), Failure> {
    let label = label(&options.source);
    let mut broken_since: Option<Instant> = None;
    let mut wait = WAIT_MIN;
    loop {
        progress.reset();
        let error = match show.during(&label, progress, copy.once(progress)).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let has_moved = progress.done() > progress.resumed_at();
        if has_moved {
            broken_since = None;
            wait = WAIT_MIN;
        }
        // A copy that never began fails at once: the address may be wrong. Not where an earlier try
        // may be what is in its way.
        let may_pass = has_moved || broken_since.is_some() || is_too_many(&error);
        let can_go_on = copy.can_be_repeated() && may_pass && is_of_the_line(&error);
        let since = *broken_since.get_or_insert_with(Instant::now);
        if !can_go_on || since.elapsed() + wait > options.retry {
            return Err(failure(error));
        }
        show.remark(&format!("{error}; trying again"));
        show.event(&json!({"event": "reconnecting", "message": error.to_string()}));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// What went wrong with a copy, and what to do about it.
fn failure(error: Error) -> Failure {
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

/// What a copy is called while it runs: the file's own name, short enough for a narrow terminal.
fn label(source: &Location) -> String {
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

/// Whether both ends are files, so that what has arrived is kept.
fn can_go_on_later(options: &Cp) -> bool {
    options.source != Location::Stream && options.destination != Location::Stream
}

fn is_too_many(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::TooManySessions,
            ..
        }
    )
}

/// Whether another connection may do better.
fn is_of_the_line(error: &Error) -> bool {
    match error {
        Error::Lost(_) | Error::Connect { .. } | Error::Ssh { .. } => true,
        // Too many sessions: one of them may be the broken line's, which is not given up yet.
        Error::Failed { code, .. } => {
            matches!(
                code,
                ErrorCode::Draining | ErrorCode::TooManySessions | ErrorCode::OpenTimeout
            )
        }
        _ => false,
    }
}

fn report(options: &Cp, show: Show, copied: &Copied, place: &str, elapsed: Duration) {
    show.event(&json!({
        "event": "done", "digest": copied.digest.to_string(), "length": copied.length, "path": place,
        "seconds": elapsed.as_secs_f64(),
    }));
    let summary = format!("{}  {}", copied.digest, shown_line(place));
    match &options.destination {
        Location::Stream => say(&summary),
        _ if options.json => {}
        _ => print(&summary),
    }
    let seconds = elapsed.as_secs_f64();
    let rate = match copied.length as f64 / seconds {
        // Of a moment a rate says nothing.
        _ if seconds < 0.5 => String::new(),
        per_second => format!(", {}/s", bytes(per_second as u64)),
    };
    show.remark(&format!(
        "{} copied and verified in {seconds:.1} s{rate}",
        bytes(copied.length)
    ));
}
