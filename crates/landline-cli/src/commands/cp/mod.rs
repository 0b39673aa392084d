//! `landline cp`: copies files one after another, and reconnects when the connection is lost.

mod attempt;
mod changes;
pub(super) mod delta;
pub(super) mod habits;
mod many_hosts;
pub(super) mod parallel;
mod producer;
pub(super) mod progress;
mod selection;
pub(super) mod tree;
mod tree_attempt;
pub(super) mod tree_options;
mod tree_paths;
mod tree_report;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use attempt::{CopyItem, PlannedCopies};
use clap::Args;
use delta::DeltaOption;
use habits::Habits;
use landline::{
    Error,
    files::{Copied, Observed, Progress, SharedSource, tree::TreeSelection},
    net::{Location, RateLimiter},
    paths::local,
    proto::ErrorCode,
};
use parallel::ParallelOption;
use progress::ProgressView;
use serde_json::json;
use tree_options::TreeOptions;

use crate::{
    arguments::{Access, CopyPath, TypedLocation, copy_path_parser, parse_rate, parse_seconds},
    connect::is_transient,
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
/// copy is interrupted, run the same command again to resume it. With several files, DST must be
/// a folder.
///
/// With -r, landline copies folders with everything in them, and skips files that have the same
/// length and time. Of a file that it replaces, it sends only the changed parts; see --delta.
#[derive(Debug, Args)]
#[command(
    override_usage = "landline cp [OPTIONS] <SRC>... <DST>\n       landline cp [OPTIONS] --from-command <DST> -- <COMMAND> [ARGUMENT]...",
    after_help = "Examples:\n  landline cp photo.jpg nas:photos/\n  landline cp nas:notes.txt nas:todo.txt .\n  landline cp -r photos nas:\n  landline cp --from-command nas:db.sql -- pg_dump db"
)]
pub(crate) struct Cp {
    /// Path, `[user@]host:path`, or - for standard input or output
    ///
    /// The host is a machine name, a Host of ~/.ssh/config, or an address. `host:` alone means
    /// your home on the server. Give a port with -P, or as
    /// `landline://[user@]host[:port]/path`. Write ./a:b for a local path with a colon before
    /// the first slash.
    ///
    /// A copy from one server to another goes through this machine, which stores nothing of it. An
    /// unchanged file is then left out.
    ///
    /// DST can be on several hosts: `nas,web[1-20],@db:path`, as with -H of `landline run`. Each
    /// file is then hashed once, and read once for hosts that are about equally fast. A file of a
    /// folder is read once for each host.
    #[arg(value_name = "PATH", num_args = 0.., value_parser = copy_path_parser())]
    paths: Vec<CopyPath>,
    // Paths too, except with --from-command.
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    words: Vec<OsString>,
    /// Copy the output of the command that follows --
    ///
    /// landline runs the command without a shell, when the server is ready. The file appears only
    /// if the command ends with status 0. Otherwise landline exits with the status of the command.
    /// Such a copy cannot be resumed.
    #[arg(long, conflicts_with = "restart")]
    from_command: bool,
    #[command(flatten)]
    tree: TreeOptions,
    /// Do not replace an existing file
    #[arg(short, long)]
    no_clobber: bool,
    /// Print nothing but errors
    ///
    /// landline then prints neither the progress nor the digest.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Start again instead of resuming an earlier attempt
    #[arg(long)]
    restart: bool,
    /// Time to retry after a lost connection; 0 does not retry
    ///
    /// landline waits for the same time if too many sessions are open.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    retry: Duration,
    /// Move at most RATE bytes a second: 500K, 2M
    ///
    /// K, M and G are KiB, MiB and GiB. The limit is for both directions, and for all connections
    /// of the command together. Between two servers it is for each of the two connections.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    limit_rate: Option<u64>,
    #[command(flatten)]
    parallel: ParallelOption,
    #[command(flatten)]
    delta: DeltaOption,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    habits: Habits,
}

impl Run for Cp {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let mut paths = self.all_paths()?;
        let destination = paths.pop();
        let sources = one_each(paths)?;
        match destination {
            Some(CopyPath::Many(destination)) => {
                many_hosts::copy(self, context, sources, destination).await
            }
            destination => {
                let paths = sources.into_iter().chain(one_each(destination)?).collect();
                self.copy_at_one_server(context, paths).await
            }
        }
    }
}

/// What the copies of one command share.
struct SharedParts {
    /// The limit of `--limit-rate`.
    rate_limits: Option<RateLimits>,
    /// The files that are sent to many hosts.
    sources: Option<SharedSources>,
    /// Which entries of folders are copied.
    selection: TreeSelection,
}

/// The rate limiters of one command.
#[derive(Clone)]
pub(in crate::commands) struct RateLimits {
    content: Arc<RateLimiter>,
    /// That of the sources of copies between two servers: their content passes here twice, and
    /// counts once.
    source: Arc<RateLimiter>,
}

impl RateLimits {
    /// The limiters for a rate in bytes per second.
    pub(in crate::commands) fn new(rate: u64) -> Self {
        let limiter = || Arc::new(RateLimiter::of_client(rate));
        Self {
            content: limiter(),
            source: limiter(),
        }
    }
}

/// Files that are read once for many hosts, by path.
#[derive(Default)]
struct SharedSources(Mutex<HashMap<PathBuf, Arc<SharedSource>>>);

impl SharedSources {
    /// The source for a path, which is opened once.
    fn open(&self, path: &Path) -> Result<Arc<SharedSource>, Error> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(path) {
            return Ok(source.clone());
        }
        let source = Arc::new(SharedSource::new(Arc::new(local::open_source(path)?)));
        sources.insert(path.to_owned(), source.clone());
        Ok(source)
    }
}

/// The paths, none of which may be on several hosts.
fn one_each(paths: impl IntoIterator<Item = CopyPath>) -> Result<Vec<TypedLocation>, Failure> {
    let one = |path| match path {
        CopyPath::One(path) => Ok(path),
        CopyPath::Many(path) => Err(Failure::usage(format!(
            "{}: only the destination can be on several hosts",
            path.text
        ))),
    };
    paths.into_iter().map(one).collect()
}

/// What the attempts at one copy have moved, and how long that took.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    sent: u64,
    time: Duration,
    /// Whether the source grew during the last attempt.
    has_grown: bool,
}

impl Tally {
    /// Adds an attempt. The time before its content began to flow does not count.
    fn add(&mut self, progress: &Progress) {
        self.has_grown = progress.state().has_grown;
        if let Some(began_at) = progress.began_at() {
            self.sent += progress.moved();
            self.time += began_at.elapsed();
        }
    }
}

impl Cp {
    /// What all copies of the command share.
    ///
    /// # Errors
    /// The selection cannot be read.
    fn shared_parts(
        &self,
        context: &Context,
        sources: Option<SharedSources>,
    ) -> Result<SharedParts, Failure> {
        self.habits.check()?;
        Ok(SharedParts {
            rate_limits: self.limit_rate.map(RateLimits::new),
            sources,
            selection: self.tree.read_selection(context)?,
        })
    }

    async fn copy_at_one_server(
        &self,
        context: &Context,
        paths: Vec<TypedLocation>,
    ) -> Result<ExitStatus, Failure> {
        // Standard output may be the copy itself.
        let events = match paths.last().map(|path| &path.location) {
            Some(Location::Stream) => &context.err,
            _ => &context.out,
        };
        let view = ProgressView::new(context, self.quiet, events);
        let shared = self.shared_parts(context, None)?;
        let typed = paths.clone();
        self.copy_with(context, paths, &view, &shared, signals::stop)
            .await
            .map_err(|failure| habits::local_name_advice(failure, &typed))?;
        Ok(ExitStatus::SUCCESS)
    }

    /// Copies from or to one server until `stop` is ready.
    async fn copy_with<S: Future<Output = ()>>(
        &self,
        context: &Context,
        paths: Vec<TypedLocation>,
        view: &ProgressView,
        shared: &SharedParts,
        stop: impl FnOnce() -> Result<S, Failure>,
    ) -> Result<(), Failure> {
        if self.is_tree_copy(&paths)? {
            let copy = self.tree_copy(paths, shared)?;
            return copy.run_with(context, &self.access, view, stop).await;
        }
        // Finding the server and the files may prompt.
        let mut planned = PlannedCopies::new(context, self, &paths, shared).await?;
        let stop = stop()?;
        let progress = Arc::new(Progress::default());
        let can_resume = planned.can_resume_later();
        let done = tokio::select! {
            done = self.copy_all(context, &mut planned, view, &progress) => Some(done),
            () = stop => None,
        };
        let may_resume = !planned.has_one() || progress.done() > 0;
        // Also after a signal: the server must not wait for this client.
        planned.finish().await;
        done.unwrap_or_else(|| Err(Failure::stopped(can_resume && may_resume)))
    }

    /// Copies one file after another. A failure does not stop the others.
    async fn copy_all(
        &self,
        context: &Context,
        planned: &mut PlannedCopies<'_>,
        view: &ProgressView,
        progress: &Arc<Progress>,
    ) -> Result<(), Failure> {
        let mut first_failure = None;
        while let Some(item) = planned.next() {
            let done = match item {
                Ok(item) => self.copy_one(context, planned, &item, view, progress).await,
                Err(failure) => Err(failure),
            };
            match done {
                Ok(()) => {}
                Err(failure) => {
                    // The last one that is printed is the first one, whose status the command has.
                    match &first_failure {
                        None => first_failure = Some(failure),
                        Some(_) => view.print_failure(context, &failure),
                    }
                }
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Copies one file, and reports it.
    async fn copy_one(
        &self,
        context: &Context,
        planned: &mut PlannedCopies<'_>,
        item: &CopyItem,
        view: &ProgressView,
        progress: &Arc<Progress>,
    ) -> Result<(), Failure> {
        view.print_event(&json!({
            "event": "start", "source": item.source, "destination": item.destination.text,
        }));
        let mut tally = Tally::default();
        let (copied, place) = self.copy(planned, item, view, progress, &mut tally).await?;
        self.report(context, view, item, &copied, &place, tally);
        Ok(())
    }

    /// Retries until the copy is done, cannot be done, or `--retry` has passed without progress.
    async fn copy(
        &self,
        planned: &mut PlannedCopies<'_>,
        item: &CopyItem,
        view: &ProgressView,
        progress: &Arc<Progress>,
        tally: &mut Tally,
    ) -> Result<(Copied, String), Failure> {
        let mut shown = view.of_copy(&make_label(&item.source));
        let mut lost_since: Option<Instant> = None;
        let mut wait = WAIT_MIN;
        // The first attempt discards what an earlier command has kept, if the user says so.
        let mut restart = self.restart;
        loop {
            progress.reset();
            let attempt = planned.attempt(item, std::mem::take(&mut restart), progress);
            let done = shown.follow(&**progress, attempt).await;
            tally.add(progress);
            let error = match done {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if has_other_beginning(&error, progress) && item.can_be_repeated() {
                let what = "what was there has changed meanwhile";
                view.remark(&format!("{what}; starting over"));
                view.print_event(&json!({"event": "starting-over", "message": what}));
                shown.start_over();
                restart = true;
                continue;
            }
            let has_moved = progress.moved() > 0;
            if has_moved {
                lost_since = None;
                wait = WAIT_MIN;
            }
            // The first attempt fails at once if it reached nothing: the address may be wrong. It
            // is retried if an earlier attempt may still hold the session.
            let was_connected = planned.was_connected();
            let may_pass =
                has_moved || was_connected || lost_since.is_some() || is_session_limit(&error);
            let can_retry = item.can_be_repeated() && may_pass && is_transient(&error);
            let since = *lost_since.get_or_insert_with(Instant::now);
            if !can_retry || since.elapsed() + wait > self.retry {
                return Err(explain(error, item, was_connected));
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
        tally: Tally,
    ) {
        let seconds = tally.time.as_secs_f64();
        view.print_event(&json!({
            "event": "done", "digest": copied.digest.to_string(), "length": copied.length, "path": place,
            "seconds": seconds, "sent": tally.sent, "grown": tally.has_grown,
        }));
        let summary = format!("{}  {}", copied.digest, shown_line(place));
        match &item.destination.location {
            _ if context.json || self.quiet => {}
            Location::Stream => view.print_result(&context.err, &summary),
            _ => view.print_result(&context.out, &summary),
        }
        if tally.has_grown {
            let source = shown_line(&item.source);
            view.remark(&format!(
                "warning: {source} grew while it was read: what it had at the beginning is copied"
            ));
        }
        let rate = rate(tally.sent, seconds);
        let moved = if item.is_download() {
            "received"
        } else {
            "sent"
        };
        view.remark(&if tally.sent == copied.length {
            let length = bytes(copied.length);
            format!("{length} copied and verified in {seconds:.1} s{rate}")
        } else {
            let (length, sent) = (bytes(copied.length), bytes(tally.sent));
            format!("{length} verified, of which {sent} were {moved} in {seconds:.1} s{rate}")
        });
    }
}

/// The rate of a copy, as it is added to the line about its end. Over less than half a second, it
/// would be noise.
fn rate(sent: u64, seconds: f64) -> String {
    if seconds < 0.5 {
        return String::new();
    }
    let per_second = (sent as f64 / seconds) as u64;
    format!(", {}/s", bytes(per_second))
}

/// Explains why a copy failed, and what to do about it.
fn explain(error: Error, item: &CopyItem, was_connected: bool) -> Failure {
    if let Some(failure) = item.producer_failure() {
        return failure;
    }
    let is_lost = was_connected && is_transient(&error);
    let is_of_folder = habits::is_of_folder(&error);
    let failure = explain_exists(Failure::from(error));
    let is_pattern = habits::is_pattern(item.remote_path());
    match failure.code.as_str() {
        _ if is_lost && item.can_be_resumed() => {
            failure.with_advice("run the same command again to resume")
        }
        _ if is_lost => failure
            .with_advice("run the command again; a copy through a pipe begins from the start"),
        "not-found" if item.is_download() && is_pattern => {
            failure.with_advice("landline does not expand patterns on the server; name each file")
        }
        "no-space" if item.can_be_resumed() => explain_kept(failure),
        _ if is_of_folder && item.is_download() => failure.with_advice(habits::FOLDER_ADVICE),
        _ => failure,
    }
}

/// Says what a full disk keeps.
fn explain_kept(failure: Failure) -> Failure {
    failure.with_further_advice(
        "the same command then resumes, since what has arrived is kept for a week",
    )
}

fn explain_exists(failure: Failure) -> Failure {
    if failure.code == "exists" {
        failure.with_advice("leave out --no-clobber to replace it")
    } else {
        failure
    }
}

/// The name of a copy in the progress view: the last name of its path that is one, shortened for a
/// narrow terminal.
fn make_label(source: &str) -> String {
    let name = source
        .rsplit(['/', ':'])
        .find(|name| !name.is_empty() && *name != ".")
        .unwrap_or(source);
    let name = shown_line(name);
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

/// Whether a copy failed because what was there has changed while it was compared, or is not what
/// it was taken for.
fn has_other_beginning(error: &Error, progress: &Progress) -> bool {
    let is_damaged = matches!(
        error,
        Error::Failed {
            code: ErrorCode::DigestMismatch,
            ..
        }
    );
    is_damaged && (progress.resumed_at() > 0 || progress.has_compared())
}
